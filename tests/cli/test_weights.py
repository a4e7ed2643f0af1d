"""Checkpoints of every kind: what they give, how strictly they load, and what is said when they do not."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.nets import Language, mlp
from wsel_graph.cli.weights import load_weights, read_weights
from wsel_graph.errors import PlanError

from .conftest import filled

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2), "b": torch.tensor(4)}


def sharded(folder: Path, suffix: str = ".safetensors") -> Path:
    """Two shards and their index, as transformers names them."""
    stem = "model" if suffix == ".safetensors" else "pytorch_model"
    places = {name: f"{stem}-{1 + (name == 'b')}{suffix}" for name in STATE}
    for shard in set(places.values()):
        part = {name: tensor for name, tensor in STATE.items() if places[name] == shard}
        save_file(part, folder / shard) if suffix == ".safetensors" else torch.save(part, folder / shard)
    index = folder / f"{stem}{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return index


def pickled(name: str, content: object) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        torch.save(content, folder / name)
        return folder / name

    return write


def in_folder(folder: Path) -> Path:
    save_file(STATE, folder / "model.safetensors")
    return folder


def plain(folder: Path) -> Path:
    save_file(STATE, folder / "a.safetensors")
    return folder / "a.safetensors"


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(plain, id="safetensors"),
        pytest.param(sharded, id="shards"),
        pytest.param(lambda folder: sharded(folder, ".bin"), id="pickled shards"),
        pytest.param(lambda folder: sharded(folder).parent, id="folder of shards"),
        pytest.param(in_folder, id="folder"),
        pytest.param(pickled("a.pt", STATE), id="pt"),
        pytest.param(pickled("a.pth", {"model": STATE, "epoch": 3, "args": {"lr": 1.0}}), id="inside a checkpoint"),
    ],
)
def test_every_kind_gives_the_tensors(write: Callable[[Path], Path], tmp_path: Path) -> None:
    found = read_weights(write(tmp_path))
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in STATE.items())


def test_the_index_decides_which_shard_counts(tmp_path: Path) -> None:
    file = sharded(tmp_path)
    save_file({"b": STATE["b"], "a.bias": torch.zeros(2), "more": torch.ones(1)}, tmp_path / "model-2.safetensors")
    found = read_weights(file)
    assert found.keys() == STATE.keys()
    assert torch.equal(found["a.bias"], STATE["a.bias"])


class Harm:
    """Code in a pickle."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (Path("harm.txt"), "done"))


def test_pickles_run_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": torch.ones(1), "b": Harm()}, tmp_path / "a.pt")
    with pytest.raises(PlanError, match=r"a\.pt holds more than tensors.*could run any code.*safetensors"):
        read_weights(tmp_path / "a.pt")
    assert not (tmp_path / "harm.txt").exists()


