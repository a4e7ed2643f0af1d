"""`plan`, `init` and `apply`: what they write equals what the Python verbs do."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

import wsel_graph as ws
from wsel_graph.cli.load import import_named

from .conftest import Run, filled, save


@pytest.fixture
def net(models: str) -> Callable[..., nn.Module]:
    """Builds a model of the file, with random values from a seed of its own."""
    module = import_named(models)

    def build(name: str, *, seed: int | None = 0, **arguments: object) -> nn.Module:
        if seed is not None:
            torch.manual_seed(seed)
        return getattr(module, name)(**arguments).eval()  # type: ignore[no-any-return]

    return build


def couple(models: str, name: str, *more: object) -> tuple[object, ...]:
    """Options for a teacher of width 16 and a student of width 8."""
    return (
        "--teacher", f"{models}:{name}", "--teacher-arg", "width=16", "--student", f"{models}:{name}", *more,
    )  # fmt: skip


CASES = [
    pytest.param("mlp", "2x4", id="mlp"),
    pytest.param("Norm", "2x3x8x8", id="integer buffers"),
    pytest.param("Tied", "2x3:int64", id="tied weights"),
]


def example(text: str) -> Any:
    shape, _, dtype = text.partition(":")
    sizes = [int(part) for part in shape.split("x")]
    return torch.ones(sizes, dtype=torch.int64) if dtype else torch.randn(sizes)


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_init_writes_what_initialize_makes(
    name: str, shape: str, models: str, net: Callable[..., nn.Module], run: Callable[..., Run], tmp_path: Path
) -> None:
    teacher = filled(net(name, width=16))
    weights, output = save(teacher, tmp_path / "teacher.safetensors"), tmp_path / "student.safetensors"
    done = run("init", *couple(models, name), "--input", shape, "--teacher-weights", weights, "--output", output)
    assert done.code == 0
    expected = net(name)
    result = ws.initialize(expected, teacher, example(shape))
    assert f"Initialised {result.initialized:,} of {result.total:,} student parameters" in done.out
    written = load_file(output)
    fresh = filled(net(name), seed=9)
    fresh.load_state_dict(written, strict=True)
    assert written.keys() == expected.state_dict().keys()
    for key, tensor in expected.state_dict().items():
        assert torch.equal(fresh.state_dict()[key], tensor), key
        assert written[key].dtype == tensor.dtype
    assert ws.load_plan(tmp_path / "student.plan.json") == result.plan
    with safe_open(output, "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_init_of_library_models(run: Callable[..., Run], tmp_path: Path, libraries: None) -> None:
    import timm

    wide = {"img_size": 32, "num_classes": 5, "depth": 3, "embed_dim": 96, "num_heads": 6}
    narrow = {**wide, "depth": 2, "embed_dim": 48, "num_heads": 3}
    teacher = filled(timm.create_model("vit_tiny_patch16_224", **wide).eval())
    weights, output = save(teacher, tmp_path / "teacher.safetensors"), tmp_path / "student.safetensors"
    options = [("--teacher-arg", f"{key}={value}") for key, value in wide.items()]
    options += [("--student-arg", f"{key}={value}") for key, value in narrow.items()]
    done = run(
        "init", "--teacher", "timm:vit_tiny_patch16_224", "--student", "timm:vit_tiny_patch16_224",
        *(word for pair in options for word in pair), "--teacher-weights", weights, "--output", output, "--json",
    )  # fmt: skip
    assert done.code == 0
    assert done.json["coverage"] == 1.0
    assert done.json["plan"] == str(tmp_path / "student.plan.json")
    student = timm.create_model("vit_tiny_patch16_224", **narrow).eval()
    student.load_state_dict(load_file(output), strict=True)
    expected = timm.create_model("vit_tiny_patch16_224", **narrow).eval()
    ws.initialize(expected, teacher, (2, 3, 32, 32))
    assert all(torch.equal(a, b) for a, b in zip(student.parameters(), expected.parameters(), strict=True))


def test_the_same_command_writes_the_same_file(models: str, run: Callable[..., Run], tmp_path: Path) -> None:
    kept = ("--input", "2x4", "--keep", "0.*", "--seed", "3")
    for name in ("a", "b"):
        output = tmp_path / f"{name}.safetensors"
        assert run("init", *couple(models, "mlp", *kept), "--output", output).code == 0
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_kept_values_may_come_from_a_file(
    models: str, net: Callable[..., nn.Module], run: Callable[..., Run], tmp_path: Path
) -> None:
    own = filled(net("mlp"))
    weights, output = save(own, tmp_path / "own.safetensors"), tmp_path / "student.safetensors"
    options = ("--input", "2x4", "--keep", "2.*", "--student-weights", weights, "--output", output)
    assert run("init", *couple(models, "mlp"), *options).code == 0
    written = load_file(output)
    assert torch.equal(written["2.weight"], own.state_dict()["2.weight"])
    assert not torch.equal(written["0.weight"], own.state_dict()["0.weight"])


def test_plan_then_apply_is_init(
    models: str, net: Callable[..., nn.Module], run: Callable[..., Run], tmp_path: Path
) -> None:
    weights = save(filled(net("Norm", width=16)), tmp_path / "teacher.safetensors")
    file, options = tmp_path / "made.json", ("--input", "2x3x8x8", "--method", "random", "--seed", "4")
    planned = run("plan", *couple(models, "Norm", *options), "--output", file)
    assert planned.out.startswith("Would initialise ")
    assert planned.out.endswith(f"plan: {file}\n")
    applied = run(
        "apply", file, "--student", f"{models}:Norm", "--teacher-weights", weights, "--seed", "4",
        "--output", tmp_path / "applied.safetensors",
    )  # fmt: skip
    assert applied.code == 0
    assert applied.out.startswith("8 tensors copied, ")
    start = run(
        "init", *couple(models, "Norm", *options), "--teacher-weights", weights,
        "--output", tmp_path / "started.safetensors",
    )  # fmt: skip
    assert start.code == 0
    assert (tmp_path / "applied.safetensors").read_bytes() == (tmp_path / "started.safetensors").read_bytes()
    assert file.read_text() == (tmp_path / "started.plan.json").read_text()


def test_apply_takes_a_model_too(models: str, run: Callable[..., Run], tmp_path: Path) -> None:
    plan, output = tmp_path / "made.json", tmp_path / "student.safetensors"
    assert run("plan", *couple(models, "mlp"), "--input", "2x4", "--output", plan).code == 0
    done = run(
        "apply", plan, "--student", f"{models}:mlp", "--teacher", f"{models}:mlp", "--teacher-arg", "width=16",
        "--output", output, "--json",
    )  # fmt: skip
    assert done.json == {"output": str(output), "files": [str(output)], "copied": 4, "kept": 0}


def test_plan_json_is_the_plan(models: str, run: Callable[..., Run], tmp_path: Path) -> None:
    done = run("plan", *couple(models, "mlp", "--student-arg", "labels=3"), "--input", "2x4", "--json")
    assert done.json["initialized"] == 4 * 8 + 8
    assert done.json["total"] == 4 * 8 + 8 + 8 * 3 + 3
    (tmp_path / "plan.json").write_text(json.dumps(done.json["plan"]))
    plan = ws.load_plan(tmp_path / "plan.json")
    assert [copy.student for copy in plan.copies] == ["0.weight", "0.bias"]
    assert [kept.student for kept in plan.kept] == ["2.weight", "2.bias"]


@pytest.mark.parametrize(
    ("options", "indices"),
    [
        pytest.param((), range(0, 16, 2), id="default"),
        pytest.param(("--method", "consecutive"), range(8), id="method"),
    ],
)
def test_wishes(options: tuple[str, ...], indices: range, models: str, run: Callable[..., Run], tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    assert run("plan", *couple(models, "mlp"), "--input", "2x4", *options, "--output", file).code == 0
    assert ws.load_plan(file).copies[0].indices[0] == indices


@pytest.mark.parametrize(
    ("options", "seed"), [pytest.param((), 3, id="of the rules"), pytest.param(("--seed", 0), 0, id="of the command")]
)
def test_the_seed_of_rules(
    options: tuple[object, ...], seed: int, models: str, run: Callable[..., Run], tmp_path: Path
) -> None:
    """The seed that a rule names governs, as in Python, unless the command line names one."""
    rules, file = tmp_path / "mine.yaml", tmp_path / "plan.json"
    rules.write_text("version: 1\nelements:\n  - {take: random, seed: 3}\n")
    wish = ("--rules", rules, "--output", file)
    assert run("plan", *couple(models, "mlp"), "--input", "2x4", *wish, *options).code == 0
    place = "0.bias:0"  # the first, in alphabetical order, of the places that share the choice
    digest = hashlib.sha256(f"{seed}:{place}".encode()).digest()
    drawn = random.Random(int.from_bytes(digest[:8], "big")).sample(range(16), 8)
    assert list(ws.load_plan(file).copies[0].indices[0]) == sorted(drawn)


def test_an_empty_name_of_rules_is_not_the_default(models: str, refused: Callable[..., str]) -> None:
    """As from a shell variable that is not set."""
    said = refused("plan", *couple(models, "mlp"), "--input", "2x4", "--rules", "")
    assert "no rule file" in said


def test_different_inputs(models: str, run: Callable[..., Run]) -> None:
    both = ("--teacher", f"{models}:Norm", "--teacher-arg", "width=16", "--student", f"{models}:Norm")
    done = run("plan", *both, "--input", "2x3x8x8", "--teacher-input", "2x3x9x9", "--json")
    assert done.json["coverage"] == 1.0
    wrong = run("plan", *both, "--input", "2x3x8x8", "--teacher-input", "2x4x9x9")
    assert wrong.code == 1
    assert f"while tracing the teacher {models}:Norm" in wrong.err


def test_one_library_model_tells_the_inputs_of_both(
    models: str, run: Callable[..., Run], libraries: None, tmp_path: Path
) -> None:
    (tmp_path / "nets.py").write_text("import timm\n\ndef net(**options):\n    return timm.create_model(**options)")
    options = {"img_size": 32, "num_classes": 5, "depth": 1}
    sizes = [f"{key}={value}" for key, value in options.items()]
    own, hub = f"{tmp_path / 'nets.py'}:net", "timm:vit_tiny_patch16_224"
    for teacher, student, named in ((own, hub, "--teacher-arg"), (hub, own, "--student-arg")):
        words = [w for size in sizes for w in ("--teacher-arg", size, "--student-arg", size)]
        done = run(
            "plan", "--teacher", teacher, "--student", student, *words,
            named, "model_name=vit_tiny_patch16_224", "--json",
        )  # fmt: skip
        assert done.json["coverage"] == 1.0


# -- refusals


def test_random_teachers_are_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    said = refused(
        "init", "--teacher", "timm:resnet18", "--student", "timm:resnet18", "--output", tmp_path / "a.safetensors"
    )
    assert "timm:resnet18 would be built with random weights" in said
    assert "--teacher-weights PATH, or --teacher-arg pretrained=true" in said


@pytest.mark.parametrize(
    ("output", "said"),
    [
        pytest.param("a.pt", r"the name must end in .safetensors", id="suffix"),
        pytest.param("none/a.safetensors", r"there is no folder", id="folder"),
        pytest.param("teacher.safetensors", r"is also read from: write to another file", id="input"),
    ],
)
def test_outputs_are_checked_before_the_work(
    output: str, said: str, models: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    options = ("--input", "2x4", "--teacher-weights", tmp_path / "teacher.safetensors", "--output", tmp_path / output)
    assert said in refused("init", *couple("no_such_module", "mlp"), *options)


def test_a_plan_for_other_models(
    models: str, run: Callable[..., Run], refused: Callable[..., str], tmp_path: Path
) -> None:
    plan, output = tmp_path / "made.json", tmp_path / "student.safetensors"
    assert run("plan", *couple(models, "mlp"), "--input", "2x4", "--output", plan).code == 0
    side = ("--student", f"{models}:mlp", "--student-arg", "width=6", "--teacher", f"{models}:mlp", "--output", output)
    said = refused("apply", plan, *side)
    assert "student 0.weight has shape [6, 4], the plan says [8, 4]" in said
    assert "teacher 0.weight has shape [8, 4], the plan says [16, 4]" in said
    assert not output.exists()


def test_broken_plans(models: str, refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "cut.json").write_text('{"format": "wsel-plan", "ver')
    rest = ("--student", f"{models}:mlp", "--teacher", f"{models}:mlp", "--output", tmp_path / "a.safetensors")
    assert "cut.json is not complete JSON" in refused("apply", tmp_path / "cut.json", *rest)
    assert "No such file or directory" in refused("apply", tmp_path / "none.json", *rest)


def test_inputs_that_nobody_knows(models: str, refused: Callable[..., str]) -> None:
    assert "are not known: give them as --input 2x3x224x224" in refused("plan", *couple(models, "mlp"))


def test_extra_state_is_no_tensor(models: str, refused: Callable[..., str], tmp_path: Path) -> None:
    output = tmp_path / "a.safetensors"
    said = refused("init", *couple(models, "Extra"), "--input", "2x4", "--output", output)
    assert "holds things that are no tensors, which a file of tensors cannot: _extra_state" in said
    assert not output.exists()


def test_apply_needs_one_teacher(models: str, capsys: pytest.CaptureFixture[str]) -> None:
    from wsel_graph.cli.main import main

    with pytest.raises(SystemExit) as caught:
        main(["apply", "plan.json", "--student", f"{models}:mlp", "--output", "a.safetensors"])
    assert caught.value.code == 2
    assert "one of the arguments --teacher-weights --teacher is required" in capsys.readouterr().err
