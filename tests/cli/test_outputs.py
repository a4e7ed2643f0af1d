"""Where `init` and `apply` write to, and `plan diff`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import wsel_graph as ws

from .conftest import Run, save
from .test_two import couple, net

__all__ = ["net"]


@pytest.fixture
def planned(models: str, run: Callable[..., Run], tmp_path: Path) -> Callable[..., Path]:
    """Writes a plan."""

    def make(name: str, *options: object) -> Path:
        file = tmp_path / name
        assert run("plan", *couple(models, "mlp"), "--input", "2x4", *options, "--output", file).code == 0
        return file

    return make


@pytest.fixture
def use(models: str, planned: Callable[..., Path]) -> tuple[object, ...]:
    """Options of `apply`."""
    return (
        "apply", planned("plan.json"), "--student", f"{models}:mlp", "--teacher", f"{models}:mlp",
        "--teacher-arg", "width=16",
    )  # fmt: skip


def test_shards(use: tuple[object, ...], run: Callable[..., Run], tmp_path: Path) -> None:
    whole, place = tmp_path / "whole.safetensors", tmp_path / "student.safetensors"
    assert run(*use, "--output", whole).code == 0
    done = run(*use, "--output", place, "--max-shard-size", "150B", "--json")
    *shards, index = done.json["files"]
    assert index == f"{place}.index.json"
    found = {name: tensor for shard in shards for name, tensor in load_file(shard).items()}
    assert len(shards) > 1
    assert all(torch.equal(found[name], tensor) for name, tensor in load_file(whole).items())
    assert f"student: {index}, and {len(shards)} files" in run(*use, "--output", place, "--max-shard-size", "150B").out


def test_a_checkpoint_folder_and_a_dtype(use: tuple[object, ...], run: Callable[..., Run], tmp_path: Path) -> None:
    import torch.distributed.checkpoint as dcp

    assert run(*use, "--output", tmp_path / "whole.safetensors", "--dtype", "bfloat16").code == 0
    assert run(*use, "--output", tmp_path / "folder", "--dtype", "bfloat16").code == 0
    whole = load_file(tmp_path / "whole.safetensors")
    found = {name: torch.zeros_like(tensor) for name, tensor in whole.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.load(found, checkpoint_id=tmp_path / "folder")
    assert {tensor.dtype for tensor in whole.values()} == {torch.bfloat16}
    assert all(torch.equal(found[name], tensor) for name, tensor in whole.items())


def test_odd_outputs(use: tuple[object, ...], refused: Callable[..., str], tmp_path: Path) -> None:
    assert "'huge' is no size; write 5GB" in refused(
        *use, "--output", tmp_path / "a.safetensors", "--max-shard-size", "huge"
    )
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("mine")
    assert "holds other things than a torch.distributed" in refused(*use, "--output", tmp_path / "folder")


def test_the_teacher_is_not_written_over(
    models: str, planned: Callable[..., Path], net: Callable[..., torch.nn.Module], refused: Callable[..., str],
    tmp_path: Path,
) -> None:  # fmt: skip
    weights = save(net("mlp", width=16), tmp_path / "model.safetensors")
    before = weights.read_bytes()
    for given in (weights, tmp_path):  # the folder is searched for this name
        said = refused(
            "apply", planned("plan.json"), "--student", f"{models}:mlp", "--teacher-weights", given, "--output", weights
        )
        assert "is also read from: write to another file" in said
    assert weights.read_bytes() == before


# -- plan diff


def test_plans_that_do_the_same(planned: Callable[..., Path], run: Callable[..., Run]) -> None:
    done = run("plan", "diff", planned("a.json"), planned("b.json"))
    assert (done.code, done.out) == (0, "the plans do the same\n")


def test_plans_that_differ(planned: Callable[..., Path], run: Callable[..., Run]) -> None:
    files = planned("a.json"), planned("b.json", "--method", "consecutive", "--keep", "2.*")
    done = run("plan", "diff", *files)
    assert done.code == 1
    assert "3 tensors: hidden elements uniform -> consecutive\n  0.weight, 0.bias, 2.weight\n" in done.out
    assert "2 tensors: filled -> kept (asked for by keep: 2.*)\n  2.weight, 2.bias\n" in done.out
    found = run("plan", "diff", *files, "--json")
    assert found.code == 1
    assert found.json["same"] is False
    assert {
        "kind": "tensor",
        "what": "hidden elements uniform -> consecutive",
        "names": ["0.weight", "0.bias", "2.weight"],
    } in (found.json["differences"])
    again = ws.diff_plans(*map(ws.load_plan, files))
    assert [found["what"] for found in found.json["differences"]] == [each.what for each in again.differences]


def test_trouble_is_told_from_a_difference(
    planned: Callable[..., Path], run: Callable[..., Run], tmp_path: Path
) -> None:
    done = run("plan", "diff", planned("a.json"), tmp_path / "none.json")
    assert (done.code, done.out) == (2, "")
    assert "none.json cannot be read: No such file or directory" in done.err


def test_plan_still_needs_its_models(models: str, capsys: pytest.CaptureFixture[str]) -> None:
    from wsel_graph.cli.main import main

    with pytest.raises(SystemExit) as caught:
        main(["plan", "--teacher", f"{models}:mlp"])
    assert caught.value.code == 2
    assert "the following arguments are required: --teacher, --student" in capsys.readouterr().err
