"""The command line: `wsel-graph inspect | verify | plan | apply | init | report | rules | demo`.

Exit codes: 0 done, 1 refused with the reason on stderr, 2 wrong usage, 3 a fault of this program, 130 interrupted;
those of `plan diff` are 0 same, 1 different, 2 trouble. With `--json`, stdout holds one JSON document and nothing else;
with `--debug`, stderr holds the traceback too.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence

from rich.console import Console

from wsel_graph.cli.failure import REFUSED, guarded
from wsel_graph.cli.folder import run_start
from wsel_graph.cli.one import run_inspect, run_verify
from wsel_graph.cli.rules import run_check, run_draft, run_schema
from wsel_graph.cli.show import Answer, print_answer
from wsel_graph.cli.two import DTYPES, run_apply, run_diff, run_plan, run_report

MODEL = "timm:NAME, torchvision:NAME, hf:CONFIG-OR-FOLDER, package.module:callable or file.py:callable"
ARGUMENT = "argument of the callable, such as depth=2; once per argument"
INPUT = "such as 2x3x224x224 or input_ids=1x16:int64; once per input; found automatically where the library tells"
WEIGHTS = ".safetensors, the index (.json) of a sharded one, .pt or .pth, or a folder that holds one"

OUTPUT = "the student's state dict: NAME.safetensors, or a folder for torch.distributed.checkpoint"

Command = Callable[[argparse.Namespace], Answer]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(argv)
    refused = getattr(options, "trouble", REFUSED)
    return guarded(lambda: print_answer(options.run(options), options.json), options.debug, refused)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wsel-graph", description="Graph-based weight selection.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _one_model(commands)
    _two_models(commands)
    _rules(commands)
    show = _command(commands, "demo", "initialise a small student from real pretrained weights, and compare", _demo)
    show.add_argument("--seed", type=int, default=0, help="of the random student and the synthetic tones")
    return parser


Commands = argparse._SubParsersAction  # argparse has no public name for what add_subparsers gives


def _command(
    commands: Commands[argparse.ArgumentParser], name: str, text: str, run: Command
) -> argparse.ArgumentParser:
    made = commands.add_parser(name, help=text, description=text)
    made.add_argument("--json", action="store_true", help="print one JSON document")
    made.add_argument("--debug", action="store_true", help="when it fails, show the traceback too")
    made.set_defaults(run=run, usage_error=made.error)
    return made


# -- one model


def _one_model(commands: Commands[argparse.ArgumentParser]) -> None:
    look = _command(commands, "inspect", "show a model's tensors with their axes, and its coupled groups", run_inspect)
    check = _command(commands, "verify", "permute every free coupled group and compare outputs in float64", run_verify)
    for made in (look, check):
        made.add_argument("model", help=MODEL)
        made.add_argument("--arg", action="append", default=[], metavar="KEY=VALUE", help=ARGUMENT)
        _inputs(made)
        made.add_argument("--seed", type=int, default=0, help="of random weights and of the permutations")
    check.add_argument("--groups", action="store_true", help="list the coupled groups too")


def _inputs(made: argparse.ArgumentParser) -> None:
    made.add_argument("--input", action="append", default=[], metavar="[NAME=]SHAPE[:DTYPE]", help=INPUT)


# -- two models


def _two_models(commands: Commands[argparse.ArgumentParser]) -> None:
    plan = _command(commands, "plan", "decide which teacher elements every student tensor takes", run_plan)
    plan.add_argument("--output", metavar="NAME.json", help="write the plan there")
    start = _command(commands, "init", "initialise a student; write its state dict, the plan and a report", run_start)
    for made in (plan, start):
        _couple(made, required=made is start)
        _wishes(made)
        made.add_argument("--rules", metavar="FILE", help="selection rules: a file, or the name of a shipped one")
    folder = "write --output as a folder that from_pretrained loads; for students from hf:"
    start.add_argument("--save-pretrained", action="store_true", help=folder)
    start.add_argument("--no-report", action="store_true", help="write no HTML page beside the plan")
    page = _command(commands, "report", "write one HTML page about a plan", run_report)
    page.add_argument("plan", metavar="PLAN", help="a file that `plan --output` or `init` wrote")
    page.add_argument("--output", required=True, metavar="NAME.html", help="the page; it needs no other file")
    page.add_argument("--title", default="", help="what the page is about")
    # `plan` is a command, and `plan diff` is another one: what `plan` requires is looked at when it runs.
    parts = plan.add_subparsers(metavar="[diff]")
    compare = _command(parts, "diff", "what differs between two plans; exit code 0 same, 1 different", run_diff)
    for which in ("first", "second"):
        compare.add_argument(which, metavar=which.upper(), help="a plan file")
    compare.set_defaults(trouble=2)
    use = _command(commands, "apply", "carry out a plan that was written before", run_apply)
    use.add_argument("plan", metavar="PLAN", help="a file that `plan --output` or `init` wrote")
    _side(use, "student", required=True)
    source = use.add_mutually_exclusive_group(required=True)
    source.add_argument("--teacher-weights", metavar="PATH", help=WEIGHTS)
    source.add_argument("--teacher", metavar="MODEL", help=f"a model that comes with its weights: {MODEL}")
    use.add_argument("--teacher-arg", action="append", default=[], metavar="KEY=VALUE", help=ARGUMENT)
    use.add_argument("--seed", type=int, default=0, help="of the values that the student keeps")
    for made in (start, use):
        made.add_argument("--student-weights", metavar="PATH", help=f"the values that the student keeps: {WEIGHTS}")
        made.add_argument("--output", required=True, metavar="PLACE", help=OUTPUT)
        made.add_argument("--max-shard-size", metavar="SIZE", help="such as 5GB: more goes into several files")
        made.add_argument("--dtype", choices=tuple(DTYPES), help="of the floating-point tensors that are written")


def _side(made: argparse.ArgumentParser, side: str, required: bool) -> None:
    made.add_argument(f"--{side}", required=required, metavar="MODEL", help=MODEL)
    made.add_argument(f"--{side}-arg", action="append", default=[], metavar="KEY=VALUE", help=ARGUMENT)


def _couple(made: argparse.ArgumentParser, required: bool, positional: bool = False) -> None:
    for side in ("teacher", "student"):
        if positional:
            made.add_argument(side, metavar=side.upper(), help=MODEL)
            made.add_argument(f"--{side}-arg", action="append", default=[], metavar="KEY=VALUE", help=ARGUMENT)
        else:
            _side(made, side, required)
    made.add_argument("--teacher-weights", metavar="PATH", help=WEIGHTS)
    _inputs(made)
    made.add_argument(
        "--teacher-input", action="append", default=[], metavar="[NAME=]SHAPE[:DTYPE]", help="where the two differ"
    )
    seed = "of `random` in place of what the rules say, and of the values that the student keeps (default 0)"
    made.add_argument("--seed", type=int, help=seed)


def _wishes(made: argparse.ArgumentParser) -> None:
    made.add_argument("--method", choices=("uniform", "consecutive", "random"), help="element selection of all groups")
    made.add_argument("--unit", choices=("whole", "flat"), help="heads stay whole, or are one run of channels")
    made.add_argument("--keep", action="append", metavar="GLOB", help="student tensors that keep their own values")


# -- selection rules


def _rules(commands: Commands[argparse.ArgumentParser]) -> None:
    text = "check, describe or draft selection-rule files"
    parts = commands.add_parser("rules", help=text, description=text).add_subparsers(required=True, metavar="COMMAND")
    check = _command(parts, "check", "read a rule file; with two models, see what every rule governs", run_check)
    check.add_argument("rules", metavar="FILE", help="a file, or the name of a shipped one")
    _couple(check, required=False)
    _command(parts, "schema", "print the JSON schema of rule files, for editors", run_schema)
    draft = _command(parts, "draft", "write down as rules what happens to two models without any", run_draft)
    _couple(draft, required=True, positional=True)
    draft.add_argument("--output", metavar="FILE.yaml", help="write the rules there")


# -- the demo


def _demo(options: argparse.Namespace) -> Answer:
    from wsel_graph.demo.run import pitch_demo  # the demo needs its packages, the other commands do not

    outcome = pitch_demo(seed=options.seed, console=Console(stderr=True) if options.json else None)
    return Answer(dataclasses.asdict(outcome), [])


if __name__ == "__main__":
    sys.exit(main())