def write(name: str, content: bytes) -> Callable[[Path], Path]:
    def put(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return put


def index(**places: str) -> Callable[[Path], Path]:
    return write("a.index.json", json.dumps({"weight_map": places}).encode())


def cut(folder: Path) -> Path:
    file = plain(folder)
    file.write_bytes(file.read_bytes()[:-4])
    return file


def lost_tensor(folder: Path) -> Path:
    file = sharded(folder)
    save_file({"other": torch.ones(1)}, folder / "model-2.safetensors")
    return file


def lost_shard(folder: Path) -> Path:
    file = sharded(folder)
    (folder / "model-2.safetensors").unlink()
    return file


@pytest.mark.parametrize(
    ("write", "said"),
    [
        pytest.param(lambda f: f / "none.pt", r"there is no weights file .*none\.pt", id="missing"),
        pytest.param(lambda f: f, r"holds none of model\.safetensors, .*: name the file", id="empty folder"),
        pytest.param(write("a.txt", b""), r"a\.txt is no weights file: \.safetensors, \.json", id="suffix"),
        pytest.param(cut, r"a\.safetensors is no whole safetensors file .*fetch or write it again", id="cut"),
        pytest.param(write("a.pt", b"PK\x03\x04 no zip"), r"a\.pt is no whole checkpoint", id="broken zip"),
        pytest.param(write("a.pt", pickle.dumps(print)), r"a\.pt holds more than tensors", id="function"),
        pytest.param(pickled("a.pt", {"lr": 1.0}), r"a\.pt holds no state dict", id="no tensors"),
        pytest.param(pickled("a.pt", [torch.ones(1)]), r"a\.pt holds no state dict", id="list"),
        pytest.param(
            pickled("a.pt", {"model": STATE, "ema": STATE}),
            r"several state dicts \(ema, model\): save the one",
            id="two",
        ),
        pytest.param(write("a.json", b"[]"), r'a\.json is no index of shards: it needs a "weight_map"', id="index"),
        pytest.param(index(a="../b.safetensors"), r"names '\.\./b\.safetensors', which is not beside it", id="outside"),
        pytest.param(lost_shard, r"1 of 2 shards of .* are missing: model-2\.safetensors", id="lost shard"),
        pytest.param(lost_tensor, r"promises 1 tensors that its shards lack: b", id="lost tensor"),
    ],
)
def test_refused(write: Callable[[Path], Path], said: str, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=said):
        read_weights(write(tmp_path))


# -- loading


def test_loading_is_strict(tmp_path: Path) -> None:
    save_file({**mlp(8).state_dict(), "more": torch.ones(1)}, tmp_path / "a.safetensors")
    model = nn.Sequential(*mlp(8), nn.Linear(3, 3))
    with pytest.raises(PlanError) as caught:
        load_weights(model, tmp_path / "a.safetensors", "teacher")
    assert str(caught.value).splitlines() == [
        f"the weights in {tmp_path / 'a.safetensors'} are not those of the teacher:",
        "  - 2 tensors are not in the file: 5.weight, 5.bias",
        "  - 1 tensors of the file are not in the model: more",
        "Build the teacher with the arguments that the weights were made with (--teacher-arg KEY=VALUE), or rename "
        "the tensors.",
    ]
    with pytest.raises(PlanError, match=r"0\.weight is \[8, 4\] in the file and \[6, 4\] in the model"):
        load_weights(mlp(6), tmp_path / "a.safetensors", "student")


@pytest.mark.parametrize("left_out", ["embed.weight", "head.weight"])
def test_tied_names_may_be_left_out(left_out: str, tmp_path: Path) -> None:
    state = {name: t.clone() for name, t in filled(Language(8, tied=True)).state_dict().items() if name != left_out}
    save_file(state, tmp_path / "a.safetensors")
    model = Language(8, tied=True)
    load_weights(model, tmp_path / "a.safetensors", "teacher")
    assert torch.equal(model.embed.weight, filled(Language(8, tied=True)).state_dict()["embed.weight"])
    with pytest.raises(PlanError, match=rf"1 tensors are not in the file: {left_out}"):
        load_weights(Language(8, tied=False), tmp_path / "a.safetensors", "teacher")


def lightning(state: dict[str, torch.Tensor]) -> dict[str, Any]:
    """A trainer's checkpoint: the network is an attribute of what was trained, and there is more in the file."""
    more = {"epoch": 3, "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}]}
    return {"state_dict": {**state, "loss.weight": torch.ones(3)}, "hyper_parameters": {"width": 8}, **more}


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".ckpt"])
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "net._orig_mod."])
def test_names_of_wrapped_models(prefix: str, suffix: str, tied: bool, tmp_path: Path) -> None:
    model, fresh, file = filled(Language(8, tied=tied)), Language(8, tied=tied), tmp_path / f"a{suffix}"
    state = {f"{prefix}{name}": tensor.clone() for name, tensor in model.state_dict().items()}
    if tied:
        del state[f"{prefix}embed.weight"]
    save_file(state, file) if suffix == ".safetensors" else torch.save(
        lightning(state) if suffix == ".ckpt" else state, file
    )
    load_weights(fresh, file, "teacher")
    assert all(torch.equal(tensor, fresh.state_dict()[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("dtype", "said"),
    [
        pytest.param(
            torch.int8, "0.weight is torch.int8 in the file, torch.float32 in the model: dequantize", id="int8"
        ),
        pytest.param(torch.bool, "0.bias is torch.bool in the file, torch.float32 in the model: dequantize", id="bool"),
        pytest.param(torch.complex64, "its imaginary part would be lost", id="complex"),
    ],
)
def test_values_of_another_kind_are_refused(dtype: torch.dtype, said: str, tmp_path: Path) -> None:
    """`load_state_dict` casts the codes of a quantized checkpoint without a word; they are no weights."""
    model = filled(mlp(8))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.save({name: (10 * tensor).to(dtype) for name, tensor in before.items()}, tmp_path / "a.pt")
    with pytest.raises(PlanError, match=r"a\.pt holds other values than those of the teacher, which a cast") as caught:
        load_weights(model, tmp_path / "a.pt", "teacher")
    assert said in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_floating_point_types_are_loaded(dtype: torch.dtype, tmp_path: Path) -> None:
    model, state = mlp(8), {name: tensor.to(dtype) for name, tensor in filled(mlp(8)).state_dict().items()}
    torch.save(state, tmp_path / "a.pt")
    load_weights(model, tmp_path / "a.pt", "teacher")
    assert all(torch.equal(tensor, state[name].float()) for name, tensor in model.state_dict().items())
