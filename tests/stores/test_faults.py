"""Checkpoints that are damaged, unsafe or wrong: a clear error, and a student that is as it was."""

from __future__ import annotations

import errno
import json
import os
import pickle
import pickletools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import wsel_graph as ws
from tests.nets import mlp, randomize, same_tensors, snapshot
from tests.stores.checkpoints import distributed, pickled, safetensors, shards
from wsel_graph.apply import undo
from wsel_graph.errors import PlanError
from wsel_graph.plan import Plan
from wsel_graph.stores import open_source, rows


def pair() -> tuple[nn.Module, nn.Module, Plan]:
    """A student, a teacher, and the plan between them."""
    student, teacher = randomize(mlp(4), 1), randomize(mlp(8), 2)
    return student, teacher, ws.plan(student, teacher, (1, 4))


def refused(teacher: Path | dict[str, torch.Tensor], said: str, **options: Any) -> None:
    """Applying from there is refused with this text, and changes nothing."""
    student, _, plan = pair()
    before = snapshot(student)
    with pytest.raises(PlanError, match=said):
        ws.apply(plan, student, teacher, **options)
    assert same_tensors(student, before)


def state() -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in pair()[1].state_dict().items()}


def cut(path: Path, left: int) -> Path:
    path.write_bytes(path.read_bytes()[:left])
    return path


# -- safetensors


@pytest.mark.parametrize(
    ("left", "said"),
    [
        pytest.param(5, r"teacher\.safetensors is no whole safetensors file \(it has 5 bytes, too few for a", id="5"),
        pytest.param(100, r"\(its header should have \d+ bytes, the file has 100\): fetch or write it", id="header"),
        pytest.param(-4, r"its tensors end at byte 940 of the values, of which the file has 936\): fetch", id="values"),
    ],
)
def test_cut_safetensors(left: int, said: str, tmp_path: Path) -> None:
    refused(cut(safetensors(state(), tmp_path), left), said)


def with_header(folder: Path, header: object, values: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / "odd.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + values)
    return path


def entry(start: int = 0, stop: int = 8, shape: Any = (2,), dtype: Any = "F32", **more: Any) -> dict[str, Any]:
    shape = list(shape) if isinstance(shape, tuple) else shape
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop], **more}


@pytest.mark.parametrize(
    ("header", "said"),
    [
        pytest.param({"a": entry(), "b": entry(4, 12)}, r"b starts at byte 4 of the values, the tensor before", id="o"),
        pytest.param(
            {"a": entry(4, 12)}, r"a starts at byte 4 of the values, the tensor before it ends at 0", id="gap"
        ),
        pytest.param({"a": entry(0, 80, (20,))}, r"end at byte 80 of the values, of which the file has 16", id="out"),
        pytest.param({"a": entry()}, r"end at byte 8 of the values, of which the file has 16", id="rest"),
        pytest.param({"a": entry(0, 16, dtype="F33")}, r"a: the dtype 'F33' is not known", id="dtype"),
        pytest.param({"a": entry(0, 16, dtype=[])}, r"a: the dtype \[\] is not known", id="dtype list"),
        pytest.param({"a": entry(0, 16)}, r"a: F32 \[2\] takes 8 bytes, its data_offsets span 16", id="span"),
        pytest.param({"a": entry(0, 16, [-4])}, r"a: shape \[-4\] and data_offsets \[0, 16\] are no sizes", id="minus"),
        pytest.param({"a": entry(0, 16, [True])}, r"a: shape \[True\] and data_offsets", id="bool"),
        pytest.param({"a": entry(0, 16, [4.0])}, r"a: shape \[4\.0\] and", id="float"),
        pytest.param({"a": entry(16, 0)}, r"data_offsets \[16, 0\] are no sizes", id="turned"),
        pytest.param({"a": entry(0, 16, (4,), more=1)}, r"a: needs dtype, shape and data_offsets, and nothing", id="k"),
        pytest.param({"a": [1]}, r"a: needs dtype, shape and data_offsets", id="list"),
        pytest.param({"__metadata__": {"a": 1}, "a": entry(0, 16, (4,))}, r"__metadata__ is no mapping", id="meta"),
        pytest.param([], r"its header is no JSON object", id="no object"),
        pytest.param(b"  {}", r"its header is no JSON object", id="blank"),
        pytest.param(b'{"a', r"its header is no JSON: ", id="json"),
        pytest.param(b'{"a":{},"a":{}}', r"its header is no JSON: a key occurs twice", id="twice"),
        pytest.param(b"\xff\xfe{}", r"its header is no JSON: ", id="utf8"),
        pytest.param(b'{"a":' + b"[" * 200_000, r"its header is no JSON: ", id="deep"),
        pytest.param({f"a{n}": [] for n in range(9)}, r"and 5 more faults", id="many"),
    ],
)
def test_headers(header: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=said):
        open_source(with_header(tmp_path, header, bytes(16)))


