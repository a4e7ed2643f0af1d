"""What is written: the bytes that safetensors writes, what PyTorch and transformers read, and all or nothing."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from wsel_graph.errors import PlanError
from wsel_graph.plan import files
from wsel_graph.stores import save
from wsel_graph.stores.checkpoint_writer import write_checkpoint
from wsel_graph.stores.safetensors_writer import NAMES
from wsel_graph.stores.save import check_place, refuse_inputs, save_tensors
from wsel_graph.stores.shard_writer import bytes_of, shards
from wsel_graph.stores.source import TensorInfo

Tensors = dict[str, torch.Tensor]


def infos(tensors: Tensors) -> dict[str, TensorInfo]:
    return {name: TensorInfo(tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}


def written(path: Path, tensors: Tensors, limit: int | str | None = None) -> tuple[Path, ...]:
    return save_tensors(path, infos(tensors), tensors.__getitem__, limit)


def rows(seed: int, count: int = 6, size: int = 10) -> Tensors:
    """`count` tensors of 4 * `size` bytes."""
    generator = torch.Generator().manual_seed(seed)
    return {f"t.{number}": torch.randn(size, generator=generator) for number in range(count)}


def everything(path: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def same(found: Tensors, expected: Tensors) -> bool:
    return found.keys() == expected.keys() and all(
        found[name].dtype == tensor.dtype and torch.equal(found[name], tensor) for name, tensor in expected.items()
    )


# -- one file

SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)


@settings(max_examples=60)
@given(st.dictionaries(st.text(min_size=1, max_size=5), st.tuples(st.sampled_from(list(NAMES)), SHAPES), max_size=6))
def test_files_are_those_of_safetensors(tmp_path_factory: pytest.TempPathFactory, forms: dict[str, Any]) -> None:
    names = [name for name in forms if name != "__metadata__" and name.isprintable()]
    tensors = {name: torch.randint(0, 2, forms[name][1]).to(forms[name][0]) for name in names}
    folder = tmp_path_factory.mktemp("file")
    written(folder / "ours.safetensors", tensors)
    save_file(tensors, folder / "theirs.safetensors", metadata={"format": "pt"})
    assert (folder / "ours.safetensors").read_bytes() == (folder / "theirs.safetensors").read_bytes()
    assert same(load_file(folder / "ours.safetensors"), tensors)


def test_views_are_written_as_they_are_seen(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {"turned": base.T, "rows": base[1:], "wide": torch.ones(1).expand(5), "conj": torch.ones(2) * 1j}
    tensors["conj"] = tensors["conj"].to(torch.complex64).conj()
    written(tmp_path / "a.safetensors", tensors)
    assert same(load_file(tmp_path / "a.safetensors"), {name: t.resolve_conj() for name, t in tensors.items()})


def test_one_tensor_at_a_time_is_there(tmp_path: Path) -> None:
    import weakref

    alive: list[weakref.ref[torch.Tensor]] = []

    def value(name: str) -> torch.Tensor:
        assert sum(ref() is not None for ref in alive) <= 1
        made = torch.full((100,), float(name))
        alive.append(weakref.ref(made))
        return made

    forms = {str(number): TensorInfo((100,), torch.float32) for number in range(9)}
    for place, limit in (("a.safetensors", None), ("b.safetensors", 900), ("folder", None)):
        alive.clear()
        save_tensors(tmp_path / place, forms, value, limit)
        assert len(alive) == 9


def test_a_value_of_another_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"a was to be \[2\] torch.float32, and is \[3\] torch.float32"):
        save_tensors(tmp_path / "a.safetensors", {"a": TensorInfo((2,), torch.float32)}, lambda name: torch.ones(3))
    assert not list(tmp_path.iterdir())


def test_dtypes_that_the_format_lacks(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"cannot be written: a is torch.complex128, which the format lacks"):
        written(tmp_path / "a.safetensors", {"a": torch.ones(1, dtype=torch.complex128)})


# -- shards


def test_shards_and_their_index(tmp_path: Path) -> None:
    tensors = rows(0)
    made = written(tmp_path / "model.safetensors", tensors, 100)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": 240}
    assert list(index) == ["metadata", "weight_map"]
    assert [file.name[:6] + file.name[14:] for file in made[:-1]] == [
        f"model--0000{number}-of-00003.safetensors" for number in (1, 2, 3)
    ]
    assert made[-1].name == "model.safetensors.index.json"
    assert set(tmp_path.iterdir()) == set(made)
    found = {}
    for name, shard in index["weight_map"].items():
        found[name] = load_file(tmp_path / shard)[name]
    assert same(found, tensors)
    assert all(sum(t.nbytes for t in load_file(file).values()) <= 100 for file in made[:-1])


@given(st.lists(st.integers(0, 20), min_size=1, max_size=12), st.integers(1, 30))
def test_shards_hold_all_in_order_and_stay_below_the_limit(sizes: list[int], limit: int) -> None:
    forms = {str(number): TensorInfo((size,), torch.int8) for number, size in enumerate(sizes)}
    parts = shards(forms, limit)
    assert [name for part in parts for name in part] == list(forms)
    assert all(sum(sizes[int(name)] for name in part) <= limit or len(part) == 1 for part in parts)


def test_what_took_the_place_before_is_gone(tmp_path: Path) -> None:
    place, other = tmp_path / "model.safetensors", tmp_path / "model-00001-of-00002.txt"
    other.write_text("mine")
    first = written(place, rows(1), 100)
    second = written(place, rows(2), 130)
    assert set(tmp_path.iterdir()) == {*second, other}
    assert not set(first) & set(second[:-1])
    assert written(place, rows(3)) == (place,)
    assert set(tmp_path.iterdir()) == {place, other}
    third = written(place, rows(4), 100)
    assert set(tmp_path.iterdir()) == {*third, other}


def test_shards_of_other_makers_are_replaced_and_other_files_are_not(tmp_path: Path) -> None:
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "other-00001-of-00001.safetensors"]
    for name in names:
        (tmp_path / name).write_text("old")
    places = {"a": names[0], "b": names[1], "c": names[2], "d": "../x.safetensors", "e": 3}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    written(tmp_path / "model.safetensors", rows(0), 100)
    assert [(tmp_path / name).exists() for name in names] == [False, False, True]


def test_transformers_reads_the_shards(tmp_path: Path) -> None:
    from tests.zoo import torchvision_stub

    torchvision_stub.install()
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "vocab_size": 9}
    model = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2, num_key_value_heads=1))
    model.config.save_pretrained(tmp_path)
    state = dict(model.state_dict())
    assert len(written(tmp_path / "model.safetensors", state, "2KB")) > 2
    assert same(dict(LlamaForCausalLM.from_pretrained(tmp_path).state_dict()), state)


@pytest.mark.parametrize("size", ["5", "5 gb", "0.5GiB", 7])
def test_sizes(size: int | str) -> None:
    assert bytes_of(size) == {"5": 5, "5 gb": 5 * 10**9, "0.5GiB": 2**29, 7: 7}[size]


@pytest.mark.parametrize("size", ["", "GB", "-5GB", "5 apples", "5XB", 0, "0.1", True])
def test_odd_sizes(size: int | str) -> None:
    units = r"The units are B, KB, MB, GB, TB \(powers of 1000\) and KiB, MiB, GiB \(powers of 1024\)"
    with pytest.raises(PlanError, match=f"is no size; write 5GB, 500MB or a number of bytes. {units}"):
        bytes_of(size)


# -- torch.distributed.checkpoint


def read_back(folder: Path, tensors: Tensors) -> Tensors:
    import torch.distributed.checkpoint as dcp

    found = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.load(found, checkpoint_id=folder)
    return found


def test_checkpoint_folders_are_read_by_pytorch(tmp_path: Path) -> None:
    tensors = {
        **rows(0),
        "turned": torch.arange(6.0).reshape(2, 3).T,
        "half": torch.ones(3).bfloat16(),
        "n": torch.tensor(3),
    }
    assert written(tmp_path / "start", tensors) == (tmp_path / "start",)
    assert same(read_back(tmp_path / "start", tensors), tensors)
    written(tmp_path / "start", rows(5))
    assert same(read_back(tmp_path / "start", rows(5)), rows(5))
    assert [entry.name for entry in tmp_path.iterdir()] == ["start"]


def test_folders_with_other_things_are_refused(tmp_path: Path) -> None:
    (tmp_path / "start").mkdir()
    written(tmp_path / "start", rows(0))  # an empty one may be taken
    (tmp_path / "start" / "config.json").write_text("{}")
    with pytest.raises(PlanError, match=r"holds other things than a torch.distributed.checkpoint \(config.json\)"):
        written(tmp_path / "start", rows(1))
    assert same(read_back(tmp_path / "start", rows(0)), rows(0))


def test_folders_where_nothing_can_be_exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(first: Path, second: Path) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr("wsel_graph.stores.checkpoint_writer.exchange", refuse)
    written(tmp_path / "start", rows(0))
    with pytest.raises(PlanError, match=r"cannot be replaced in one step on this system \(Invalid argument\)"):
        written(tmp_path / "start", rows(1))
    assert same(read_back(tmp_path / "start", rows(0)), rows(0))
    assert [entry.name for entry in tmp_path.iterdir()] == ["start"]


# -- places


@pytest.mark.parametrize(
    ("name", "limit", "said"),
    [
        pytest.param("a.pt", None, "the name must end in .safetensors, or in nothing for a folder", id="suffix"),
        pytest.param("none/a.safetensors", None, "there is no folder", id="folder"),
        pytest.param("sub.safetensors", None, "is a folder: name a file in it", id="a folder"),
        pytest.param("file", None, "is a file: a checkpoint folder cannot take its place", id="a file"),
        pytest.param("start", 5, "max_shard_size is for .safetensors files", id="size of a folder"),
    ],
)
def test_places_that_cannot_be_written(name: str, limit: int | None, said: str, tmp_path: Path) -> None:
    (tmp_path / "sub.safetensors").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(PlanError, match=said):
        check_place(tmp_path / name, limit)


def test_what_is_read_from_is_not_written_to(tmp_path: Path) -> None:
    place = tmp_path / "model.safetensors"
    made = written(place, rows(0), 100)
    for source in (place, made[0], made[-1], tmp_path):
        with pytest.raises(PlanError, match="is also read from: write to another file"):
            refuse_inputs(place, [source])
    refuse_inputs(tmp_path / "other.safetensors", [made[0], tmp_path])


# -- failures leave everything as it was

PLACES = [
    pytest.param("a.safetensors", None, id="file"),
    pytest.param("a.safetensors", 100, id="shards"),
    pytest.param("a", None, id="checkpoint"),
]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError("broken"), OSError(errno.EIO, "Input/output error")])
@pytest.mark.parametrize(("name", "limit"), PLACES)
def test_a_failure_half_way(name: str, limit: int | None, error: Any, tmp_path: Path) -> None:
    written(tmp_path / name, rows(0), limit)
    before, tensors = everything(tmp_path), rows(1)

    def value(wanted: str) -> torch.Tensor:
        if wanted == "t.4":
            raise error
        return tensors[wanted]

    with pytest.raises(type(error) if isinstance(error, Exception) else error):
        save_tensors(tmp_path / name, infos(tensors), value, limit)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("step", range(1, 9))
@pytest.mark.parametrize(("old", "new"), [(None, None), (100, 100), (None, 100), (100, None)])
def test_an_interrupt_between_any_two_steps(
    step: int, old: int | None, new: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every rename, removal and sync may be the last thing that happens: what an index or a file names is whole."""
    place, index = tmp_path / "a.safetensors", tmp_path / "a.safetensors.index.json"
    written(place, rows(0), old)
    left = [step]

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt
            return call(*arguments, **options)

        return run

    for owner, call in ((os, "replace"), (os, "fsync"), (Path, "unlink")):
        monkeypatch.setattr(owner, call, counted(getattr(owner, call)))
    with suppress(KeyboardInterrupt):
        written(place, rows(1), new)
    monkeypatch.undo()
    seen = []
    if place.exists():
        seen.append(load_file(place))
    if index.exists():
        places = json.loads(index.read_text())["weight_map"]
        if all((tmp_path / shard).exists() for shard in places.values()):
            seen.append({name: load_file(tmp_path / shard)[name] for name, shard in places.items()})
        else:  # the whole file that took its place is there already
            assert place.exists()
            assert same(load_file(place), rows(1))
    assert seen
    assert all(same(found, rows(0)) or same(found, rows(1)) for found in seen)


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    place = tmp_path / "a.safetensors"
    left = [".0123abcd.a.safetensors", ".0123abcd.a-deadbeef-00001-of-00002.safetensors"]
    left.append("a-deadbeef-00001-of-00002.safetensors")  # no index names it
    others = [".0123abcd.b.safetensors", ".hidden", "0123abcd.a.safetensors", "a-00001-of-00002.safetensors"]
    for name in (*left, *others):
        (tmp_path / name).write_text("half")
    with files.staged(place) as busy:  # somebody is writing
        written(place, rows(0))
        assert busy.exists()
    assert {file.name for file in tmp_path.iterdir()} == {"a.safetensors", *others}


