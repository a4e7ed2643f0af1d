"""Open what a teacher is given as: a module, a state dict, or a path to a checkpoint of any usual kind."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import nn

from wsel_graph.errors import PlanError
from wsel_graph.stores.memory import MemorySource
from wsel_graph.stores.naming import RenamedSource, renaming
from wsel_graph.stores.pickled import PickledSource
from wsel_graph.stores.safetensors_file import SafetensorsSource
from wsel_graph.stores.shards import ShardedSource
from wsel_graph.stores.source import TensorSource

Teacher = nn.Module | Mapping[str, torch.Tensor] | str | Path
"""What tensors are read from."""

IN_FOLDER = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Files that a folder is searched for, in this order."""

PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".tar")
DISTRIBUTED = ".metadata"  # in a folder of torch.distributed.checkpoint


def open_source(teacher: Teacher, wanted: Collection[str | tuple[str, ...]] = ()) -> TensorSource:
    """A source of tensors that are read a part at a time. Close it after use.

    Args:
        teacher: A module; a state dict; or the path of a `.safetensors` file, the index of a sharded checkpoint
            (`.json`), a pickled file (`.pt`, `.pth`, `.bin`, `.ckpt`; read with `weights_only=True`), a folder of
            `torch.distributed.checkpoint`, or a folder with one of the usual names in it.
        wanted: Names that will be read; a tuple where one of several will do. Where a file has none of them, but has
            all of them after one prefix, such as the `module.` of data-parallel training, or with the levels that
            wrappers put between, they are found there: see `naming.renaming`.
    Raises:
        PlanError: If there is no such file, or it is damaged, unsafe or of another kind.

    >>> open_source({"weight": torch.eye(2)}).infos()
    {'weight': TensorInfo(shape=(2, 2), dtype=torch.float32)}
    """
    if not isinstance(teacher, (str, Path)):
        return MemorySource(teacher)
    source = _opened(Path(teacher))
    try:
        stored = renaming(source.infos(), wanted, source.where)
    except BaseException:
        source.close()
        raise
    return source if stored is None else RenamedSource(source, stored)


def _opened(path: Path) -> TensorSource:
    file = path
    if path.is_dir():
        inside = next((path / name for name in IN_FOLDER if (path / name).is_file()), None)
        if inside is None and ((path / DISTRIBUTED).exists() or any(path.glob("*.distcp"))):
            from wsel_graph.stores.dcp import DcpSource  # brings in torch.distributed.checkpoint

            return DcpSource(path)
        if inside is None:
            raise PlanError(f"the folder {path} holds none of {', '.join(IN_FOLDER)}: name the file")
        file = inside
    if not file.is_file():
        raise PlanError(f"there is no weights file {file}")
    try:
        return _opened_file(file)
    except OSError as error:
        raise PlanError(f"{file} cannot be read: {error.strerror or error}") from error


def _opened_file(file: Path) -> TensorSource:
    if file.suffix == ".json":
        return ShardedSource(file, _opened_shard)
    if file.suffix == ".safetensors" or file.suffix in PICKLED:
        return _opened_shard(file)
    raise PlanError(f"{file} is no weights file: .safetensors, .json (the index of shards), {', '.join(PICKLED)}")


def _opened_shard(file: Path) -> TensorSource:
    if file.suffix == ".safetensors":
        return SafetensorsSource(file)
    if file.suffix in PICKLED:
        return PickledSource(file)
    raise PlanError(f"{file} is no shard: {', '.join(('.safetensors', *PICKLED))}")
