"""One safetensors file: its header, checked in full before any value is read, and selected rows.

The format is a length (8 bytes, little-endian), a JSON header of that length, and the values of all tensors one after
the other (https://huggingface.co/docs/safetensors). The library's own reader gives contiguous slices only, through a
memory map that brings in neighbouring pages and stays resident; here rows are read one by one.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from wsel_graph.errors import PlanError
from wsel_graph.plan import Indices
from wsel_graph.stores.rows import Extent, RowReader
from wsel_graph.stores.source import TensorInfo

LONGEST = 100_000_000
"""Most bytes of a header, as the library has it."""

LISTED = 5
"""How many faults an error lists."""

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "I64": torch.int64, "I32": torch.int32,
    "I16": torch.int16, "I8": torch.int8, "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16,
    "U8": torch.uint8, "BOOL": torch.bool,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz, "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
}  # fmt: skip
"""Dtypes by their name in the format."""

if hasattr(torch, "float8_e8m0fnu"):  # since torch 2.7
    DTYPES["F8_E8M0"] = torch.float8_e8m0fnu


class SafetensorsSource:
    """A safetensors file as a source.

    Raises:
        PlanError: If it is no whole file of this format; lists what is wrong with its header.
        OSError: If it cannot be opened.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.where = str(path)
        self._reader = RowReader(self.path)
        try:
            self._extents = _extents(self._reader, self.path)
        except BaseException:
            self._reader.close()
            raise

    def infos(self) -> dict[str, TensorInfo]:
        """Shape and dtype of every tensor, by name."""
        return {name: TensorInfo(extent.shape, extent.dtype) for name, extent in self._extents.items()}

    def read(self, name: str, indices: tuple[Indices, ...]) -> torch.Tensor:
        """The elements of every dim, read from the file."""
        return self._reader.read(name, self._extents[name], indices)

    def close(self) -> None:
        """Let go of the file."""
        self._reader.close()


def _extents(reader: RowReader, path: Path) -> dict[str, Extent]:
    def refuse(what: str) -> PlanError:
        return PlanError(f"{path} is no whole safetensors file ({what}): fetch or write it again")

    if sys.byteorder != "little":
        raise PlanError(f"{path}: safetensors files are read on little-endian machines only")
    size = reader.size
    if size < 8:
        raise refuse(f"it has {size} bytes, too few for a header")
    length = int.from_bytes(reader.read("the header", Extent((8,), torch.uint8, 0), (range(8),)).tolist(), "little")
    if length > min(LONGEST, size - 8):
        raise refuse(f"its header should have {length} bytes, the file has {size}")
    text = bytes(reader.read("the header", Extent((length,), torch.uint8, 8), (range(length),)).tolist())
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_unrepeated)
    except (ValueError, RecursionError) as error:
        raise refuse(f"its header is no JSON: {error}") from error
    if not text.startswith(b"{") or not isinstance(header, dict):
        raise refuse("its header is no JSON object")
    faults = list(_faults(header, size - 8 - length))
    if faults:
        more = f"; and {len(faults) - LISTED} more faults" if len(faults) > LISTED else ""
        raise refuse("; ".join(faults[:LISTED]) + more)
    return {
        name: Extent(tuple(entry["shape"]), DTYPES[entry["dtype"]], 8 + length + entry["data_offsets"][0])
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _faults(header: dict[str, Any], size: int) -> Iterator[str]:
    """Everything that is wrong with the entries of a header; `size` is the number of bytes that follow it."""
    notes = header.get("__metadata__", {})
    if not isinstance(notes, dict) or not all(isinstance(value, str) for value in notes.values()):
        yield "__metadata__ is no mapping from texts to texts"
    spans: list[tuple[int, int, str]] = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if (fault := _entry_fault(entry)) is not None:
            yield f"{name}: {fault}"
        else:
            spans.append((*entry["data_offsets"], name))
    end = 0
    for start, stop, name in sorted(spans):
        if start != end:
            yield f"{name} starts at byte {start} of the values, the tensor before it ends at {end}"
        end = max(end, stop)
    if end != size:
        yield f"its tensors end at byte {end} of the values, of which the file has {size}"


def _entry_fault(entry: Any) -> str | None:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        return "needs dtype, shape and data_offsets, and nothing else"
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    dtype = DTYPES.get(kind) if isinstance(kind, str) else None
    if dtype is None:
        return f"the dtype {kind!r} is not known"
    if not _sizes(shape) or not _sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        return f"shape {shape!r} and data_offsets {offsets!r} are no sizes"
    needed = math.prod(shape) * dtype.itemsize
    if offsets[1] - offsets[0] != needed:
        return f"{kind} {shape} takes {needed} bytes, its data_offsets span {offsets[1] - offsets[0]}"
    return None


def _sizes(items: Any) -> bool:
    return isinstance(items, list) and all(type(item) is int and 0 <= item < 1 << 63 for item in items)
