"""A plan with everything in it, from every kind of checkpoint: the values are those from memory, and those by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import wsel_graph as ws
from tests.nets import ConvNet, mlp, randomize, same_tensors
from tests.stores.checkpoints import WRITERS, Writer, safetensors
from wsel_graph.apply import gather, memory, undo
from wsel_graph.apply.memory import apply_plan
from wsel_graph.apply.undo import Undo
from wsel_graph.errors import PlanError
from wsel_graph.plan import Copy, Mix, Plan, Resize, View, compact

GRID, LINE = Resize("bicubic", 0, (4, 4), (3, 3)), Resize("linear", 1, (4,), (6,))
COPIES = (
    Copy("plain", "a", (6, 4), (24, 8), (range(0, 24, 4), range(0, 8, 2)), True),
    Copy("lists", "a", (3, 2), (24, 8), ((20, 1, 7), (3, 0)), True, scale=-0.5),
    Copy("regions", "a", (7, 4), (24, 8), (range(3), range(4)), True, region=(range(0, 6, 2), range(4))),
    Copy("regions", "b", (7, 4), (16, 4), ((9, 3), range(4)), True, region=((5, 1), (3, 2, 1, 0))),
    Copy("turned", "a", (4, 6), (24, 8), (range(0, 24, 4), range(0, 8, 2)), True, view=View((6, 4), (1, 0))),
    Copy("resized", "b", (9, 4), (16, 4), (range(16), range(4)), True, resize=(GRID,)),
    Copy("stretched", "b", (4, 6), (16, 4), (range(0, 16, 4), range(4)), True, resize=(LINE,)),
    Copy(
        "merged", "a", (5, 2), (24, 8), ((0, 2, 1, 5, 9), range(2)), True,
        mix=(
            Mix(0, ((0, 23), (2,), (1, 4, 3), (5, 6), (9, 8)), ((0.5, 0.5), (1.0,), (0.2, 0.3, 0.5), (1, 1), (2, -1))),
            Mix(1, ((0, 7), (1, 3)), ((1.0, 1.0), (0.25, 0.75))),
        ),
    ),
    Copy(
        "added", "a", (6, 4), (24, 8), (range(6), range(4)), True, scale=0.5,
        also=(Copy("added", "b", (6, 4), (16, 4), (range(10, 16), range(4)), True, scale=0.25),),
    ),
    Copy("scalar", "c", (), (), (), True),
)  # fmt: skip
PLAN = Plan(COPIES, (), (), ())


def teacher(dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {"a": (24, 8), "b": (16, 4), "c": ()}
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}


def student(dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    shapes = {copy.student: copy.student_shape for copy in COPIES}
    return {name: torch.full(shape, 9.0, dtype=dtype) for name, shape in shapes.items()}


def filled(source: dict[str, torch.Tensor] | Path, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    made = student(dtype)
    apply_plan(PLAN, made, source)
    return made


def test_by_hand() -> None:
    held, made = teacher(torch.float64), filled(teacher(torch.float64), torch.float64)
    a, b = held["a"], held["b"]
    assert torch.equal(made["plain"], a[::4, ::2])
    assert torch.equal(made["turned"], a[::4, ::2].T)
    assert torch.equal(made["lists"], -0.5 * a[[20, 1, 7]][:, [3, 0]])
    assert torch.equal(made["regions"][0:6:2], a[:3, :4])
    assert torch.equal(made["regions"][[5, 1]], b[[9, 3]].flip(1))
    assert made["regions"][3].tolist() == [9.0] * 4
    assert torch.equal(made["regions"][6], torch.full((4,), 9.0, dtype=torch.float64))
    assert torch.equal(made["added"], 0.5 * a[:6, :4] + 0.25 * b[10:])
    columns = torch.stack([a[:, 0] + a[:, 7], 0.25 * a[:, 1] + 0.75 * a[:, 3]], 1)
    rows = [(columns[0] + columns[23]) / 2, columns[2], 0.2 * columns[1] + 0.3 * columns[4] + 0.5 * columns[3]]
    rows += [columns[5] + columns[6], 2 * columns[9] - columns[8]]
    torch.testing.assert_close(made["merged"], torch.stack(rows), rtol=0, atol=1e-14)
    assert made["scalar"] == held["c"]


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_files_give_what_memory_gives(write: Writer, tmp_path: Path) -> None:
    path = write(teacher(torch.bfloat16), tmp_path)
    for dtype in (torch.bfloat16, torch.float32, torch.float16, torch.float8_e4m3fn):
        expected = filled(teacher(torch.bfloat16), dtype)
        made = filled(path, dtype)
        assert all(torch.equal(made[name].float(), expected[name].float()) for name in expected), dtype


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.float64])
def test_dtypes_are_cast_as_the_student_asks(dtype: torch.dtype, tmp_path: Path) -> None:
    path = safetensors(teacher(dtype), tmp_path)
    made = filled(path)
    assert torch.equal(made["plain"], teacher(dtype)["a"][::4, ::2].float())
    assert torch.equal(filled(path, dtype)["plain"].float(), teacher(dtype)["a"][::4, ::2].float())


@given(piece=st.integers(1, 30), limit=st.integers(0, 400))
def test_pieces_give_what_the_whole_gives(piece: int, limit: int) -> None:
    expected = filled(teacher())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gather, "PIECE", piece)
        patch.setattr(undo, "LIMIT", limit)
        assert max(len(list(gather.pieces(copy))) for copy in COPIES) > 1 or piece >= 24
        made = filled(teacher())
    assert all(torch.equal(made[name], expected[name]) for name in expected)


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
@pytest.mark.parametrize("limit", [0, 100, 1 << 20])
@pytest.mark.parametrize("failing", range(0, len(COPIES), 2))
def test_failing_anywhere_leaves_the_student(
    failing: int, limit: int, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, made, done = memory._place, student(torch.bfloat16), []
    made["plain"] = torch.randn(4, 6).bfloat16().T  # not row-major
    before = {name: tensor.clone() for name, tensor in made.items()}

    def fail(*args: object) -> object:
        done.append(args)
        if len(done) > failing * 2:
            raise KeyboardInterrupt
        return place(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(memory, "_place", fail)
    monkeypatch.setattr(gather, "PIECE", piece)
    monkeypatch.setattr(undo, "LIMIT", limit)
    if failing * 2 >= len(COPIES) and piece > 7:
        monkeypatch.setattr(memory, "finite", lambda values: len(done) < len(COPIES))
    with pytest.raises((KeyboardInterrupt, PlanError)):
        apply_plan(PLAN, made, teacher())
    assert all(torch.equal(made[name], before[name]) for name in before)


@pytest.mark.parametrize("limit", [0, 1 << 20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e5m2, torch.complex64, torch.float64])
def test_undo(dtype: torch.dtype, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(undo, "STEP", 64)
    tensors = [torch.randn(shape).to(dtype) for shape in ((), (0,), (7, 5), (300,), (5, 7, 3))]
    tensors += [tensors[2].clone().T, torch.randn(8, 8).to(dtype)[::2, 1::2]]
    before = [tensor.clone() for tensor in tensors]
    with Undo(limit) as kept:
        for tensor in tensors:
            kept.keep(tensor)
            tensor.zero_()
        kept.restore()
    assert all(bool((now == old).all()) for now, old in zip(tensors, before, strict=True))


@pytest.mark.parametrize("make", [lambda width: ConvNet(width), lambda width: mlp(width)], ids=["conv", "mlp"])
def test_a_path_is_a_teacher(make: Callable[[int], torch.nn.Module], tmp_path: Path) -> None:
    inputs = (1, 3, 8, 8) if isinstance(make(4), ConvNet) else (1, 4)
    large, small, other = randomize(make(8)), make(4), make(4)
    plan = ws.plan(small, large, inputs)
    ws.apply(plan, small, large)
    other.load_state_dict(small.state_dict())
    for parameter in other.parameters():
        parameter.data.zero_()
    state = dict(large.state_dict())
    ws.apply(plan, other, str(safetensors(state, tmp_path)), progress=True)
    assert same_tensors(other, dict(small.state_dict()))


def test_large_merges_read_only_the_rows_they_need() -> None:
    copy = replace(
        COPIES[7], mix=(Mix(0, ((3,), (9, 3), (4,), (5,), (6,)), ((1.0,), (0.5, 0.5), (1.0,), (1.0,), (1.0,))),)
    )
    asked: list[object] = []

    class Asking(memory.MemorySource):
        def read(self, name: str, indices: tuple[object, ...]) -> torch.Tensor:  # type: ignore[override]
            asked.append(indices)
            return super().read(name, indices)  # type: ignore[arg-type]

    gather.gathered_from(copy, Asking(teacher()))
    assert asked == [(compact([3, 4, 5, 6, 9]), range(2))]
