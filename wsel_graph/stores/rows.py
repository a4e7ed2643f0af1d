"""Reading selected rows of a tensor that lies row-major in a file: the pages of other rows are not touched.

Plain positioned reads, not a memory map: a file that is cut or fails while it is read is an error that can be
reported, where touching a map would end the process, and what was read does not stay resident. The file is opened for
random access, so that the system reads no further than asked.
"""

from __future__ import annotations

import math
import os
import time
import weakref
from dataclasses import dataclass
from pathlib import Path

import torch

from wsel_graph.errors import PlanError
from wsel_graph.plan import Indices
from wsel_graph.stores.memory import select, transfer

PAGE = 4096
"""Bytes that a system reads at least."""

CHUNK = 4 << 20
"""Bytes that are held at one time, but for a single row that is longer."""

SLOW = 1e-5
"""Seconds per read from which the file seems not to be cached, so that the next reads are announced beforehand."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a tensor lies in a file: `math.prod(shape)` elements, row-major, from byte `offset` on."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    offset: int


@dataclass(frozen=True, slots=True)
class _Block:
    """What is read for a selection: one stretch of bytes per combination of the outer dims."""

    outer: tuple[Indices, ...]  # of the first dims
    inner: tuple[Indices, ...]  # of the others, counted from `first`
    first: int  # first element of the first inner dim that is read
    shape: tuple[int, ...]  # of a stretch: that dim from `first` on, and the dims after it whole
    strides: tuple[int, ...]  # bytes from one element to the next, per dim
    span: int  # bytes of a stretch

    @property
    def count(self) -> int:
        return math.prod(map(len, self.outer))

    def starts(self) -> torch.Tensor:
        """Byte of the tensor at which every stretch starts, outer dims row-major; int64."""
        inside = self.first * self.strides[len(self.outer)] if self.inner else 0
        total = torch.tensor([inside], dtype=torch.int64, device="cpu")
        for indices, stride in zip(self.outer, self.strides, strict=False):
            total = (total[:, None] + _numbers(indices) * stride).reshape(-1)
        return total


class RowReader:
    """An open file, of which parts of tensors are read. Not for several threads at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
        self._closing = weakref.finalize(self, os.close, self._file)
        self._buffer = bytearray()
        self._slow = False
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_RANDOM)

    @property
    def size(self) -> int:
        """Bytes of the file now."""
        return os.fstat(self._file).st_size

    def read(self, name: str, extent: Extent, indices: tuple[Indices, ...]) -> torch.Tensor:
        """The elements of every dim, in memory of their own.

        Args:
            name: What error messages call the tensor.
            extent: Where it is.
            indices: One list per dim, zero-based and inside the shape.
        Raises:
            PlanError: If the file ends before the tensor does, or cannot be read.
        """
        result = torch.empty(tuple(map(len, indices)), dtype=extent.dtype, device="cpu")
        if result.numel():
            self._fill(result, name, extent, indices)
        return result

    def close(self) -> None:
        """Let go of the file."""
        self._closing()
        self._buffer = bytearray()

    def _fill(self, result: torch.Tensor, name: str, extent: Extent, indices: tuple[Indices, ...]) -> None:
        block = _block(extent, indices)
        split = next((dim for dim, items in enumerate(indices) if len(items) > 1), None)
        if block.count * block.span > CHUNK and split is not None:
            half = len(indices[split]) // 2
            for start, stop in ((0, half), (half, len(indices[split]))):
                part = (*indices[:split], indices[split][start:stop], *indices[split + 1 :])
                self._fill(result.narrow(split, start, stop - start), name, extent, part)
            return
        held = self._stretches(name, extent, block).view(extent.dtype)
        stretches = held.reshape((*map(len, block.outer), *block.shape))
        transfer(result, select(stretches, (*(range(len(items)) for items in block.outer), *block.inner)))

    def _stretches(self, name: str, extent: Extent, block: _Block) -> torch.Tensor:
        """The bytes of all stretches, one after the other; good until the next call."""
        needed = block.count * block.span
        if len(self._buffer) < needed:
            self._buffer = bytearray(max(needed, CHUNK))
        view = memoryview(self._buffer)
        starts, sizes = _runs(block.starts() + extent.offset, block.span)
        before = time.perf_counter()
        if self._slow and len(starts) > 1 and hasattr(os, "posix_fadvise"):
            for start, size in zip(starts, sizes, strict=True):
                os.posix_fadvise(self._file, start, size, os.POSIX_FADV_WILLNEED)
        self._read_runs(starts, sizes, view, name)
        self._slow = time.perf_counter() - before > SLOW * len(starts) + needed * 1e-9
        return torch.frombuffer(self._buffer, dtype=torch.uint8, count=needed)

    def _read_runs(self, starts: list[int], sizes: list[int], view: memoryview, name: str) -> None:
        place = 0
        for start, size in zip(starts, sizes, strict=True):
            part = view[place : place + size]
            place += size
            try:
                done = _read_into(self._file, part, start)
                if done < size:
                    self._read_rest(start, part, done, name)
            except OSError as error:
                reason = error.strerror or error
                raise PlanError(f"{self.path}: the values of {name} cannot be read ({reason})") from error

    def _read_rest(self, start: int, view: memoryview, done: int, name: str) -> None:
        """The rest of a read that came back short: interrupted, or at the end of the file."""
        while done < len(view):
            more = _read_into(self._file, view[done:], start + done)
            if not more:
                raise PlanError(
                    f"{self.path} ends at byte {start + done}, {len(view) - done} bytes before the values of {name} "
                    "that are needed: it was cut while it was open, fetch or write it again"
                )
            done += more


