"""Every kind of checkpoint: what is read is what indexing the whole tensors gives, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.stores.checkpoints import WRITERS, Writer, distributed, pickled, safetensors
from wsel_graph.errors import PlanError
from wsel_graph.plan import Indices
from wsel_graph.stores import TensorSource, open_source, rows
from wsel_graph.stores.memory import put, select, transfer
from wsel_graph.stores.naming import renaming

SHAPES = {"matrix": (40, 24), "kernel": (6, 5, 3, 3), "bias": (40,), "scalar": (), "wide": (5, 9000), "none": (0, 4)}


def state(dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in SHAPES.items()}


def by_hand(tensor: torch.Tensor, indices: tuple[Indices, ...]) -> torch.Tensor:
    """Plain indexing of a whole tensor, on its bytes."""
    lists = [torch.tensor(list(items), dtype=torch.int64) for items in indices]
    return tensor[torch.meshgrid(lists, indexing="ij")] if lists else tensor.clone()


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    kind = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    if one.dtype.is_complex:
        one, other = torch.view_as_real(one.resolve_conj()), torch.view_as_real(other.resolve_conj())
    bits = kind[one.element_size()]
    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one.view(bits), other.view(bits))


SELECTIONS: dict[str, list[tuple[Indices, ...]]] = {
    "matrix": [(range(40), range(24)), (range(0, 40, 4), range(0, 24, 2)), ((3, 1, 39), (0, 23)), ((), range(24))],
    "kernel": [(range(0, 6, 2), (4, 0), range(3), range(1, 3))],
    "bias": [(range(40),), (range(39, 40),), ((7, 7, 0),)],
    "scalar": [()],
    "wide": [(range(0, 5, 2), range(0, 9000, 3)), ((4, 0), range(100, 200)), (range(5), (8999, 4500, 0))],
    "none": [(range(0), range(4))],
}


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_rows(write: Writer, tmp_path: Path) -> None:
    expected = state()
    source = open_source(write(expected, tmp_path), expected.keys())
    assert {name: info.shape for name, info in source.infos().items()} == SHAPES
    for name, selections in SELECTIONS.items():
        for indices in selections:
            assert same(source.read(name, indices), by_hand(expected[name], indices)), (name, indices)
    source.close()
    source.close()


@pytest.mark.parametrize(
    "dtype",
    [torch.float64, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2, torch.complex64],
    ids=str,
)
@pytest.mark.parametrize("write", [safetensors, pickled, distributed], ids=lambda write: write.__name__)
def test_dtypes_are_kept(write: Writer, dtype: torch.dtype, tmp_path: Path) -> None:
    expected = state(dtype)
    source = open_source(write(expected, tmp_path))
    assert {info.dtype for info in source.infos().values()} == {dtype}
    for name, selections in SELECTIONS.items():
        for indices in selections:
            assert same(source.read(name, indices), select(expected[name], indices)), (name, indices)


def test_transposed_and_shared_tensors_of_a_pickle(tmp_path: Path) -> None:
    base = torch.randn(6, 8)
    expected = {"turned": base.T, "part": base[2:4], "tied": base, "more": torch.randn(4), "turn": base.conj()}
    source = open_source(pickled(expected, tmp_path))
    for name, tensor in expected.items():
        indices = tuple(range(0, size, 2) for size in tensor.shape)
        assert torch.equal(source.read(name, indices), select(tensor, indices))


def test_distributed_chunks(tmp_path: Path) -> None:
    """A tensor that several ranks wrote: chunks along both dims, of unequal sizes."""
    import pickle

    from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex

    whole = torch.randn(7, 5)
    cuts = [(0, 0, 3, 2), (0, 2, 3, 3), (3, 0, 4, 5)]
    parts = {f"p{n}": whole[a : a + h, b : b + w].contiguous() for n, (a, b, h, w) in enumerate(cuts)}
    folder = distributed({**parts, "x": whole}, tmp_path)
    metadata = pickle.loads((folder / ".metadata").read_bytes())
    chunks = [ChunkStorageMetadata(torch.Size((a, b)), torch.Size((h, w))) for a, b, h, w in cuts]
    metadata.state_dict_metadata["x"].chunks[:] = chunks
    for number, chunk in enumerate(chunks):
        own = metadata.storage_data[MetadataIndex(f"p{number}", torch.Size((0, 0)))]
        metadata.storage_data[MetadataIndex("x", chunk.offsets)] = own
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    source = open_source(folder)
    picks: list[Indices] = [range(0, 7, 2), range(7), (6, 2, 3), range(1, 3), (0,)]
    for first in picks:
        for second in (range(5), range(1, 5, 3), (4, 0), (2,)):
            assert torch.equal(source.read("x", (first, second)), select(whole, (first, second)))


# -- what is read


def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Start and length of every read that follows."""
    reads: list[tuple[int, int]] = []
    read = rows._read_into

    def counting(file: int, view: memoryview, start: int) -> int:
        reads.append((start, len(view)))
        return read(file, view, start)

    monkeypatch.setattr(rows, "_read_into", counting)
    return reads


