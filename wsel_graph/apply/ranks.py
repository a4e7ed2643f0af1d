"""Agreement between ranks: a step is done on all of them, or has failed on all of them.

A rank that dies or hangs cannot answer. The process group notices, at the latest after its timeout
(`init_process_group(timeout=...)`), and that fails the step on the ranks that are left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from typing import Any, TypeVar

import torch

from wsel_graph.capture.sharding import is_sharded
from wsel_graph.errors import PlanError

T = TypeVar("T")


class Ranks:
    """The ranks that fill one student together.

    Args:
        tensors: The student's and the teacher's; the ranks are those of the device meshes of the sharded ones.
        group: The process group instead, if it is given.
    Raises:
        PlanError: If there are several meshes, which together are not the default process group.
    """

    def __init__(self, tensors: Iterable[torch.Tensor], group: Any = None) -> None:
        import torch.distributed as dist

        self.me = dist.get_rank()
        self._device = torch.device("cpu")
        meshes: dict[int, Any] = {}
        for tensor in tensors:
            if is_sharded(tensor):
                mesh: Any = tensor.device_mesh  # type: ignore[attr-defined]
                meshes[id(mesh)] = mesh
                self._device = tensor.to_local().device  # type: ignore[attr-defined]
        self._groups = [group] if group is not None else _groups(list(meshes.values()))

    def told(self, mine: T, doing: str) -> dict[int, T]:
        """What every rank has to say, by rank. All of them must call this.

        Raises:
            PlanError: If one does not answer.
        """
        import torch.distributed as dist

        known = {self.me: mine}
        for group in self._groups:
            answers: list[Any] = [None] * dist.get_world_size(group)
            try:
                with torch.cuda.device(self._device) if self._device.type == "cuda" else nullcontext():
                    dist.all_gather_object(answers, known, group)
            except RuntimeError as error:
                raise PlanError(
                    f"rank {self.me}: another rank did not answer after {doing}, nothing was changed here. It has "
                    "died, hangs, or needed longer than the timeout of the process group (init_process_group(timeout="
                    f"...)): {str(error).strip().splitlines()[0][:300]}"
                ) from error
            known.update({rank: answer for each in answers for rank, answer in each.items()})
        return dict(sorted(known.items()))

    def agree(self, step: Callable[[], T], doing: str) -> T:
        """The step's result, once it is done on all ranks.

        Raises:
            PlanError: If it failed on a rank; tells which, and why, on all of them.
        """
        try:
            result = step()
        except BaseException as error:
            faults = self.told(f"{type(error).__name__}: {error}" if _unknown(error) else str(error), doing)
            if not isinstance(error, Exception):
                raise
            raise PlanError(_failed(faults, doing)) from error
        answers = self.told("", doing)
        if any(answers.values()):
            raise PlanError(_failed(answers, doing))
        return result


def _unknown(error: BaseException) -> bool:
    return not isinstance(error, PlanError)


def _failed(answers: Mapping[int, str], doing: str) -> str:
    """Every rank's fault, once for ranks that have the same."""
    by_fault: dict[str, list[int]] = {}
    for rank, fault in answers.items():
        if fault:
            by_fault.setdefault(fault, []).append(rank)
    lines = [f"{_numbers(ranks, len(answers))}: {fault}" for fault, ranks in by_fault.items()]
    return f"{doing} failed, nothing was changed on any rank:" + "".join(f"\n{line}" for line in lines)


def _numbers(ranks: list[int], count: int) -> str:
    """Ranks in words.

    >>> _numbers([1], 4), _numbers([0, 1], 2), _numbers([0, 3], 4)
    ('rank 1', 'all ranks', 'ranks 0, 3')
    """
    if len(ranks) == count > 1:
        return "all ranks"
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"


def _groups(meshes: list[Any]) -> list[Any]:
    """Process groups that reach all ranks of the meshes when they are gone through one after the other."""
    import torch.distributed as dist

    reached = {int(rank) for mesh in meshes for rank in mesh.mesh.flatten()}
    if not meshes or len(reached) == dist.get_world_size():
        return [dist.group.WORLD]
    if len(meshes) == 1:
        return meshes[0].get_all_groups() if meshes[0].get_coordinate() is not None else []
    world = {int(rank) for mesh in meshes for rank in _root(mesh).mesh.flatten()}
    if len(world) == dist.get_world_size():
        return [dist.group.WORLD]
    raise PlanError(
        f"the tensors are on {len(meshes)} device meshes that reach ranks {sorted(reached)} of "
        f"{dist.get_world_size()}: pass the group of all ranks that apply the plan (`group=`)"
    )


def _root(mesh: Any) -> Any:
    """The mesh that a mesh was sliced from; itself where that cannot be told."""
    return mesh._get_root_mesh() if hasattr(mesh, "_get_root_mesh") else mesh
