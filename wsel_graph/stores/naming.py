"""Checkpoints whose names are those of a wrapped model: find each tensor by the name that the model itself gives it.

| written by | names |
|---|---|
| `DataParallel`, `DistributedDataParallel` | `module.blocks.0.weight` |
| `torch.compile(model)` | `_orig_mod.blocks.0.weight` |
| `torch.compile` or `checkpoint_wrapper` of a part | `blocks._orig_mod.0.weight` |
| a trainer that holds the network as an attribute | `model.blocks.0.weight`, `net._orig_mod.blocks.0.weight` |
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch

from wsel_graph.errors import PlanError
from wsel_graph.plan import Indices
from wsel_graph.stores.source import TensorInfo, TensorSource
from wsel_graph.stores.wrapped import INNER

Group = tuple[str, ...]


def renaming(names: Collection[str], wanted: Collection[str | Group], where: str = "the file") -> dict[str, str] | None:
    """For names as the model has them the names in a file; None where they are the same, or no renaming fits.

    Args:
        names: Those in the file.
        wanted: Those that will be read; a tuple where one of several will do (tied tensors).
        where: What errors call the file.
    Raises:
        PlanError: If the wanted names are found after more than one prefix.

    >>> renaming(["module.a", "module.b", "step"], ["a", "b"])
    {'a': 'module.a', 'b': 'module.b'}
    >>> renaming(["net.0._orig_mod.a", "net.1.b"], ["0.a", "1.b"])
    {'0.a': 'net.0._orig_mod.a', '1.b': 'net.1.b'}
    """
    groups = sorted({(name,) if isinstance(name, str) else name for name in wanted})
    if not groups or any(name in names for group in groups for name in group):
        return None
    for stored in ({name: name for name in names}, _without_levels(names)):
        fitting = sorted(prefix for prefix in _prefixes(stored, groups[0]) if _holds_all(stored, prefix, groups))
        if len(fitting) > 1:
            first = groups[0][0]
            raise PlanError(
                f"{where} holds the teacher's tensors several times, as {fitting[0]}{first} and as "
                f"{fitting[1]}{first}: save the one that you mean in a file of its own"
            )
        if fitting:
            prefix = fitting[0]
            return {name.removeprefix(prefix): own for name, own in stored.items() if name.startswith(prefix)}
    return None


def _without_levels(names: Collection[str]) -> dict[str, str]:
    """Names in the file by what they are without the levels of wrappers; empty where two would be the same."""
    stored = {".".join(part for part in name.split(".") if part not in INNER): name for name in names}
    return stored if len(stored) == len(names) else {}


def _prefixes(stored: Mapping[str, str], group: Group) -> set[str]:
    """What stands before the names of one group."""
    return {name.removesuffix(end) for end in group for name in stored if name == end or name.endswith(f".{end}")}


def _holds_all(stored: Mapping[str, str], prefix: str, groups: Collection[Group]) -> bool:
    return all(any(prefix + name in stored for name in group) for group in groups)


class RenamedSource:
    """A source whose names are told as the model has them.

    Args:
        stored: Names in the source by those that are told; others are not told.
    """

    def __init__(self, source: TensorSource, stored: Mapping[str, str]) -> None:
        self.where = source.where
        self._source, self._stored = source, stored

    def infos(self) -> dict[str, TensorInfo]:
        """Shape and dtype of the tensors that have a name here."""
        infos = self._source.infos()
        return {name: infos[own] for name, own in self._stored.items()}

    def read(self, name: str, indices: tuple[Indices, ...]) -> torch.Tensor:
        """The elements of every dim."""
        return self._source.read(self._stored[name], indices)

    def close(self) -> None:
        """Let go of files."""
        self._source.close()
