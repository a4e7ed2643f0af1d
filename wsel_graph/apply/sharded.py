"""Apply a plan to a student whose tensors are spread over ranks (`DTensor`): every rank fills what it holds.

1. Every rank opens the teacher and checks the whole plan; then all ranks agree that it fits.
2. Every rank reads what its own shards need, and writes it; what they held is kept.
3. All ranks agree that this is done. If it failed on one of them, or one is gone, the others put back what was there.

A rank that is killed after it has agreed, but before the others have heard of it, may leave ranks that are done next to
some that have put everything back: then the job as a whole has failed, and is started again.

A teacher whose tensors are spread over ranks too is gathered tensor by tensor (`full_tensor`), on all ranks in the same
order, one at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from wsel_graph.apply.memory import LISTED, find_faults, find_overlaps
from wsel_graph.apply.ranks import Ranks
from wsel_graph.apply.restrict import share
from wsel_graph.apply.shards import held, local, shard_faults
from wsel_graph.capture.sharding import flat_parameters, fully_sharded, is_sharded
from wsel_graph.errors import PlanError
from wsel_graph.plan import Copy, Indices, Plan
from wsel_graph.plan.copy_faults import merge_faults
from wsel_graph.stores import MemorySource, TensorSource
from wsel_graph.stores.memory import named_tensors, select
from wsel_graph.stores.wrapped import known_tensors

Tensors = Mapping[str, torch.Tensor]
Holder = nn.Module | Tensors


def spread(*holders: object) -> bool:
    """Whether a module or a state dict has tensors that are spread over ranks."""
    return any(
        any(map(is_sharded, named_tensors(holder).values())) or fully_sharded(holder) or flat_parameters(holder)
        for holder in holders
        if isinstance(holder, (nn.Module, Mapping))
    )


def apply_sharded(plan: Plan, student: Holder, teacher: Holder | Callable[[], TensorSource], group: Any = None) -> None:
    """Write the selected teacher elements into what this rank holds of the student, in place. All ranks must call this.

    Args:
        student: With parameters from `fully_shard`, `parallelize_module` or both.
        teacher: A module or a state dict, which may be sharded too; or what opens a source. The same on all ranks.
        group: Process group of the ranks that call this; by default those of the student's device meshes.
    Raises:
        PlanError: On all ranks, if the plan does not fit, a source cannot be read, or a rank is gone. The shards are
            what they were before, then.
    """
    for part in (student, teacher):
        _refuse_flat(part)
        for module in fully_sharded(part):
            module.reshard()  # else some parameters are whole for the time being, and what is written to them is lost
    targets = known_tensors(student)
    whole = known_tensors(teacher) if isinstance(teacher, (nn.Module, Mapping)) else {}
    ranks = Ranks((*targets.values(), *whole.values()), group)
    opened: list[TensorSource] = []

    def prepare() -> _Work:
        opened.append(teacher() if callable(teacher) and not isinstance(teacher, nn.Module) else _Memory(whole))
        return _prepared(plan, targets, opened[0])

    try:
        work = ranks.agree(prepare, "checking the plan")
        _refuse_different(ranks.told(work.digest, "checking the plan"))
        with torch.no_grad():
            _fill(work, ranks)
    finally:
        for source in opened:
            source.close()


def _refuse_flat(holder: object) -> None:
    if (path := flat_parameters(holder)) is not None:
        raise PlanError(
            f"module {path} is wrapped by FullyShardedDataParallel (FSDP1), whose flat parameters hide the tensors: "
            "apply the plan before wrapping, or shard with torch.distributed.fsdp.fully_shard"
        )


def _refuse_different(digests: Mapping[int, str]) -> None:
    first, *others = digests
    odd = [str(rank) for rank in others if digests[rank] != digests[first]]
    if odd:
        raise PlanError(
            f"rank {first} and rank{'s' * (len(odd) > 1)} {', '.join(odd)} apply different plans, or read teachers of "
            "different dtypes; nothing was changed. Make the plan once, save it, and load it on every rank"
        )


# -- checks


@dataclass(frozen=True)
class _Work:
    """What one rank has to do."""

    copies: tuple[Copy, ...]
    targets: Tensors
    source: TensorSource
    digest: str


def _prepared(plan: Plan, targets: Tensors, source: TensorSource) -> _Work:
    """The work of this rank, when the plan fits the tensors."""
    sources = source.tensors if isinstance(source, MemorySource) else _stand_ins(source)
    parts = [(copy, part) for copy in plan.copies for part in copy.sources]
    faults = [
        fault
        for copy, part in parts
        for fault in (*merge_faults(copy, part), *find_faults(part, targets, sources), *_dim_faults(part))
    ]
    if not faults:
        names = dict.fromkeys(copy.student for copy in plan.copies)
        faults = [fault for name in names for fault in shard_faults(name, targets[name])]
    if not faults:
        own = {name: local(targets[name]) for name in names}
        read = {part.teacher: local(sources[part.teacher]) for _, part in parts}
        faults = list(find_overlaps(plan.copies, own, read))
    if faults:
        listed = "".join(f"\n  - {fault}" for fault in faults[:LISTED]) + ("\n  - ..." if len(faults) > LISTED else "")
        raise PlanError(f"the plan does not fit these tensors ({len(faults)} faults):{listed}")
    dtypes = {part.teacher: str(sources[part.teacher].dtype) for _, part in parts}
    digest = hashlib.sha256(f"{plan.copies!r} {sorted(dtypes.items())}".encode()).hexdigest()
    return _Work(plan.copies, targets, source, digest)


def _dim_faults(copy: Copy) -> Iterator[str]:
    if copy.view is None and len(copy.teacher_shape) != len(copy.target_shape):
        yield f"{copy.student}: {len(copy.teacher_shape)} dims of teacher {copy.teacher} for {len(copy.target_shape)}"


def _stand_ins(source: TensorSource) -> dict[str, torch.Tensor]:
    """Tensors without memory that look like those of a source."""
    infos = source.infos().items()
    return {name: torch.empty((), dtype=info.dtype, device="cpu").expand(info.shape) for name, info in infos}


# -- values


class _Memory(MemorySource):
    """A module or a state dict, some of whose tensors may be spread over ranks: those are gathered first."""

    def __init__(self, tensors: Tensors) -> None:
        super().__init__(tensors)
        self._whole: dict[str, torch.Tensor] = {}

    def gather(self, names: Iterable[str]) -> None:
        """Have all of these tensors at hand, and no others. All ranks must call this, in the same order."""
        before, self._whole = self._whole, {}
        for name in names:
            tensor: Any = self.tensors[name]
            if is_sharded(tensor):
                self._whole[name] = before[name] if name in before else tensor.detach().full_tensor()

    def read(self, name: str, indices: tuple[Indices, ...]) -> torch.Tensor:
        """The elements of every dim, on the tensor's device."""
        return select(self._whole.get(name, self.tensors[name]).detach(), indices)


