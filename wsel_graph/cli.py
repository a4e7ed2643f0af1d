"""The command line: `wsel-graph verify`, `wsel-graph demo`.

Exit codes: 0 done, 1 refused with the reason, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib
import importlib.util
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from wsel_graph.coupling.graph import trace
from wsel_graph.coupling.verify import Certificate, verify
from wsel_graph.errors import ExampleInputsError, WselError
from wsel_graph.report.text import groups_table, render

_HUBS = {"timm": ("timm", "create_model"), "torchvision": ("torchvision.models", "get_model")}
"""Packages whose models can be named: the module and its function from a name to a model."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(argv)
    try:
        return int(options.run(options))
    except WselError as error:
        print("\n".join([f"refused: {error}", *getattr(error, "__notes__", [])]), file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wsel-graph", description="Graph-based weight selection.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    check = commands.add_parser("verify", help="permute every free coupled group and compare outputs in float64")
    check.add_argument("model", help="package.module:callable, file.py:callable, timm:NAME or torchvision:NAME")
    check.add_argument(
        "--input", action="append", required=True, metavar="[NAME=]SHAPE[:DTYPE]",
        help="such as 2x3x224x224 or input_ids=1x16:int64; once per input",
    )  # fmt: skip
    check.add_argument("--arg", action="append", default=[], metavar="KEY=VALUE", help="argument of the callable")
    check.add_argument("--seed", type=int, default=0, help="seed of the permutations")
    check.add_argument("--groups", action="store_true", help="list the coupled groups too")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.set_defaults(run=_verify)
    show = commands.add_parser("demo", help="initialise a small student from real pretrained weights, and compare")
    show.set_defaults(run=_demo)
    return parser


def _verify(options: argparse.Namespace) -> int:
    model = load_model(options.model, dict(_key_value(item) for item in options.arg))
    inputs = parse_inputs(options.input)
    graph = trace(model, inputs)
    certificate = verify(model, inputs, seed=options.seed, graph=graph)
    if options.json:
        print(_json(certificate))
    else:
        print(render(*([groups_table(graph.groups)] if options.groups else []), str(certificate)))
    return 0 if certificate.ok else 1


def _json(certificate: Certificate) -> str:
    """The fields as JSON, which has no infinity: an error that is not finite becomes null."""
    fields = dataclasses.asdict(certificate)
    if not math.isfinite(certificate.max_error):
        fields["max_error"] = None
    return json.dumps(fields)


def _demo(options: argparse.Namespace) -> int:
    from wsel_graph.demo.run import pitch_demo  # the demo needs its packages, the other commands do not

    pitch_demo()
    return 0


def load_model(spec: str, arguments: dict[str, Any]) -> nn.Module:
    """Build the model that a command-line name stands for.

    Raises:
        ExampleInputsError: If the name cannot be resolved to a callable that gives an `nn.Module`.
    """
    source, _, name = spec.rpartition(":")
    build = _callable(source, name, spec)
    try:
        model = build(**arguments)
    except Exception as error:
        raise ExampleInputsError(f"{spec} raised {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise ExampleInputsError(f"{spec} gave a {type(model).__name__}, not an nn.Module")
    return model.eval()


def _callable(source: str, name: str, spec: str) -> Callable[..., Any]:
    if source in _HUBS:
        package, function = _HUBS[source]
        return functools.partial(getattr(_module(package), function), name)
    if not source:
        raise ExampleInputsError(f"{spec!r} names no module: write package.module:callable or file.py:callable")
    module = _module(source)
    if not callable(getattr(module, name, None)):
        raise ExampleInputsError(f"{source} has no callable named {name!r}")
    return getattr(module, name)  # type: ignore[no-any-return]


def _module(source: str) -> ModuleType:
    if not source.endswith(".py"):
        try:
            return importlib.import_module(source)
        except ModuleNotFoundError as error:
            raise ExampleInputsError(f"{source} cannot be imported: {error}") from None
    if not Path(source).is_file():
        raise ExampleInputsError(f"there is no file {source}")
    found = importlib.util.spec_from_file_location(Path(source).stem, source)
    if found is None or found.loader is None:
        raise ExampleInputsError(f"{source} cannot be imported")
    module = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except Exception as error:
        raise ExampleInputsError(f"{source} raised {type(error).__name__}: {error}") from error
    return module


def _key_value(item: str) -> tuple[str, Any]:
    key, _, text = item.partition("=")
    try:
        return key, json.loads(text)
    except json.JSONDecodeError:
        return key, text


def parse_inputs(items: Sequence[str]) -> Any:
    """Tensors for `--input` texts: a tuple, or a dict when they are named.

    >>> parse_inputs(["2x3"])[0].shape, parse_inputs(["ids=1x4:int64"])["ids"].dtype
    (torch.Size([2, 3]), torch.int64)
    """
    named = dict(item.split("=", 1) for item in items if "=" in item)
    if named and len(named) < len(items):
        raise ExampleInputsError("give every input a name of its own (NAME=SHAPE), or none of them")
    if named:
        return {name: _tensor(text) for name, text in named.items()}
    return tuple(_tensor(item) for item in items)


def _tensor(text: str) -> torch.Tensor:
    sizes, _, kind = text.partition(":")
    dtype = getattr(torch, kind or "float32", None)
    if not isinstance(dtype, torch.dtype) or not all(part.isdigit() for part in sizes.split("x")):
        raise ExampleInputsError(f"{text!r} is no input: write sizes joined by x, and a dtype, such as 1x16:int64")
    shape = [int(part) for part in sizes.split("x")]
    generator = torch.Generator().manual_seed(0)
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator, dtype=dtype)
    return torch.randint(0, 2, shape, generator=generator).to(dtype)


if __name__ == "__main__":
    sys.exit(main())
