"""Write named tensors to files: one after another, in one step, in the form that the name of the place asks for."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from wsel_graph.errors import PlanError
from wsel_graph.stores.checkpoint_writer import refuse_other_content, write_checkpoint
from wsel_graph.stores.safetensors_writer import Value, dtype_faults, size_of
from wsel_graph.stores.shard_writer import bytes_of, replaced, write_files
from wsel_graph.stores.source import TensorInfo

FILE = ".safetensors"


def check_place(output: str | Path, max_shard_size: int | str | None = None) -> Path:
    """Refuse before the work what could not be written after it.

    Raises:
        PlanError: If the name says no form, the folder does not exist, or something else would be lost.
    """
    path = Path(output)
    if path.suffix not in ("", FILE):
        raise PlanError(
            f"{output}: the name must end in {FILE}, or in nothing for a folder of torch.distributed.checkpoint"
        )
    if not path.name:
        raise PlanError(f"the output names no file or folder: {str(output)!r}. Write a name")
    if not path.parent.is_dir():
        raise PlanError(f"{output}: there is no folder {path.parent}")
    if path.suffix:
        if path.is_dir():
            raise PlanError(f"{output} is a folder: name a file in it")
    else:
        refuse_other_content(path)
        if max_shard_size is not None:
            raise PlanError(
                f"{output}: max_shard_size is for {FILE} files; a checkpoint folder has one file per process"
            )
    if max_shard_size is not None:
        bytes_of(max_shard_size)
    return path


def refuse_inputs(path: Path, inputs: Iterable[str | Path]) -> None:
    """Refuse to write where something is read from: old shards of the place count too.

    Raises:
        PlanError: If one of the inputs would be replaced or removed.
    """
    touched = {file.resolve() for file in (path, *(replaced(path) if path.suffix else ()))}
    for given in inputs:
        source = Path(given).resolve()
        inside = source.is_dir() and any(file.parent == source and file.exists() for file in touched)
        if source in touched or inside:
            raise PlanError(f"{path} is also read from: write to another file")


def save_tensors(
    output: str | Path, infos: Mapping[str, TensorInfo], value: Value, max_shard_size: int | str | None = None
) -> tuple[Path, ...]:
    """Write tensors to a file, to shards with an index, or to a checkpoint folder. All or nothing.

    Args:
        output: `NAME.safetensors`, or a folder for `torch.distributed.checkpoint`.
        infos: Shapes and dtypes of all tensors.
        value: Makes the values of one tensor; they are let go of before the next.
        max_shard_size: More bytes than that go into shards, `NAME-...-00001-of-00002.safetensors`, with an index
            `NAME.safetensors.index.json`: a number, or a text such as `5GB`.
    Returns:
        The files, or the folder.
    Raises:
        PlanError: If the place or a tensor does not fit the form.
        OSError: If there is no room, or the file system refuses. What was there before is untouched.
    """
    path = check_place(output, max_shard_size)
    limit = None if max_shard_size is None else bytes_of(max_shard_size)
    if path.suffix and (faults := list(dtype_faults(infos))):
        raise PlanError(f"{output} cannot be written: {'; '.join(faults[:10])}")
    with _room(path, sum(map(size_of, infos.values()))):
        if path.suffix:
            return write_files(path, infos, value, limit)
        return write_checkpoint(path, infos, value)


@contextmanager
def _room(path: Path, needed: int) -> Iterator[None]:
    """Say plainly that a disk is full, before the work where the system tells."""
    left = shutil.disk_usage(path.parent).free
    if needed > left:
        raise _full(path, needed, left, errno.ENOSPC)
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _full(path, needed, shutil.disk_usage(path.parent).free, error.errno) from error


def _full(path: Path, needed: int, left: int, number: int) -> OSError:
    text = f"{os.strerror(number)}: {needed:,} bytes are needed, {left:,} are free; what was there before is untouched"
    return OSError(number, text, str(path))
