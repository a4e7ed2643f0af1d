"""Sharded students, on several processes: bit for bit what one process gives, or refused on all ranks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import wsel_graph as ws
from tests.apply import sharded_cases as cases
from tests.apply.worlds import run
from wsel_graph.apply.shards import part
from wsel_graph.plan import Copy, Plan

WORLDS = (1, 2, 4)


@pytest.mark.parametrize("world", WORLDS)
def test_random_tensors_and_placements(world: int, tmp_path: Path) -> None:
    found = run(world, cases.random_tensors, tmp_path, range(8))
    assert found == {rank: [] for rank in range(world)}


@pytest.mark.parametrize(
    ("world", "dtypes"), [(1, ("F32",)), (2, ("BF16",)), (4, ("F32", "BF16"))], ids=["1", "2", "4"]
)
def test_networks(world: int, dtypes: tuple[str, ...], tmp_path: Path) -> None:
    """All ways to shard, in two dtypes; a teacher in memory, and a file of which ranks read what they hold."""
    cases.save_teachers(tmp_path)
    found = run(world, cases.networks, tmp_path, tmp_path, dtypes)
    assert list(found) == list(range(world))
    for rank, ways in found.items():
        assert len(ways) == 10 * len(dtypes)
        for way, result in ways.items():
            for teacher in ("differ", "from a file", "from a path"):
                assert (rank, way, teacher, result[teacher]) == (rank, way, teacher, [])
            assert (rank, way, result["read"]) == (rank, way, result["held"])
    fully = [way for way in found[0] if way.endswith("fully_shard")]
    assert all(found[0][way]["held"] < 0.4 * found[0][way]["all"] for way in fully) or world < 4
    assert all(sum(ways[way]["read"] for ways in found.values()) >= found[0][way]["all"] for way in fully)


REFUSED = (
    "the model is sharded over ranks, and captures run a copy of the model. Plan before you shard, with the model as "
    "it is or on the meta device (`with torch.device('meta')`); then shard it and call `apply(plan, student, teacher)`"
)


@pytest.mark.parametrize("world", [1, 2])
def test_states_of_a_student(world: int, tmp_path: Path) -> None:
    """After a forward pass, from the meta device, in wrappers, from a sharded teacher."""
    found = run(world, cases.states, tmp_path)
    assert list(found) == list(range(world))
    for said in found.values():
        assert isinstance(said, dict), said
        assert said.pop("whole before") is True
        assert said.pop("computes with the new values") is True
        assert said.pop("computes from meta") is True
        assert said.pop("plan of a compiled model") == ["_orig_mod"]
        assert said.pop("unfilled") == (*said.pop("from meta"),) == ("4.bias",)
        assert "student 0.weight is on the meta device: materialise it first (to_empty" in said.pop("on meta")
        assert f"CaptureError: {REFUSED}" in said.pop("trace")
        assert f"CaptureError: student: {REFUSED}" in said.pop("initialize")
        assert f"CaptureError: {REFUSED}" in said.pop("trace of flat parameters")
        assert "DistributedDataParallel: pass the model in it (`.module`)" in said.pop("trace of data parallel")
        assert re.search("top level. is wrapped by FullyShardedDataParallel .FSDP1.*the plan before", said["flat"])
        assert said.pop("flat").endswith("wrapping, or shard with torch.distributed.fsdp.fully_shard")
        assert len(said) == 8
        assert {name: differing for name, differing in said.items() if differing} == {}


NOTHING = "failed, nothing was changed on any rank:"


@pytest.mark.parametrize("world", [2, 4])
def test_a_fault_of_one_rank_is_that_of_all(world: int, tmp_path: Path) -> None:
    found = run(world, cases.faults, tmp_path)
    last = world - 1
    assert list(found) == list(range(world))
    for rank, said in found.items():
        assert isinstance(said, dict), said
        assert said.pop("afterwards") is False
        assert {name for name, (_, same) in said.items() if not same} == set()
        texts = {name: text for name, (text, _) in said.items()}
        assert texts["checks"].splitlines() == [
            f"PlanError: checking the plan {NOTHING}",
            f"rank {last}: the plan does not fit these tensors (2 faults):",
            "  - the teacher has no tensor 0.weight",
            "  - teacher 2.bias has shape [3], the plan says [16]",
        ]
        gone = f"rank {last}: OSError: the disk is gone"
        assert texts["reading"].splitlines() == [f"PlanError: reading and writing {NOTHING}", gone]
        assert texts["opening"].splitlines() == [f"PlanError: checking the plan {NOTHING}", gone]
        for case in ("another plan", "another dtype"):
            assert f"rank 0 and rank {last} apply different plans, or read teachers of different" in texts[case]
        assert (
            "all ranks: the plan does not fit these tensors (1 faults):\n  - student 0.weight is placed as P(sum)"
            in (texts["partial"])
        )
        interrupted = f"PlanError: reading and writing {NOTHING}\nrank {last}: KeyboardInterrupt: Ctrl-C"
        assert texts["interrupt"] == ("KeyboardInterrupt" if rank == last else interrupted)


@pytest.mark.parametrize("how", ["killed", "hangs"])
def test_a_rank_that_is_gone_fails_the_others(how: str, tmp_path: Path) -> None:
    found = run(3, cases.dies, tmp_path, how, timeout=3)
    assert list(found) == [0, 1]
    for rank, (text, unchanged, seconds) in found.items():
        assert f"rank {rank}: another rank did not answer after reading and writing, nothing was changed here" in text
        assert "longer than the timeout of the process group (init_process_group(timeout=...)): " in text
        assert unchanged
        assert seconds < 9


def test_ranks_outside_the_mesh_have_no_part_in_it(tmp_path: Path) -> None:
    assert run(3, cases.part_of_the_world, tmp_path) == {0: [], 1: [], 2: []}


@pytest.mark.parametrize(
    ("size", "ranks", "pieces"), [(9, 4, 2), (8, 2, 2), (1, 4, 1), (7, 3, 1), (0, 2, 2), (5, 2, 3)]
)
def test_parts_are_those_of_chunk(size: int, ranks: int, pieces: int) -> None:
    """`_StridedShard`, by its docstring: chunks of chunks."""
    chunks = [list(chunk.chunk(ranks)) for chunk in torch.arange(size).chunk(pieces)]
    for number in range(ranks):
        own = [element for chunk in chunks if number < len(chunk) for element in chunk[number].tolist()]
        assert list(part(range(size), ranks, number, pieces)) == own


# -- one process


def test_wrapped_students_without_ranks() -> None:
    _, teacher, plan = cases.pair()
    alone, wrapped = cases.mlp(5), torch.compile(cases.mlp(5))
    ws.apply(plan, alone, teacher)
    ws.apply(plan, wrapped, teacher)
    assert cases.differing(wrapped, alone) == []
    assert ws.unfilled(plan, wrapped) == ()


def test_unfilled() -> None:
    student = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2))
    student[1].weight = nn.Parameter(student[0].weight.detach().T.clone())
    student.register_buffer("table", torch.ones(3), persistent=False)
    whole = Copy("0.weight", "w", (4, 2), (4, 2), (range(4), range(2)), True)

    def half(rows: Any) -> Copy:
        return Copy("0.bias", "b", (4,), (4,), (range(len(rows)),), True, region=(rows,))

    def left(*copies: Copy) -> tuple[str, ...]:
        return ws.unfilled(Plan(copies, (), (), ()), student)

    assert left(whole) == ("table", "0.bias", "1.weight", "1.bias")
    assert left(whole, half(range(2))) == ("table", "0.bias", "1.weight", "1.bias")
    assert left(whole, half(range(0, 4, 2)), half((1, 3))) == ("table", "1.weight", "1.bias")
    assert left(whole, half(range(2)), half(range(1, 3))) == ("table", "0.bias", "1.weight", "1.bias")
    student[1].bias = student[0].bias
    assert "1.bias" not in left(half(range(4)))


def test_ranks_are_not_loaded_where_nothing_is_sharded() -> None:
    code = (
        "import sys, torch, wsel_graph as ws; from wsel_graph.plan import Copy, Plan; "
        "copy = Copy('w', 'w', (2,), (4,), (range(2),), True); student = {'w': torch.ones(2)}; "
        "ws.apply(Plan((copy,), (), (), ()), student, {'w': torch.zeros(4)}); "
        "sys.exit('torch.distributed.tensor' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(torch.cuda.device_count() < 1, reason="needs GPUs: ranks of nccl have one each")
@pytest.mark.parametrize("world", [world for world in WORLDS if world <= max(1, torch.cuda.device_count())])
def test_on_gpus(world: int, tmp_path: Path) -> None:
    found = run(world, cases.on_gpus, tmp_path, backend="nccl")
    assert found == {rank: [] for rank in range(world)}
