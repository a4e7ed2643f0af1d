"""Models that are built without values: the same plans, the same files, and the whole model where values are needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils import parametrizations

import wsel_graph as ws
from wsel_graph.cli.light import NeedsValuesError, load_buffers, parameters_on_meta
from wsel_graph.cli.models import Named

from .conftest import Run, save

NETS = """
import torch
from torch import nn

class Looks(nn.Module):  # at its values, when it is built
    def __init__(self, width=8):
        super().__init__()
        self.a, self.b = nn.Linear(4, width), nn.Linear(width, 2)
        self.scale = self.a.weight.abs().max().item()

    def forward(self, x):
        return self.b(self.a(x)) * self.scale

class Decides(Looks):  # by its values, when it runs
    def __init__(self, width=8):
        nn.Module.__init__(self)
        self.a, self.b = nn.Linear(4, width), nn.Linear(width, 2)

    def forward(self, x):
        return self.b(self.a(x)) if self.a.weight.sum() < 1e9 else x

class Awake(nn.Module):  # a buffer says which branch is taken
    def __init__(self, width=8):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, width), nn.Linear(width, 2), nn.Linear(4, 2)
        self.register_buffer("ready", torch.tensor(False))

    def forward(self, x):
        return self.b(self.a(x)) if self.ready else self.c(x)
"""


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What commands build, and whether with values."""
    seen: list[str] = []
    whole = Named.build

    def build(self: Named, seed: int = 0) -> nn.Module:
        model = whole(self, seed)
        seen.append("meta" if all(p.is_meta for p in model.parameters()) else "values")
        return model

    monkeypatch.setattr(Named, "build", build)
    return seen


@pytest.fixture
def nets(tmp_path: Path) -> str:
    file = tmp_path / "nets.py"
    file.write_text(NETS)
    return str(file)


def options(spec: str, *more: object) -> tuple[object, ...]:
    return ("--teacher", spec, "--teacher-arg", "width=16", "--student", spec, *more)


@pytest.mark.parametrize(("name", "shape"), [("mlp", "2x4"), ("Norm", "2x3x8x8"), ("Tied", "2x3:int64")])
def test_a_plan_is_that_of_the_whole_models(
    name: str, shape: str, models: str, run: Callable[..., Run], built: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("plan", *options(f"{models}:{name}"), "--input", shape, "--json")
    light = run(*command).out
    assert built == ["meta", "meta"]

    def no(_: Named) -> nn.Module:
        raise NeedsValuesError

    monkeypatch.setattr(Named, "build_light", no)
    assert run(*command).out == light
    assert built[2:] == ["values", "values"]


def test_of_transformers_with_a_cache(run: Callable[..., Run], built: list[str], libraries: None) -> None:
    sizes = ("d_ff=64", "num_layers=2", "num_heads=4", "d_kv=8", "vocab_size=50")
    words = [word for size in sizes for word in ("--teacher-arg", size, "--student-arg", size)]
    words += ["--teacher-arg", "d_model=32", "--student-arg", "d_model=16"]
    done = run("plan", "--teacher", "hf:t5", "--student", "hf:t5", *words, "--json")
    assert done.json["coverage"] == 1.0
    assert built == ["meta", "meta"]


def test_a_teacher_in_a_file_is_read_in_parts(
    models: str, run: Callable[..., Run], built: list[str], tmp_path: Path
) -> None:
    teacher = Named(f"{models}:Norm", {"width": 16}).build(5)
    weights, output = save(teacher, tmp_path / "teacher.safetensors"), tmp_path / "student.safetensors"
    done = run(
        "init", *options(f"{models}:Norm"), "--input", "2x3x8x8", "--teacher-weights", weights, "--output", output
    )
    assert done.code == 0
    assert built == ["values", "values", "meta"]  # the first is this test's
    student = Named(f"{models}:Norm", {}).build(0)
    ws.initialize(student, teacher, torch.zeros(2, 3, 8, 8))
    written = load_file(output)
    assert written.keys() == student.state_dict().keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in student.state_dict().items())


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
@pytest.mark.parametrize(("name", "shape"), [("Norm", "2x3x8x8"), ("Tied", "2x3:int64")])
@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "net."])
def test_a_wrapped_teacher_starts_as_the_plain_one(
    prefix: str, name: str, shape: str, suffix: str, models: str, run: Callable[..., Run], tmp_path: Path
) -> None:
    """As compilation, data parallelism and trainers save it; the safetensors of tied tensors hold one of them."""
    state = Named(f"{models}:{name}", {"width": 16}).build(5).state_dict()
    kept = {key: tensor.clone() for key, tensor in state.items() if key != "head.weight"}
    save_file(kept, tmp_path / "plain.safetensors")
    file = tmp_path / f"wrapped{suffix}"
    wrapped = {f"{prefix}{key}": tensor for key, tensor in kept.items()}
    save_file(wrapped, file) if suffix == ".safetensors" else torch.save({"state_dict": wrapped, "epoch": 3}, file)
    made = []
    for weights in (tmp_path / "plain.safetensors", file):
        output = tmp_path / f"from_{weights.stem}.safetensors"
        done = run(
            "init", *options(f"{models}:{name}"), "--input", shape, "--teacher-weights", weights, "--student-weights",
            own(models, name, prefix, tmp_path), "--output", output, "--no-report",
        )  # fmt: skip
        assert done.code == 0, done.err
        made.append(load_file(output))
    plain, found = made
    assert plain.keys() == found.keys()
    assert all(torch.equal(plain[key], tensor) for key, tensor in found.items())