Undo = dict[str, tuple[torch.Tensor, torch.Tensor]]
"""Student name -> the shard, and what it held."""


def _fill(work: _Work, ranks: Ranks) -> None:
    """Read and write on this rank; undo it when it fails on any."""
    undo: Undo = {}
    try:
        ranks.agree(lambda: _filled(work, undo), "reading and writing")
    except BaseException:
        for target, before in undo.values():
            target.copy_(before)
        raise


def _filled(work: _Work, undo: Undo) -> None:
    """Fill what this rank holds. A fault is raised once this rank has done its part in gathering the teacher."""
    fault: Exception | None = None
    for copy in work.copies:
        if isinstance(work.source, _Memory):
            work.source.gather(dict.fromkeys(part.teacher for part in copy.sources))
        if fault is None:
            try:
                _filled_one(copy, work, undo)
            except Exception as error:
                fault = error
    if fault is not None:
        raise fault


def _filled_one(copy: Copy, work: _Work, undo: Undo) -> None:
    tensor = work.targets[copy.student]
    own = share(copy, held(tensor))
    if own is None:
        return
    target, values = local(tensor), own.values(work.source.read)
    if copy.student not in undo:
        undo[copy.student] = (target, target.clone())
    _put(target, own.places, values)


def _put(target: torch.Tensor, places: tuple[Indices, ...], values: torch.Tensor) -> None:
    if all(isinstance(items, range) and items.step > 0 for items in places):
        select(target, places).copy_(values)
    else:
        lists = [torch.tensor(list(items), dtype=torch.int64, device=target.device) for items in places]
        target[torch.meshgrid(lists, indexing="ij")] = values.to(device=target.device, dtype=target.dtype)
