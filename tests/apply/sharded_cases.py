"""What runs on every rank. The judge of placements is PyTorch: shards are put together by `full_tensor`."""

from __future__ import annotations

import math
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

import wsel_graph as ws
from tests.apply.random_copies import random_copy, random_values, with_sum
from tests.nets import ConvNet, Transformer, mlp, randomize
from wsel_graph.apply.memory import apply_plan
from wsel_graph.apply.sharded import apply_sharded
from wsel_graph.plan import Indices, Plan
from wsel_graph.stores import MemorySource, TensorInfo

DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16}


class LazyFile:
    """A safetensors file of which rows are read, and counted."""

    def __init__(self, path: Path) -> None:
        self.where, self.elements = str(path), 0
        self._file = safe_open(path, "pt")

    def infos(self) -> dict[str, TensorInfo]:
        slices = {name: self._file.get_slice(name) for name in self._file.keys()}  # noqa: SIM118 - not a dict
        return {name: TensorInfo(tuple(part.get_shape()), DTYPES[part.get_dtype()]) for name, part in slices.items()}

    def read(self, name: str, indices: tuple[Indices, ...]) -> torch.Tensor:
        self.elements += math.prod(map(len, indices))
        part = self._file.get_slice(name)
        if not indices:
            return self._file.get_tensor(name)
        first = indices[0]
        if not isinstance(first, range):
            values = torch.stack([part[row] for row in first]) if first else part[0:0]
        else:
            values = part[first.start : first.stop][:: first.step]
        for dim, items in enumerate(indices[1:], 1):
            values = values.index_select(dim, torch.tensor(list(items), dtype=torch.int64))
        return values

    def close(self) -> None:
        """The file closes with the last reference."""


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """All of a tensor, put together by PyTorch."""
    return tensor.detach().full_tensor() if isinstance(tensor, DTensor) else tensor.detach()


def differing(student: nn.Module, expected: nn.Module) -> list[str]:
    """Names of tensors that are not what they are in a model that was filled on its own."""
    pairs = zip(
        (*student.named_parameters(), *student.named_buffers()),
        (*expected.named_parameters(), *expected.named_buffers()),
        strict=True,
    )
    return [name for (name, ours), (_, theirs) in pairs if not torch.equal(whole(ours), theirs)]


def shards(student: nn.Module) -> dict[str, torch.Tensor]:
    """Copies of what this rank holds."""
    named = (*student.named_parameters(), *student.named_buffers())
    local = ((name, tensor.to_local() if isinstance(tensor, DTensor) else tensor) for name, tensor in named)
    return {name: tensor.detach().clone() for name, tensor in local}


def unchanged(student: nn.Module, before: dict[str, torch.Tensor]) -> bool:
    now = shards(student)
    return all(torch.equal(now[name], before[name]) for name in before)


# -- random tensors, random placements


def random_tensors(rank: int, seeds: range) -> list[str]:
    """Seeds whose tensors differ from those filled as a whole."""
    return [f"seed {seed}: {name}" for seed in seeds for name in _random_tensors(seed)]