def test_a_header_of_absurd_length(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    with pytest.raises(PlanError, match=r"its header should have 1152921504606846976 bytes, the file has 10"):
        open_source(tmp_path / "a.safetensors")


def test_a_missing_tensor(tmp_path: Path) -> None:
    held = state()
    del held["2.bias"]
    refused(safetensors(held, tmp_path), r"\(1 faults\), nothing was changed:\n  - the teacher has no tensor 2\.bias")


def test_integers_are_refused_where_they_are_needed(tmp_path: Path) -> None:
    held = state() | {"2.bias": torch.ones(16, dtype=torch.int8), "more": torch.ones(2, dtype=torch.int64)}
    refused(safetensors(held, tmp_path), r"\(1 faults\).*\n.*teacher 2\.bias is torch\.int8, not floating point")


# -- an index


def rewritten(index: Path, change: Callable[[dict[str, str]], object]) -> Path:
    document = json.loads(index.read_text())
    change(document["weight_map"])
    index.write_text(json.dumps(document))
    return index


FIRST, SECOND = (f"model-0000{number}-of-00002.safetensors" for number in (1, 2))


def test_a_shard_is_missing_or_cut(tmp_path: Path) -> None:
    index = shards(state(), tmp_path)
    cut(tmp_path / SECOND, -4)
    refused(index, rf"{SECOND} is no whole safetensors file .*fetch or write it again")
    (tmp_path / SECOND).unlink()
    refused(index, rf"1 of 2 shards of .*index\.json are missing: {SECOND}")
    refused(tmp_path, rf"1 of 2 shards of .*index\.json are missing: {SECOND}")


def test_an_index_that_lies(tmp_path: Path) -> None:
    index = rewritten(shards(state(), tmp_path), lambda places: places.update({"2.bias": FIRST, "0.weight": SECOND}))
    told = rf"promises 2 tensors that its shards lack: 0\.weight \(it is in {FIRST}, the index says {SECOND}\), 2\.bias"
    refused(index, told + r".*of another checkpoint")
    rewritten(index, lambda places: places.update({"2.bias": SECOND, "0.weight": FIRST, "new": FIRST}))
    refused(index, r"promises 1 tensors that its shards lack: new\. The index")
    rewritten(index, lambda places: [places.pop("new"), places.pop("2.bias")])
    refused(index, r"the teacher has no tensor 2\.bias")


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/etc/x.safetensors", "a/b.safetensors", "", "..", "a\\b", "a\0b"]
)
def test_an_index_that_leaves_its_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    safetensors(state(), tmp_path).rename(tmp_path / "x.safetensors")
    index = rewritten(shards(state(), tmp_path / "home"), lambda places: places.update({"2.bias": name}))
    refused(index, r"index\.json names '.*', which is not beside it: an index may name no other folder")


def test_links_that_leave_the_folder(tmp_path: Path) -> None:
    home, outside = tmp_path / "home", tmp_path / "outside.safetensors"
    home.mkdir()
    index = shards(state(), home)
    (home / SECOND).rename(outside)
    (home / SECOND).symlink_to(outside)
    refused(index, rf"{SECOND} is a link that leaves its folder, to .*outside\.safetensors: put the file itself there")
    outside.rename(home / "inside.safetensors")
    (home / SECOND).unlink()
    (home / SECOND).symlink_to("inside.safetensors")
    open_source(index)


def test_links_of_a_download_cache_are_followed(tmp_path: Path) -> None:
    """Such caches keep files by content in `blobs` and link to them from `snapshots/REVISION`."""
    snapshot_, blobs = tmp_path / "models--x" / "snapshots" / "abc", tmp_path / "models--x" / "blobs"
    snapshot_.mkdir(parents=True)
    blobs.mkdir()
    shards(state(), snapshot_)
    for number, file in enumerate(sorted(snapshot_.iterdir())):
        file.rename(blobs / str(number))
        file.symlink_to(blobs / str(number))
    student, teacher, plan = pair()
    ws.apply(plan, student, snapshot_)
    assert torch.equal(student[0].weight, teacher[0].weight[::2])
    (snapshot_ / SECOND).unlink()
    (tmp_path / "elsewhere").write_bytes(b"")
    (snapshot_ / SECOND).symlink_to(tmp_path / "elsewhere")
    refused(snapshot_, "is a link that leaves its folder")