def pages(spans: list[tuple[int, int]]) -> set[int]:
    ends = {(start // 4096, (start + size - 1) // 4096) for start, size in spans}
    return {page for first, last in ends for page in range(first, last + 1)}


@pytest.mark.parametrize("write", [safetensors, pickled], ids=lambda write: write.__name__)
@pytest.mark.parametrize(
    ("shape", "indices"),
    [
        pytest.param((512, 2048), (range(0, 512, 4), range(0, 2048, 4)), id="every fourth row"),
        pytest.param((512, 2048), (range(128, 256), range(2048)), id="a run of rows"),
        pytest.param((512, 2048), ((500, 3, 77), range(2048)), id="any rows"),
        pytest.param((300, 4096), (range(0, 300, 3), range(1024)), id="the first columns"),
        pytest.param((2000, 256), (range(0, 2000, 40), range(256)), id="short rows, far apart"),
        pytest.param((16, 64, 32, 32), (range(0, 16, 2), range(0, 64, 4), range(32), range(32)), id="two dims"),
        pytest.param((1 << 20,), (range(1000, 2000),), id="a stretch"),
    ],
)
def test_only_pages_of_selected_rows_are_read(
    write: Writer, shape: tuple[int, ...], indices: tuple[Indices, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensor = torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape)
    source = open_source(write({"pad": torch.zeros(5), "x": tensor}, tmp_path))
    reads = counted(monkeypatch)
    found = source.read("x", indices)
    assert torch.equal(found, select(tensor, indices))
    base = reads[0][0] - reads[0][0] % 4
    first = int(found.flatten()[0]) * 4
    spans = [(base - first + int(value) * 4, 4) for value in found.flatten()]
    if isinstance(indices[-1], range) and indices[-1].step == 1:  # else all columns of a row are read
        assert pages(reads) == pages(spans)
    assert sum(size for _, size in reads) <= 1.01 * 4096 * len(pages(spans))


def test_little_is_held_at_one_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = torch.randn(64, 1000)
    source = open_source(safetensors({"x": tensor}, tmp_path))
    monkeypatch.setattr(rows, "CHUNK", 10_000)
    reads = counted(monkeypatch)
    assert torch.equal(source.read("x", (range(64), range(0, 1000, 10))), tensor[:, ::10])
    assert max(size for _, size in reads) <= 10_000


# -- prefixes


def test_names_are_found_behind_one_prefix(tmp_path: Path) -> None:
    wrapped = {"net.inner.a.weight": torch.ones(2), "net.inner.b": torch.zeros(1), "step": torch.ones(1)}
    source = open_source(safetensors(wrapped, tmp_path), ["a.weight", "b"])
    assert source.infos().keys() == {"a.weight", "b"}
    assert open_source(tmp_path / "teacher.safetensors", ["a.weight", "c"]).infos().keys() == wrapped.keys()
    assert open_source(tmp_path / "teacher.safetensors", ["step", "a.weight"]).infos().keys() == wrapped.keys()


@pytest.mark.parametrize(
    ("held", "wanted", "found"),
    [
        pytest.param(
            ["_orig_mod.0.a", "_orig_mod.b"], ["0.a", "b"], {"0.a": "_orig_mod.0.a", "b": "_orig_mod.b"}, id="c"
        ),
        pytest.param(["m.0._orig_mod.a", "m.b"], ["0.a", "b"], {"0.a": "m.0._orig_mod.a", "b": "m.b"}, id="a part"),
        pytest.param(["0._orig_mod.a"], ["0.a"], {"0.a": "0._orig_mod.a"}, id="no prefix"),
        pytest.param(["net.b"], [("a", "b")], {"b": "net.b"}, id="one of the tied"),
        pytest.param(["net.x.a", "net.b"], ["a", "b"], None, id="two places"),
        pytest.param(["x._orig_mod.a", "x.a", "b"], ["0.a"], None, id="two of one name"),
        pytest.param(["a", "x.b"], ["a", "b"], None, id="one is plain"),
        pytest.param(["a"], [], None, id="nothing wanted"),
    ],
)
def test_renaming(held: list[str], wanted: list[str | tuple[str, ...]], found: dict[str, str] | None) -> None:
    assert renaming(held, wanted) == found


def test_two_prefixes_are_refused(tmp_path: Path) -> None:
    file = safetensors({f"{side}.{name}": torch.ones(2) for side in ("model", "ema") for name in "ab"}, tmp_path)
    with pytest.raises(PlanError, match=r"tensors several times, as ema\.a and as model\.a: save the one that you"):
        open_source(file, "ab")


# -- copies through wider integers


@given(
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float64, torch.float8_e5m2, torch.complex64]),
    rows=st.integers(0, 5), columns=st.integers(0, 20), start=st.integers(0, 5), step=st.integers(1, 9),
    row_step=st.integers(1, 3), turned=st.booleans(),
)  # fmt: skip
def test_transfer_is_copy(
    dtype: torch.dtype, rows: int, columns: int, start: int, step: int, row_step: int, turned: bool
) -> None:
    whole = torch.randn(rows, columns).to(dtype)
    values = (whole.T if turned else whole)[::row_step, start::step]
    target = torch.zeros(values.shape, dtype=dtype)
    transfer(target, values)
    assert same(target, values.clone())


def test_put_writes_the_region_alone() -> None:
    for region in [(range(0, 4, 2), range(1, 3)), ((3, 0), range(1, 3)), ((1,), (2, 0))]:
        tensor = torch.zeros(4, 3)
        put(tensor, region, torch.ones(tuple(map(len, region))))
        expected = torch.tensor([[float(i in region[0] and j in region[1]) for j in range(3)] for i in range(4)])
        assert torch.equal(tensor, expected)


def test_a_source_is_what_the_protocol_says(tmp_path: Path) -> None:
    source: TensorSource = open_source(safetensors(state(), tmp_path))
    assert source.where == str(tmp_path / "teacher.safetensors")
