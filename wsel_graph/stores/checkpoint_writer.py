"""Write a folder of `torch.distributed.checkpoint`, by PyTorch's own writer, one tensor at a time.

The folder is written under a hidden name beside its place and then takes it in one step. PyTorch's writer would replace
file after file in an old checkpoint, and a crash between two would leave a mixture.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch

from wsel_graph.errors import PlanError
from wsel_graph.plan.files import exchange, staged, sweep, sync
from wsel_graph.stores.safetensors_writer import Value
from wsel_graph.stores.source import TensorInfo


def write_checkpoint(path: Path, infos: Mapping[str, TensorInfo], value: Value) -> tuple[Path, ...]:
    """Write the tensors to a folder that `torch.distributed.checkpoint.load` reads, on any number of ranks.

    Returns:
        The folder.
    Raises:
        PlanError: If something else is in the place of the folder, or in it.
        OSError: If it cannot be written.
    """
    refuse_other_content(path)
    sweep(path.parent, re.escape(path.name))
    with staged(path, folder=True) as temporary:
        _save(temporary, infos, value)
        sync(temporary)
        _take_place(temporary, path)
        sync(path.parent)
    return (path,)


def refuse_other_content(path: Path) -> None:
    """Refuse to replace what is no checkpoint."""
    if path.exists() and not path.is_dir():
        raise PlanError(f"{path} is a file: a checkpoint folder cannot take its place; name another, or remove it")
    others = sorted(entry.name for entry in path.iterdir() if not _own(entry)) if path.is_dir() else []
    if others:
        raise PlanError(
            f"the folder {path} holds other things than a torch.distributed.checkpoint ({', '.join(others[:5])}), "
            "which would be lost: name a folder that does not exist, or that holds nothing else"
        )


def _own(entry: Path) -> bool:
    return entry.name == ".metadata" or (entry.suffix == ".distcp" and entry.is_file())


def _take_place(temporary: Path, path: Path) -> None:
    if not path.is_dir() or not any(path.iterdir()):
        os.rename(temporary, path)
        return
    try:
        exchange(temporary, path)
    except OSError as error:
        raise PlanError(
            f"{path} cannot be replaced in one step on this system ({error.strerror}), and is as it was: write to a "
            "folder that does not exist, or remove this one first"
        ) from error


def _save(folder: Path, infos: Mapping[str, TensorInfo], value: Value) -> None:
    from torch.distributed.checkpoint import FileSystemWriter, save  # type: ignore[attr-defined]
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
    from torch.distributed.checkpoint.planner import WriteItem

    failed: list[BaseException] = []

    class Streaming(DefaultSavePlanner):
        """Makes the values of a tensor when it is its turn to be written."""

        def resolve_data(self, write_item: WriteItem) -> torch.Tensor:
            try:
                return value(write_item.index.fqn).detach().cpu().contiguous()
            except BaseException as error:
                failed.append(error)
                raise

    shapes = {name: torch.empty(info.shape, dtype=info.dtype, device="meta") for name, info in infos.items()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that one process writes is what is meant
            save(
                shapes,
                storage_writer=FileSystemWriter(folder, per_thread_copy_ahead=0),
                planner=Streaming(),
                no_dist=True,
            )
    except CheckpointException as error:
        causes = [*failed, *(_first_cause(failure) for failure, _ in error.failures.values())]
        raise causes[0] from error


def _first_cause(error: BaseException) -> BaseException:
    """What the system said, where PyTorch's writer failed once more on its way out."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, OSError):
        found = found.__cause__ or found.__context__
    return error if found is None else found