def _random_tensors(seed: int) -> list[str]:
    draw = random.Random(seed)
    world = dist.get_world_size()
    meshes = [init_device_mesh("cpu", (world,))]
    meshes += [init_device_mesh("cpu", (rows, world // rows)) for rows in (1, 2) if world % rows == 0]
    copies, teacher, student, spread = [], {}, {}, {}
    for number in range(12):
        copy = random_copy(draw, f"s{number}", f"t{number}")
        copies.append(with_sum(copy, draw) if draw.random() < 0.2 else copy)
        dtype = draw.choice((torch.float32, torch.bfloat16))
        teacher[copy.teacher] = random_values(copy.teacher_shape, dtype, seed + number)
        student[copy.student] = random_values(copy.student_shape, draw.choice((torch.float32, torch.bfloat16)), number)
        mesh = draw.choice(meshes)
        places = [Replicate(), *map(Shard, range(len(copy.student_shape)))]
        spread[copy.student] = distribute_tensor(
            student[copy.student].clone(), mesh, [draw.choice(places) for _ in range(mesh.ndim)]
        )
    plan = Plan(tuple(copies), (), (), ())
    apply_plan(plan, student, teacher)
    apply_sharded(plan, spread, teacher)
    return [
        f"{name} {spread[name].placements}" for name in student if not torch.equal(whole(spread[name]), student[name])
    ]


# -- networks


def _parallel(model: nn.Module, mesh: DeviceMesh) -> None:
    """Tensor parallel, the way `parallelize_module` does it, of the two linears of an MLP or of every block."""
    if isinstance(model, Transformer):
        for block in model.blocks:
            parallelize_module(block, mesh, {"fc1": ColwiseParallel(), "fc2": RowwiseParallel()})
    else:
        parallelize_module(model, mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})


def _shard(model: nn.Module, way: str) -> None:
    world = dist.get_world_size()
    if way == "fully_shard":
        for part in getattr(model, "blocks", ()):
            fully_shard(part)
        fully_shard(model)
    elif way == "second dim":
        even = lambda p: Shard(1) if p.dim() > 1 and p.shape[1] % world == 0 else Shard(0)  # noqa: E731
        fully_shard(model, shard_placement_fn=even)
    elif way == "tensor parallel":
        _parallel(model, init_device_mesh("cpu", (world,), mesh_dim_names=("tp",)))
    else:
        rows = 2 if way == "2 x n" else 1
        mesh = init_device_mesh("cpu", (rows, world // rows), mesh_dim_names=("dp", "tp"))
        _parallel(model, mesh["tp"])
        fully_shard(model, mesh=mesh["dp"])


MAKERS: dict[str, tuple[Callable[[int], nn.Module], Any]] = {
    "mlp": (lambda width: mlp(width, inputs=4), (1, 4)),
    "conv": (ConvNet, (1, 3, 8, 8)),
    "transformer": (lambda width: Transformer(width, 2, width // 2, depth=2), (2, 5, 7)),
}


def save_teachers(folder: Path) -> None:
    """The plans and the teachers of `networks`, as files."""
    for kind, (make, inputs) in MAKERS.items():
        ws.plan(make(10), make(24), inputs).save(folder / f"{kind}.json")
        for name, dtype in DTYPES.items():
            state = randomize(make(24), 1).to(dtype).state_dict()
            floats = {key: tensor.contiguous() for key, tensor in state.items() if tensor.is_floating_point()}
            save_file(floats, folder / f"{kind}.{name}.safetensors")


def networks(rank: int, folder: Path, dtypes: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Name of a case -> names that differ, and elements: held by this rank, read by it, and in the whole plan."""
    found: dict[str, dict[str, Any]] = {}
    for kind, (make, _) in MAKERS.items():
        plan = ws.load_plan(folder / f"{kind}.json")
        for name in dtypes:
            teacher = randomize(make(24), 1).to(DTYPES[name])
            alone = randomize(make(10), 2).to(DTYPES[name])
            apply_plan(plan, alone, teacher)
            for way in _ways(kind):
                student = randomize(make(10), 2).to(DTYPES[name])
                _shard(student, way)
                ws.apply(plan, student, teacher.state_dict())
                differ = differing(student, alone)
                _scramble(student)
                source = LazyFile(folder / f"{kind}.{name}.safetensors")
                apply_sharded(plan, student, lambda source=source: source)
                read = differing(student, alone)
                _scramble(student)
                ws.apply(plan, student, folder / f"{kind}.{name}.safetensors")
                held = sum(shard.numel() for key, shard in shards(student).items() if key in _filled(plan))
                found[f"{kind} {name} {way}"] = {
                    "differ": differ, "from a file": read, "from a path": differing(student, alone),
                    "held": held, "read": source.elements, "all": _count(plan),
                }  # fmt: skip
    return found


def _filled(plan: Plan) -> set[str]:
    return {copy.student for copy in plan.copies}


def _ways(kind: str) -> list[str]:
    world = dist.get_world_size()
    ways = ["fully_shard", "second dim"]
    if kind != "conv":
        ways += ["tensor parallel", *(["2 x n"] if world % 2 == 0 else ["1 x n"])]
    return ways


def _count(plan: Plan) -> int:
    return sum(math.prod(map(len, part.indices)) for copy in plan.copies for part in copy.sources)


def _scramble(student: nn.Module) -> None:
    """Other values in every tensor that a plan may fill."""
    with torch.no_grad():
        for tensor in (*student.parameters(), *student.buffers()):
            (tensor.to_local() if isinstance(tensor, DTensor) else tensor).fill_(7)
    for name, buffer in student.named_buffers():
        if name.endswith("num_batches_tracked"):
            buffer.zero_()


# -- states that a sharded student may be in


def pair() -> tuple[nn.Module, nn.Module, Plan]:
    student, teacher = randomize(mlp(5), 1), randomize(mlp(8), 2)
    return student, teacher, ws.plan(student, teacher, (1, 4))


def states(rank: int) -> dict[str, Any]:
    """Name of a case -> what was found; empty where all is right."""
    found: dict[str, Any] = {}
    student, teacher, plan = pair()
    alone = mlp(5)
    ws.apply(plan, alone, teacher)

    fully_shard(student, reshard_after_forward=False)
    student(torch.ones(2, 4))  # its parameters are whole now
    found["whole before"] = not isinstance(student[0].weight, DTensor)
    ws.apply(plan, student, teacher)
    student.reshard()
    found["after a forward pass"] = differing(student, alone)
    found["computes with the new values"] = torch.equal(student(torch.ones(2, 4)), alone(torch.ones(2, 4)))

    with torch.device("meta"):
        student = mlp(5)
    late = ws.plan(student, teacher, (1, 4), keep=["4.bias"])
    fully_shard(student)
    found["on meta"] = _refusal(lambda: ws.apply(late, student, teacher))
    student.to_empty(device="cpu")
    found["unfilled"] = ws.unfilled(late, student)
    _scramble(student)
    ws.apply(late, student, teacher)
    found["from meta"] = differing(student, alone)
    found["computes from meta"] = bool(torch.isfinite(student(torch.ones(2, 4))).all())

    sharded = randomize(mlp(8), 2)
    _parallel(sharded, init_device_mesh("cpu", (dist.get_world_size(),)))
    fully = randomize(mlp(8), 2)
    fully_shard(fully)
    for name, other in (("tensor parallel teacher", sharded), ("fully sharded teacher", fully)):
        for kind, own in (("sharded", mlp(5)), ("plain", mlp(5))):
            if kind == "sharded":
                fully_shard(own)
            ws.apply(plan, own, other)
            found[f"{name}, {kind} student"] = differing(own, alone)

    found["trace"] = _refusal(lambda: ws.trace(student, (1, 4)))
    found["initialize"] = _refusal(lambda: ws.initialize(student, mlp(8), (1, 4)))
    found |= _wrapped(plan, teacher, alone)
    return found


def _wrapped(plan: Plan, teacher: nn.Module, alone: nn.Module) -> dict[str, Any]:
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.nn.parallel import DistributedDataParallel

    found: dict[str, Any] = {}
    student = mlp(5)
    student[2] = checkpoint_wrapper(student[2])
    fully_shard(student)
    compiled = torch.compile(student)
    ws.apply(plan, compiled, teacher)
    found["compiled, checkpointed and sharded"] = differing(student, alone)
    parallel = DistributedDataParallel(mlp(5))
    ws.apply(plan, parallel, teacher)
    found["data parallel"] = differing(parallel.module, alone)
    found["trace of data parallel"] = _refusal(lambda: ws.trace(parallel, (1, 4)))
    student, names = mlp(5), mlp(5)
    made = ws.plan(torch.compile(names), teacher, (1, 4))
    found["plan of a compiled model"] = sorted({copy.student.split(".")[0] for copy in made.copies})
    fully_shard(student)
    ws.apply(made, torch.compile(student), teacher)
    found["compiled, plan too"] = differing(student, alone)
    flat = FullyShardedDataParallel(mlp(5), device_id=torch.device("cpu"))
    found["flat"] = _refusal(lambda: ws.apply(plan, flat, teacher))
    found["trace of flat parameters"] = _refusal(lambda: ws.trace(flat, (1, 4)))
    return found


def _refusal(action: Callable[[], Any]) -> str:
    try:
        action()
    except ws.WselError as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


# -- faults


class Treacherous(MemorySource):
    """Something happens when the second tensor is read."""

    def __init__(self, teacher: nn.Module, happens: Callable[[], None]) -> None:
        super().__init__(teacher)
        self.reads, self.happens = 0, happens

    def read(self, name: str, indices: tuple[Indices, ...]) -> torch.Tensor:
        self.reads += 1
        if self.reads == 2:
            self.happens()
        return super().read(name, indices)


def faults(rank: int) -> dict[str, Any]:
    """Name of a case -> the error's text and whether this rank's shards are what they were."""
    last = dist.get_world_size() - 1
    student, teacher, plan = pair()
    fully_shard(student)
    before, found = shards(student), {}

    def tried(name: str, plan: Plan, source: Any, model: nn.Module = student) -> None:
        found[name] = _refusal(lambda: apply_sharded(plan, model, source)), unchanged(student, before)

    def fail() -> None:
        raise OSError("the disk is gone")

    state = teacher.state_dict()
    if rank == last:
        del state["0.weight"]
        state["2.bias"] = torch.ones(3)
    tried("checks", plan, state)
    happens = fail if rank == last else lambda: None
    tried("reading", plan, lambda: Treacherous(teacher, happens))
    tried("opening", plan, (lambda: fail()) if rank == last else (lambda: MemorySource(teacher)))
    other = ws.plan(mlp(5), teacher, (1, 4), method="consecutive")
    tried("another plan", other if rank == last else plan, teacher)
    state = {name: tensor.double() if rank == last else tensor for name, tensor in teacher.state_dict().items()}
    tried("another dtype", plan, state)
    partial = dict(student.named_parameters())
    from torch.distributed.tensor import Partial

    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    partial["0.weight"] = DTensor.from_local(torch.ones(5, 4), mesh, [Partial()])
    tried("partial", plan, teacher, partial)  # type: ignore[arg-type]
    if rank == last:
        happens = _interrupt
    try:
        tried("interrupt", plan, lambda: Treacherous(teacher, happens))
    except KeyboardInterrupt:
        found["interrupt"] = "KeyboardInterrupt", unchanged(student, before)
    ws.apply(plan, student, randomize(mlp(8), 2))  # the ranks are still of one mind
    found["afterwards"] = unchanged(student, before)
    return found


def _interrupt() -> None:
    raise KeyboardInterrupt("Ctrl-C")


def dies(rank: int, how: str) -> tuple[str, bool, float]:
    """The last rank is killed, or hangs, while it reads; what the others find."""
    student, teacher, plan = pair()
    fully_shard(student)
    before, start = shards(student), time.monotonic()

    def happens() -> None:
        if rank == dist.get_world_size() - 1:
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(10)
            os.kill(os.getpid(), signal.SIGKILL)

    text = _refusal(lambda: apply_sharded(plan, student, lambda: Treacherous(teacher, happens)))
    return text, unchanged(student, before), time.monotonic() - start


def part_of_the_world(rank: int) -> Any:
    """A mesh of two ranks of more: the others have no part in it, and need not call."""
    student, teacher, plan = pair()
    alone = mlp(5)
    ws.apply(plan, alone, teacher)
    mesh = DeviceMesh("cpu", [0, 1])
    if rank > 1:
        return []
    fully_shard(student, mesh=mesh)
    ws.apply(plan, student, teacher)
    return differing(student, alone)


def on_gpus(rank: int) -> list[str]:
    """A student on GPUs, of a teacher on the CPU."""
    student, teacher, plan = pair()
    alone = mlp(5).cuda()
    ws.apply(plan, alone, teacher)
    student.cuda()
    fully_shard(student, mesh=init_device_mesh("cuda", (dist.get_world_size(),)))
    ws.apply(plan, student, teacher)
    return differing(student, alone)