@pytest.mark.parametrize("text", ["[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}', "{", "[" * 100_000, ""])
def test_what_is_no_index(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    refused(tmp_path / "a.json", r'a\.json is no index of shards: it needs a "weight_map" from tensors to files')


def test_a_shard_of_another_kind(tmp_path: Path) -> None:
    index = rewritten(shards(state(), tmp_path), lambda places: places.update({"2.bias": "config.json"}))
    (tmp_path / "config.json").write_text("{}")
    refused(index, r"config\.json is no shard: \.safetensors, \.pt")


# -- pickles


class Harm:
    """Code in a pickle."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (Path("harm.txt"), "done"))


def test_pickles_run_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, kept in (("a.pt", True), ("b.bin", False)):
        torch.save(state() | {"b": Harm()}, tmp_path / name, _use_new_zipfile_serialization=kept)  # type: ignore[dict-item]
        refused(tmp_path / name, r"holds more than tensors.*could run any code.*safetensors")
    folder = distributed(state(), tmp_path)
    (folder / ".metadata").write_bytes(pickle.dumps(Harm()))
    refused(
        folder, r"\.metadata is no metadata of a checkpoint folder \(it names pathlib\.Path\.write_text\), and runs"
    )
    assert not (tmp_path / "harm.txt").exists()


def test_a_metadata_file_that_asks_for_all_memory(tmp_path: Path) -> None:
    folder = distributed(state(), tmp_path)
    file = folder / ".metadata"
    old = pickle.dumps(pickle.loads(file.read_bytes()), protocol=2)  # numbers what it will need again
    file.write_bytes(old)
    assert open_source(folder).infos()
    place = next(place for op, _, place in pickletools.genops(old) if op.name == "BINPUT" and place is not None)
    file.write_bytes(old[:place] + b"r\xff\xff\xff\x7f" + old[place + 2 :])  # of room for 2 ** 31 pointers
    refused(folder, rf"at byte {place}, it numbers an object 2147483647, with \d+ bytes in all")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99])
def test_cut_pickles(share: float, tmp_path: Path) -> None:
    file = pickled(state(), tmp_path)
    refused(cut(file, int(share * file.stat().st_size)), r"teacher\.pt (is no whole checkpoint|holds more than)")


# -- a distributed checkpoint


def test_a_distributed_checkpoint_that_is_not_whole(tmp_path: Path) -> None:
    folder = distributed(state(), tmp_path)
    part = folder / "__0_0.distcp"
    cut(part, -40)
    refused(folder, r"is no whole checkpoint folder: .*: its values end at byte \d+ of __0_0\.distcp, which has \d+")
    part.unlink()
    refused(folder, r"is no whole checkpoint folder: the file __0_0\.distcp is missing")
    part.write_bytes(b"")
    (folder / ".metadata").unlink()
    refused(folder, r"there is no metadata file .*\.metadata: the checkpoint was not written to its end")
    (folder / ".metadata").write_bytes(b"\x80\x04nothing")
    refused(folder, r"\.metadata is no metadata of a checkpoint folder")
    (folder / ".metadata").write_bytes(pickle.dumps(torch.Size([1])))
    refused(folder, r"it holds a Size")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        pytest.param("chunks", None, r"\.metadata is damaged \(.*\): write it again", id="no list"),
        pytest.param("chunks", [], r"0\.weight: its chunks do not cover \[8, 4\] once", id="empty"),
        pytest.param("size", torch.Size([9, 4]), r"0\.weight: its chunks do not cover \[9, 4\] once", id="size"),
        pytest.param("size", ("8", 4), r"0\.weight: its dtype or shape is none", id="text"),
    ],
)
def test_metadata_with_other_values(field: str, value: object, said: str, tmp_path: Path) -> None:
    """The first is what fuzzing found: a name of a field that is changed by a bit."""
    folder = distributed(state(), tmp_path)
    metadata = pickle.loads((folder / ".metadata").read_bytes())
    setattr(metadata.state_dict_metadata["0.weight"], field, value)
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    refused(folder, said)
    delattr(metadata.state_dict_metadata["0.weight"], field)
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    refused(folder, r"\.metadata is damaged \(.* has no attribute .*\): write it again")


@pytest.mark.parametrize("field", ["state_dict_metadata", "storage_data"])
def test_metadata_without_a_field(field: str, tmp_path: Path) -> None:
    folder = distributed(state(), tmp_path)
    metadata = pickle.loads((folder / ".metadata").read_bytes())
    setattr(metadata, field, None)
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    refused(folder, r"\.metadata is damaged \(it does not say what is stored where\): write it again")
    delattr(metadata, field)
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    refused(folder, r"\.metadata is damaged \(it does not say what is stored where\): write it again")


def test_a_distributed_checkpoint_with_other_bytes(tmp_path: Path) -> None:
    folder = distributed(state(), tmp_path)
    part = folder / "__0_0.distcp"
    part.write_bytes(bytes(part.stat().st_size))
    refused(folder, r"the values of 0\.weight cannot be read \(")


@pytest.mark.parametrize("path", ["../x.distcp", "/etc/passwd"])
def test_a_distributed_checkpoint_that_leaves_its_folder(path: str, tmp_path: Path) -> None:
    folder = distributed(state(), tmp_path)
    metadata = pickle.loads((folder / ".metadata").read_bytes())
    next(iter(metadata.storage_data.values())).relative_path = path
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    refused(folder, rf"\.metadata names '{path}', which leaves the folder")


# -- failures half-way


@pytest.mark.parametrize("limit", [0, 40, 1 << 20], ids=["on disk", "both", "in memory"])
@pytest.mark.parametrize("fails_at", [0, 1, 4])
def test_a_read_that_fails_half_way(fails_at: int, limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, reads = safetensors(state(), tmp_path), [0]
    headers, read = 2, rows._read_into

    def failing(handle: int, view: memoryview, start: int) -> int:
        reads[0] += 1
        if reads[0] == headers + fails_at + 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(handle, view, start)

    monkeypatch.setattr(rows, "_read_into", failing)
    monkeypatch.setattr(undo, "LIMIT", limit)
    refused(file, r"teacher\.safetensors: the values of .* cannot be read \(Input/output error\)")


def test_a_file_that_is_cut_while_it_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, read = safetensors(state(), tmp_path), rows._read_into

    def short(handle: int, view: memoryview, start: int) -> int:
        return read(handle, view[: max(0, 1200 - start)], start)

    monkeypatch.setattr(rows, "_read_into", short)
    refused(file, r"ends at byte 1200, \d+ bytes before the values of .* that are needed: it was cut while it was open")


def test_no_room_for_the_old_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(undo, "LIMIT", 100)
    monkeypatch.setattr(undo.tempfile, "TemporaryFile", full)
    refused(
        safetensors(state(), tmp_path), r"old values, .* cannot be kept in .*No space left.*: set TMPDIR to a folder"
    )


# -- values that are not finite


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kept", [True, False], ids=["file", "memory"])
def test_values_that_are_not_finite(value: float, kept: bool, tmp_path: Path) -> None:
    held = state()
    held["2.weight"][6, 4] = value
    teacher = safetensors(held, tmp_path) if kept else held
    refused(teacher, rf"teacher 2\.weight \[6, 4\] is {value}, and 2\.weight would take it\. Use .*check_finite=False")
    student, _, plan = pair()
    ws.apply(plan, student, teacher, check_finite=False)
    assert not torch.isfinite(student[2].weight[3, 2])
    held["2.weight"][6, 4], held["2.weight"][5, 4] = 0, value  # a row that is not selected
    ws.apply(plan, student, safetensors(held, tmp_path) if kept else held)


def test_values_that_the_student_cannot_hold(tmp_path: Path) -> None:
    held = state()
    held["2.weight"][6, 4] = 1e6
    student, _, plan = pair()
    student = student.half()
    before = snapshot(student)
    with pytest.raises(
        PlanError, match=r"values of teacher 2\.weight are too large for torch.float16, in which student 2\.weight"
    ):
        ws.apply(plan, student, safetensors(held, tmp_path))
    assert same_tensors(student, before)
    ws.apply(plan, student.bfloat16(), safetensors(held, tmp_path))


def test_complex_values_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    held = state() | {"2.bias": torch.ones(16, dtype=torch.complex64)}
    refused(safetensors(held, tmp_path), r"teacher 2\.bias is complex, student 2\.bias is not: values would be lost")


def test_save_file_is_the_librarys_own(tmp_path: Path) -> None:
    """Whatever the library writes is read: names that are empty or odd, no tensor at all, empty tensors."""
    for held in ({}, {"": torch.ones(1)}, {"a/b\n": torch.ones(0, 3), "é": torch.tensor(True)}):
        save_file(held, tmp_path / "a.safetensors")
        assert open_source(tmp_path / "a.safetensors").infos().keys() == held.keys()
