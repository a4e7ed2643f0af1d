"""A sharded checkpoint: an index (`weight_map`: which file holds which tensor) and the files beside it.

The index is text from elsewhere: a file that it names must lie beside it, and must hold what the index promises.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from wsel_graph.errors import PlanError
from wsel_graph.plan import Indices
from wsel_graph.stores.source import TensorInfo, TensorSource

LISTED = 10


class ShardedSource:
    """The tensors of an index, each from its file.

    Args:
        index: The JSON file.
        opened: Opens one of the files.
    Raises:
        PlanError: If the index is malformed, names files that are missing or not beside it, or tensors that these
            lack; or if a file is no whole file of its format.
    """

    def __init__(self, index: Path, opened: Callable[[Path], TensorSource]) -> None:
        self.where = str(index)
        self._places = _read_index(index)
        self._shards: dict[str, TensorSource] = {}
        try:
            for shard in _checked_shards(index, self._places):
                self._shards[shard] = opened(index.parent / shard)
            self._infos = self._promised(index)
        except BaseException:
            self.close()
            raise

    def infos(self) -> dict[str, TensorInfo]:
        """Shape and dtype of every tensor, by name."""
        return dict(self._infos)

    def read(self, name: str, indices: tuple[Indices, ...]) -> torch.Tensor:
        """The elements of every dim, from the file that holds the tensor."""
        return self._shards[self._places[name]].read(name, indices)

    def close(self) -> None:
        """Let go of all files."""
        for shard in self._shards.values():
            shard.close()

    def _promised(self, index: Path) -> dict[str, TensorInfo]:
        held = {shard: source.infos() for shard, source in self._shards.items()}
        lost = [name for name, shard in self._places.items() if name not in held[shard]]
        if lost:
            listed = ", ".join(_elsewhere(name, self._places[name], held) for name in lost[:LISTED])
            more = ", ..." if len(lost) > LISTED else ""
            raise PlanError(
                f"{index} promises {len(lost)} tensors that its shards lack: {listed}{more}. The index is of another "
                "checkpoint, or a file was exchanged: fetch or write them again"
            )
        return {name: held[shard][name] for name, shard in self._places.items()}


def _read_index(index: Path) -> dict[str, str]:
    try:
        found = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise PlanError(f'{index} is no index of shards: it needs a "weight_map" from tensors to files') from error
    places: Any = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(places, dict) or not all(isinstance(shard, str) for shard in places.values()):
        raise PlanError(f'{index} is no index of shards: it needs a "weight_map" from tensors to files')
    return places


def _checked_shards(index: Path, places: Mapping[str, str]) -> list[str]:
    """The files that an index names, in order of their names, once they are known to lie beside it."""
    shards = sorted(set(places.values()))
    for shard in shards:
        if not shard or shard in (".", "..") or "\0" in shard or "\\" in shard or Path(shard).name != shard:
            raise PlanError(f"{index} names {shard!r}, which is not beside it: an index may name no other folder")
    if missing := [shard for shard in shards if not _is_file(index.parent / shard)]:
        listed = ", ".join(missing[:LISTED]) + (", ..." if len(missing) > LISTED else "")
        raise PlanError(f"{len(missing)} of {len(shards)} shards of {index} are missing: {listed}")
    for shard in shards:
        refuse_way_out(index.parent, index.parent / shard)
    return shards


def refuse_way_out(folder: Path, file: Path) -> None:
    """A link that leads out of the folder is refused, but for that of a download cache: `snapshots/X/` to `blobs/`.

    Raises:
        PlanError: If the file is such a link.
    """
    home, real = folder.resolve(), file.resolve()
    cached = home.parent.parent / "blobs" if home.parent.name == "snapshots" else home
    if not (real.is_relative_to(home) or real.is_relative_to(cached)):
        raise PlanError(f"{file} is a link that leaves its folder, to {real}: put the file itself there")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, say
        return False


def _elsewhere(name: str, shard: str, held: Mapping[str, Mapping[str, TensorInfo]]) -> str:
    others = [other for other, infos in held.items() if name in infos]
    return f"{name} (it is in {others[0]}, the index says {shard})" if others else name