def _plain_read(file: int, view: memoryview, start: int) -> int:
    os.lseek(file, start, os.SEEK_SET)
    held = os.read(file, len(view))
    view[: len(held)] = held
    return len(held)


def _positioned_read(file: int, view: memoryview, start: int) -> int:
    return os.preadv(file, [view], start)


_read_into = _positioned_read if hasattr(os, "preadv") else _plain_read
"""Reads bytes from `start` on into a buffer; gives how many."""


def _block(extent: Extent, indices: tuple[Indices, ...]) -> _Block:
    strides = [extent.dtype.itemsize] * len(indices)
    for dim in range(len(indices) - 2, -1, -1):
        strides[dim] = strides[dim + 1] * extent.shape[dim + 1]
    outer = 0
    while outer < len(indices) and _apart(indices[outer], strides[outer]):
        outer += 1
    if outer == len(indices):
        return _Block(indices, (), 0, (), tuple(strides), extent.dtype.itemsize)
    first, last = _bounds(indices[outer])
    stride, size = strides[outer], extent.shape[outer]
    if outer and (size - 1 - last + first) * stride < PAGE:  # whole rows, so that neighbours are read in one go
        first, last = 0, size - 1
    inner = (_moved(indices[outer], first), *indices[outer + 1 :])
    shape = (last + 1 - first, *extent.shape[outer + 1 :])
    return _Block(indices[:outer], inner, first, shape, tuple(strides), (last + 1 - first) * stride)


def _apart(indices: Indices, stride: int) -> bool:
    """Whether the elements of a dim are read one by one: they, or the gaps between them, are as long as a page."""
    if stride >= PAGE:
        return True
    if len(indices) < 2:
        return False
    first, last = _bounds(indices)
    return (last - first) * stride >= 2 * PAGE * (len(indices) - 1)


def _bounds(indices: Indices) -> tuple[int, int]:
    """The smallest and the largest element."""
    ends = (indices[0], indices[-1]) if isinstance(indices, range) else indices
    return min(ends), max(ends)


def _moved(indices: Indices, by: int) -> Indices:
    if isinstance(indices, range):
        return range(indices.start - by, indices.stop - by, indices.step)
    return tuple(element - by for element in indices)


def _numbers(indices: Indices) -> torch.Tensor:
    if isinstance(indices, range):
        return torch.arange(indices.start, indices.start + len(indices) * indices.step, indices.step, device="cpu")
    return torch.tensor(indices, dtype=torch.int64, device="cpu")


def _runs(starts: torch.Tensor, span: int) -> tuple[list[int], list[int]]:
    """Starts and lengths of the runs of stretches that follow each other without a gap.

    >>> _runs(torch.tensor([0, 4, 8, 20, 12]), 4)
    ([0, 20, 12], [12, 4, 4])
    """
    edges = torch.cat(
        [
            torch.tensor([0], device="cpu"),
            (starts.diff() != span).nonzero().flatten() + 1,
            torch.tensor([len(starts)], device="cpu"),
        ]
    )
    return starts[edges[:-1]].tolist(), (edges.diff() * span).tolist()
