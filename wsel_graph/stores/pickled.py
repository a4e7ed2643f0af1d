"""Checkpoints that `torch.save` wrote. They are read with `weights_only=True`: a checkpoint must not run code.

Where the file is a zip archive, which `torch.save` writes since 2020, its tensors are mapped, not read, and rows are
read from where their storage lies in the file. The older form has to be loaded as a whole.
"""

from __future__ import annotations

import pickle
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from wsel_graph.errors import PlanError
from wsel_graph.plan import Indices
from wsel_graph.stores.memory import select
from wsel_graph.stores.rows import Extent, RowReader
from wsel_graph.stores.source import TensorInfo


class PickledSource:
    """The state dict of a pickled checkpoint as a source.

    Raises:
        PlanError: If the file holds code, is not whole, or holds no state dict, or several.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.where = str(path)
        found, mapped = _load(self.path)
        state = state_dict_in(found, self.path)
        self._tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
        self._origin = _origin(self.path, self._tensors) if mapped else None
        self._reader = None if self._origin is None else RowReader(self.path)

    def infos(self) -> dict[str, TensorInfo]:
        """Shape and dtype of every tensor, by name."""
        return {name: TensorInfo(tuple(tensor.shape), tensor.dtype) for name, tensor in self._tensors.items()}

    def read(self, name: str, indices: tuple[Indices, ...]) -> torch.Tensor:
        """The elements of every dim; from the file where its place there is known."""
        tensor = self._tensors[name]
        plain = tensor.is_contiguous() and tensor.numel() and not (tensor.is_conj() or tensor.is_neg())
        if self._reader is None or self._origin is None or not plain:
            return select(tensor.detach(), indices)
        extent = Extent(tuple(tensor.shape), tensor.dtype, tensor.data_ptr() - self._origin)
        return self._reader.read(name, extent, indices)

    def close(self) -> None:
        """Let go of the file."""
        if self._reader is not None:
            self._reader.close()
        self._tensors = {}


def _load(path: Path) -> tuple[Any, bool]:
    """What a file holds, and whether its tensors are mapped."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of what kind the archive is: said below
            with path.open("rb") as file:
                mapped = file.read(4) == b"PK\x03\x04"
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped), mapped
    except pickle.UnpicklingError as error:
        raise PlanError(
            f"{path} holds more than tensors, or is no checkpoint, and is not opened, because that could run any code. "
            "Load it in a program of your own and save its state dict with safetensors.torch.save_file."
        ) from error
    except FileNotFoundError:
        raise
    except Exception as error:  # damaged pickles raise whatever the interrupted step raises
        what = str(error).strip()[:200] or type(error).__name__
        raise PlanError(f"{path} is no whole checkpoint ({what})") from error


def _origin(path: Path, tensors: Mapping[str, torch.Tensor]) -> int | None:
    """The address at which the file is mapped, so that an address less this one is a place in the file.

    None where that is not certain: every storage must start where the archive has one.
    """
    if any(tensor.layout != torch.strided or tensor.device.type != "cpu" for tensor in tensors.values()):
        return None
    storages = {tensor.untyped_storage().data_ptr() for tensor in tensors.values() if tensor.untyped_storage().nbytes()}
    archive: Any = torch._C.PyTorchFileReader(str(path))
    if archive.has_record("byteorder") and archive.get_record("byteorder").decode() != sys.byteorder:
        return None
    records = {archive.get_record_offset(name) for name in archive.get_all_records() if name.startswith("data/")}
    fitting = [min(storages) - record for record in records if storages] if len(records) < 10_000 else []
    origins = {origin for origin in fitting if all(storage - origin in records for storage in storages)}
    return origins.pop() if len(origins) == 1 else None


def state_dict_in(found: Any, path: Path) -> dict[str, Any]:
    """The state dict in a checkpoint: itself, or the only one among its entries.

    Raises:
        PlanError: If there is none, or more than one.
    """
    if _has_tensors(found):
        return dict(found)
    inner = {str(key): value for key, value in found.items() if _has_tensors(value)} if isinstance(found, dict) else {}
    if len(inner) == 1:
        return dict(next(iter(inner.values())))
    what = f"several state dicts ({', '.join(sorted(inner))})" if inner else "no state dict"
    raise PlanError(f"{path} holds {what}: save the one that you mean in a file of its own")


def _has_tensors(found: Any) -> bool:
    return (
        isinstance(found, Mapping)
        and all(isinstance(key, str) for key in found)
        and any(isinstance(value, torch.Tensor) for value in found.values())
    )