def test_shards_that_somebody_writes_are_left_alone(tmp_path: Path) -> None:
    """A second writer comes while the first has its shards there, and no index yet."""
    place = tmp_path / "a.safetensors"
    tensors, others = rows(0), rows(1)

    def value(name: str) -> torch.Tensor:
        if name == "t.5":
            written(place, others, 100)
        return tensors[name]

    made = save_tensors(place, infos(tensors), value, 100)
    assert all(file.exists() for file in made)
    found = {name: tensor for file in made[:-1] for name, tensor in load_file(file).items()}
    assert same(found, tensors)
    assert set(tmp_path.iterdir()) == set(made)


# -- full disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("told", [True, False], ids=["foreseen", "met while writing"])
@pytest.mark.parametrize(("name", "limit"), [("a.safetensors", None), ("a.safetensors", 40_000), ("a", None)])
def test_a_full_disk(
    name: str, limit: int | None, told: bool, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = rows(0, 4, 5_000), rows(1, 4, 11_000)  # 80 KB, and 176 KB for which 182 KB or less are left
    written(small_disk / name, old, limit)
    (small_disk / "ballast").write_bytes(b"0" * 60_000)
    before = everything(small_disk)
    if not told:
        monkeypatch.setattr(save.shutil, "disk_usage", lambda path: Room())
    with pytest.raises(OSError, match=r"No space left on device: 176,000 bytes are needed") as caught:
        written(small_disk / name, new, limit)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(small_disk / name)
    assert everything(small_disk) == before


class Room:
    """A disk that says it has room."""

    free = 1 << 40


def test_write_checkpoint_names_the_first_cause(tmp_path: Path) -> None:
    def value(name: str) -> torch.Tensor:
        raise PlanError("the shard is truncated")

    with pytest.raises(PlanError, match="the shard is truncated"):
        write_checkpoint(tmp_path / "a", {"t": TensorInfo((1,), torch.float32)}, value)
    assert not list(tmp_path.iterdir())
