"""What tensors held before they were written to: in memory up to a limit, in a temporary file beyond."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from typing import IO

import torch

from wsel_graph.errors import PlanError

LIMIT = 128 << 20
"""Bytes that are kept in memory."""

STEP = 4 << 20
"""Bytes that are written to the file, or read from it, at one time."""


class Undo:
    """Keeps values, and puts them back. Use it as a context: what it keeps is let go of at its end.

    The file lies where temporary files do (`TMPDIR`), has no name, and is gone with the process.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._left = LIMIT if limit is None else limit
        self._kept: list[tuple[torch.Tensor, torch.Tensor | int]] = []  # the values, or where the file has them
        self._file: IO[bytes] | None = None
        self._buffer = bytearray()

    def __enter__(self) -> Undo:
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.clear()
        if self._file is not None:
            self._file.close()

    def keep(self, tensor: torch.Tensor) -> None:
        """Keep what a tensor holds now.

        Raises:
            PlanError: If the temporary file cannot be written.
        """
        size = tensor.numel() * tensor.element_size()
        if size <= self._left:
            self._left -= size
            self._kept.append((tensor, tensor.clone()))
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the end of the context
            place = self._file.seek(0, 2)
            for part in _parts(tensor):
                self._file.write(self._bytes(part))
        except OSError as error:
            raise PlanError(
                f"the student's old values, {size / 1e6:,.0f} MB for the time of the call, cannot be kept in "
                f"{tempfile.gettempdir()} ({error.strerror or error}): set TMPDIR to a folder with more room"
            ) from error
        self._kept.append((tensor, place))

    def _bytes(self, tensor: torch.Tensor) -> memoryview:
        """The values, row-major; good until the next call."""
        size = tensor.numel() * tensor.element_size()
        if len(self._buffer) < size:
            self._buffer = bytearray(max(size, STEP))
        if size:
            torch.frombuffer(self._buffer, dtype=tensor.dtype, count=tensor.numel()).view(tensor.shape).copy_(tensor)
        return memoryview(self._buffer)[:size]

    def restore(self) -> None:
        """Put everything back, the last first."""
        for tensor, before in reversed(self._kept):
            with contextlib.suppress(RuntimeError):  # the write that failed cannot be undone, and need not be
                if isinstance(before, torch.Tensor):
                    tensor.copy_(before)
                else:
                    self._read_back(tensor, before)

    def _read_back(self, tensor: torch.Tensor, place: int) -> None:
        if self._file is None:
            return
        self._file.seek(place)
        for part in _parts(tensor):
            held = self._file.read(part.numel() * part.element_size())
            part.copy_(torch.frombuffer(bytearray(held), dtype=part.dtype).reshape(part.shape))


def _parts(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """Views of at most `STEP` bytes along the first dim, or of one row."""
    if tensor.numel() * tensor.element_size() <= STEP or tensor.dim() == 0:
        yield tensor
        return
    rows = max(1, STEP * tensor.shape[0] // (tensor.numel() * tensor.element_size()))
    for start in range(0, tensor.shape[0], rows):
        yield tensor[start : start + rows]