def own(models: str, name: str, prefix: str, folder: Path) -> Path:
    """The student's own values, wrapped too."""
    state = Named(f"{models}:{name}", {}).build(7).state_dict()
    torch.save({f"{prefix}{key}": tensor for key, tensor in state.items()}, folder / "own.pt")
    return folder / "own.pt"


@pytest.mark.parametrize("name", ["Looks", "Decides"])
def test_code_that_needs_values_gets_them(name: str, nets: str, run: Callable[..., Run], built: list[str]) -> None:
    done = run("plan", *options(f"{nets}:{name}"), "--input", "2x4", "--json")
    assert done.code == 0
    assert built[-2:] == ["values", "values"]


def test_rules_that_need_values_get_them(
    models: str, run: Callable[..., Run], built: list[str], tmp_path: Path
) -> None:
    teacher = Named(f"{models}:mlp", {"width": 16}).build(5)
    weights, rules = save(teacher, tmp_path / "teacher.safetensors"), tmp_path / "l2.yaml"
    rules.write_text("version: 1\nelements:\n  - take: {score: l2}\n")
    plan = tmp_path / "made.json"
    done = run(
        "plan", *options(f"{models}:mlp"), "--input", "2x4", "--teacher-weights", weights, "--rules", rules,
        "--output", plan,
    )  # fmt: skip
    assert done.code == 0
    assert built[1:] == ["meta", "meta", "values", "values"]
    expected = ws.plan(Named(f"{models}:mlp", {}).build(), teacher, (2, 4), rules=rules)
    assert ws.load_plan(plan).copies == expected.copies


def test_buffers_of_the_file_count(nets: str, run: Callable[..., Run], built: list[str], tmp_path: Path) -> None:
    teacher = Named(f"{nets}:Awake", {"width": 16}).build(0)
    student = Named(f"{nets}:Awake", {}).build(0)
    for net in (teacher, student):
        net.ready.fill_(True)  # type: ignore[operator, union-attr]
    weights, own = save(teacher, tmp_path / "t.safetensors"), save(student, tmp_path / "s.safetensors")
    output = tmp_path / "student.safetensors"
    done = run(
        "init", *options(f"{nets}:Awake"), "--input", "2x4", "--teacher-weights", weights, "--student-weights", own,
        "--output", output,
    )  # fmt: skip
    assert done.code == 0
    assert built[2:] == ["values", "meta"]
    copied = {copy.student for copy in ws.load_plan(tmp_path / "student.plan.json").copies}
    assert copied == {"a.weight", "a.bias", "b.weight", "b.bias"}


def test_weights_of_another_model_are_named(models: str, run: Callable[..., Run], tmp_path: Path) -> None:
    weights = save(Named(f"{models}:mlp", {"width": 12}).build(), tmp_path / "teacher.safetensors")
    done = run("plan", *options(f"{models}:mlp"), "--input", "2x4", "--teacher-weights", weights)
    assert done.code == 1
    assert "0.weight is [12, 4] in the file and [16, 4] in the model" in done.err


def test_tied_and_computed_parameters() -> None:
    with parameters_on_meta():
        shared = nn.Parameter(torch.ones(2))
        holder = nn.Module()
        holder.a, holder.b = shared, shared
        holder.c = parametrizations.weight_norm(nn.Linear(2, 3))
        holder.d = nn.Linear(2, 3)
        holder.d.weight = holder.c.parametrizations.weight.original1
    assert holder.a is holder.b
    assert holder.d.weight is holder.c.parametrizations.weight.original1
    assert all(parameter.is_meta for parameter in holder.parameters())
    assert not nn.Linear(2, 2).weight.is_meta


def test_a_module_with_other_state_is_loaded_whole() -> None:
    class Extra(nn.Linear):
        def get_extra_state(self) -> object:
            return "more"

    with pytest.raises(NeedsValuesError):
        load_buffers(Extra(2, 2), "nowhere.safetensors")
