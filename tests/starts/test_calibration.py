"""Calibration batches: what may be given, what is written where they are odd, what is said where they are wrong."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import wsel_graph as ws
from tests.starts.architectures import PAIRS, built, cast
from wsel_graph.errors import CompensationError
from wsel_graph.starts import walk as walking


def net(k: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(7, 6 * k), nn.ReLU(), nn.Linear(6 * k, 5 * k), nn.LayerNorm(5 * k), nn.Linear(5 * k, 3)
    )


def models(dtype: torch.dtype = torch.float32) -> tuple[nn.Module, nn.Module, ws.Plan]:
    student, teacher = built(lambda: net(1), 1).to(dtype), built(lambda: net(2), 2).to(dtype)
    return student, teacher, ws.plan(student, teacher, torch.randn(2, 7, dtype=dtype))


def batches(count: int = 5, rows: int = 30) -> list[Tensor]:
    torch.manual_seed(5)
    return [torch.randn(rows, 7) for _ in range(count)]


def state(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value.nan_to_num(7), other[key].nan_to_num(7)) for key, value in one.items())


# -- forms


def test_a_generator_a_tuple_and_a_dict_are_the_same() -> None:
    found = []
    for form in ("list", "generator", "tuple", "dict"):
        student, teacher, plan = models()
        given: Any = batches()
        if form == "generator":
            given = (batch for batch in batches())
        elif form == "tuple":
            given = [(batch,) for batch in batches()]
        elif form == "dict":
            given = [{"input": batch} for batch in batches()]
        done = ws.compensate(plan, student, teacher, given)
        assert len(done.fitted) >= 2
        found.append(state(student))
    assert all(same(found[0], other) for other in found[1:])


def test_initialize_compensates() -> None:
    student, teacher, plan = models()
    ws.compensate(plan, student, teacher, batches())
    other = built(lambda: net(1), 1)
    result = ws.initialize(other, teacher, torch.randn(2, 7), calibration=batches())
    assert same(state(student), state(other))
    assert "Fitted" in str(result)


def test_batches_of_different_sizes_are_counted_row_by_row() -> None:
    student, teacher, plan = models()
    other, _, _ = models()
    rows = torch.cat(batches(4))
    last = batches(5)[4]
    ws.compensate(plan, student, teacher, [*rows.split([40, 1, 30, 49]), last])
    ws.compensate(plan, other, teacher, [*rows.split(30), last])
    for key, value in state(student).items():
        torch.testing.assert_close(value, other.state_dict()[key], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_of_few_batches_the_last_rows_are_held_out(count: int) -> None:
    student, teacher, plan = models()
    done = ws.compensate(plan, student, teacher, batches(count, 60))
    assert len(done.fitted) >= 2
    assert all(0 <= outcome.after <= outcome.before for outcome in done.outcomes)


@pytest.mark.parametrize("rows", [1, 2])
def test_too_few_rows_keep_everything_and_say_so(rows: int) -> None:
    student, teacher, plan = models()
    done = ws.compensate(plan, student, teacher, batches(1, rows))
    assert done.fitted == ()
    wanted = "too few rows to fit some and judge by others: give more calibration batches"
    assert {outcome.how for outcome in done.outcomes} == {wanted}
    selected, _, _ = models()
    ws.apply(plan, selected, teacher)
    assert same(state(student), state(selected))


def test_batches_of_one_row() -> None:
    student, teacher, plan = models()
    done = ws.compensate(plan, student, teacher, batches(50, 1))
    assert len(done.fitted) >= 2


@pytest.mark.parametrize("name", ["BERT", "LLaMA", "T5", "audio"])
def test_lengths_and_masks_may_differ_from_batch_to_batch(name: str) -> None:
    pair = PAIRS[name]
    torch.manual_seed(0)
    given = []
    for number, length in enumerate((11, 7, 11, 9, 8, 11)):
        batch = pair.batch(3)
        if name == "audio":
            batch = batch[..., : 10 * length]
        else:
            batch = {key: value[:, :length] for key, value in batch.items()}
            if number % 2:
                batch["attention_mask"] = torch.ones_like(batch["input_ids"])
                batch["attention_mask"][1, -2:] = 0
        given.append(batch)
    if name != "audio":
        given[0].setdefault("attention_mask", torch.ones_like(given[0]["input_ids"]))
        given = [
            batch | {"attention_mask": batch.get("attention_mask", torch.ones_like(batch["input_ids"]))}
            for batch in given
        ]
    student, teacher = pair.student(), pair.teacher()
    done = ws.compensate(ws.plan(student, teacher, given[0]), student, teacher, given)
    assert len(done.fitted) >= 5
    assert all(value.isfinite().all() for value in student.state_dict().values())


class Named(nn.Module):
    """The same network, with its inputs under another name and in another order."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.body = net(k)

    def forward(self, unused: Tensor, *, features: Tensor) -> Tensor:
        return self.body(features)


def test_the_teacher_may_take_the_batches_in_another_form() -> None:
    student, teacher, plan = models()
    ws.compensate(plan, student, teacher, batches())
    other, wrapped = built(lambda: net(1), 1), Named(2).eval()
    wrapped.body.load_state_dict(teacher.state_dict())
    theirs = {"unused": torch.zeros(1), "features": batches()[0]}
    made = ws.plan(other, wrapped, batches()[0], teacher_inputs=theirs)
    given = [{"unused": torch.zeros(1), "features": batch} for batch in batches()]
    done = ws.compensate(made, other, wrapped, batches(), teacher_calibration=given)
    if done.fitted:  # else positions are not known to correspond
        assert same(state(student), state(other))
    else:
        assert set(dict(done.kept).values()) == {"the teacher lays out positions in another way"}


def test_bfloat16() -> None:
    student, teacher, plan = models(torch.bfloat16)
    given = [cast(batch, torch.bfloat16) for batch in batches(10)]
    done = ws.compensate(plan, student, teacher, given)
    assert len(done.fitted) >= 2
    assert {value.dtype for value in student.state_dict().values()} == {torch.bfloat16}
    exact, wide, _ = models()
    wide.load_state_dict(teacher.state_dict())
    ws.compensate(plan, exact, wide, batches(10))
    fresh = torch.randn(200, 7)
    goal = wide(fresh)
    coarse = (student(fresh.bfloat16()).float() - goal).square().mean() / goal.var()
    assert coarse < 1.5 * (exact(fresh) - goal).square().mean() / goal.var() + 1e-3


# -- odd activations


def test_dead_and_constant_channels() -> None:
    student, teacher, plan = models()
    with torch.no_grad():
        teacher[0].weight[2] = 0
        teacher[0].bias[2] = -1  # always zero after the ReLU
        teacher[0].weight[4] = 0
        teacher[0].bias[4] = 3  # always the same
    done = ws.compensate(plan, student, teacher, batches(10))
    assert "2.weight" in done.fitted
    assert all(value.isfinite().all() for value in student.state_dict().values())
    dead = student[2].weight[:, 1] / teacher[2].weight[::2, 2]
    assert ((dead > 0.1) & (dead < 10)).all()  # nothing is known about it: at most it is scaled with its output


def test_constant_targets() -> None:
    student, teacher, plan = models()
    with torch.no_grad():
        teacher[2].weight.zero_()
    done = ws.compensate(plan, student, teacher, batches())
    assert all(value.isfinite().all() for value in student.state_dict().values())
    assert all(outcome.after <= outcome.before for outcome in done.outcomes)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 4], ids=["fitted batch", "held-out batch"])
def test_activations_that_are_not_finite_are_never_written(value: float, place: int) -> None:
    student, teacher, plan = models()
    given = batches()
    given[place][3, 2] = value
    done = ws.compensate(plan, student, teacher, given)
    assert all(bool(tensor.isfinite().all()) for tensor in student.state_dict().values())
    assert done.fitted == ()
    assert {outcome.how for outcome in done.outcomes} == {"activations are not finite on these batches"}
    selected, _, _ = models()
    ws.apply(plan, selected, teacher)
    assert same(state(student), state(selected))


def test_models_that_overflow_are_kept_as_selected() -> None:
    student, teacher, plan = models()
    with torch.no_grad():
        teacher[2].weight[0] = 3e38  # finite, but not what it computes
    done = ws.compensate(plan, student, teacher, batches())
    assert {outcome.how for outcome in done.outcomes if outcome.name != "0.weight"} == {
        "activations are not finite on these batches"
    }


class Scaled(nn.Module):
    """A residual block with a layer scale."""

    def __init__(self, k: int, depth: int) -> None:
        super().__init__()
        self.inlet = nn.Linear(7, 6 * k)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(6 * k), nn.Linear(6 * k, 9 * k), nn.GELU(), nn.Linear(9 * k, 6 * k))
            for _ in range(depth)
        )
        self.gammas = nn.ParameterList(nn.Parameter(torch.rand(6 * k) + 0.5) for _ in range(depth))
        self.norm, self.outlet = nn.LayerNorm(6 * k), nn.Linear(6 * k, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inlet(x)
        for block, gamma in zip(self.blocks, self.gammas, strict=True):
            x = x + gamma * block(x)
        return self.outlet(self.norm(x))


@pytest.mark.parametrize("zeros", [1, 12], ids=["one channel", "all"])
@pytest.mark.parametrize("repair", ["never", "last", "always"])
def test_layer_scales_of_zero(zeros: int, repair: Any) -> None:
    student, teacher = built(lambda: Scaled(1, 2), 1), built(lambda: Scaled(2, 4), 2)
    with torch.no_grad():
        for gamma in teacher.gammas:
            gamma[:zeros] = 0
    plan = ws.plan(student, teacher, batches()[0])
    ws.apply(plan, student, teacher)
    fresh = torch.randn(100, 7)
    before = (student(fresh) - teacher(fresh)).square().mean()
    done = ws.compensate(plan, student, teacher, batches(10), repair=repair)
    assert all(bool(value.isfinite().all()) for value in student.state_dict().values())
    assert all(outcome.after <= outcome.before for outcome in done.outcomes)
    assert len(done.fitted) >= (5 if zeros == 1 else 1)
    assert (student(fresh) - teacher(fresh)).square().mean() < before


# -- parameters that are used elsewhere


class Tied(nn.Module):
    def __init__(self, k: int) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 6 * k)
        self.hidden = nn.Linear(6 * k, 6 * k)
        self.one, self.two = nn.Linear(6 * k, 4 * k), nn.Linear(6 * k, 4 * k)
        self.two.bias = self.one.bias
        self.packed = nn.Parameter(torch.randn(8 * k, 4 * k))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.hidden(self.words(ids)).relu()
        y = self.one(x).relu() * self.two(x).relu()
        return nn.functional.linear(x, self.words.weight), self._packed(y)

    def _packed(self, y: Tensor) -> Tensor:
        half = self.packed.shape[0] // 2
        a, b = self.packed[:half], self.packed[half:]
        return nn.functional.linear(nn.functional.linear(y, a).relu(), b).sum(-1)


def test_parameters_that_others_read_stay() -> None:
    student, teacher = built(lambda: Tied(1), 1), built(lambda: Tied(2), 2)
    given = [torch.randint(0, 11, (9, 6)) for _ in range(10)]
    plan = ws.plan(student, teacher, given[0])
    selected = built(lambda: Tied(1), 1)
    ws.apply(plan, selected, teacher)
    done = ws.compensate(plan, student, teacher, given)
    kept = dict(done.kept)
    assert kept["words.weight"] == "embedding_default reads it too, in another way"
    assert kept["packed"] == "its uses differ in the part of it that they see, or in what they add"
    assert {"hidden.weight", "one.weight", "two.weight"} <= set(done.fitted)
    for key in ("words.weight", "packed", "one.bias"):
        assert torch.equal(student.state_dict()[key], selected.state_dict()[key]), key


class Copied(nn.Module):
    """Reads its weights through copies that are made before anything else runs."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(7, 6 * k)), nn.Parameter(torch.randn(6 * k, 5 * k))
        self.c = nn.Parameter(torch.randn(5 * k, 3))

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = (weight.t().contiguous() for weight in (self.a, self.b, self.c))
        linear = nn.functional.linear
        return linear(linear(linear(x, a).relu(), b).relu(), c)


class Plain(Copied):
    def forward(self, x: Tensor) -> Tensor:
        return ((x @ self.a).relu() @ self.b).relu() @ self.c


@pytest.mark.parametrize("memory", [1 << 30, 1 << 16])
def test_copies_of_weights_are_made_anew(memory: int) -> None:
    found = []
    for kind in (Copied, Plain):
        student, teacher = built(lambda: kind(1), 1).double(), built(lambda: kind(2), 2).double()  # noqa: B023
        given = [cast(batch, torch.float64) for batch in batches(10)]
        ws.compensate(ws.plan(student, teacher, given[0]), student, teacher, given, memory=memory)
        found.append(state(student))
    for key, value in found[0].items():
        torch.testing.assert_close(value, found[1][key], rtol=1e-9, atol=1e-9)


# -- memory, resuming, failing


@pytest.mark.parametrize("name", ["BERT", "ALBERT", "Swin", "U-Net", "LSTM"])
def test_disk_instead_of_memory_gives_the_same_bits(name: str) -> None:
    pair = PAIRS[name]
    found: list[tuple[ws.Compensation, dict[str, Tensor]]] = []
    for _ in range(2):
        memory = found[0][0].peak // 2 if found else 2 << 30
        student, teacher = pair.student(), pair.teacher()
        given = pair.batches(6, 24)
        done = ws.compensate(ws.plan(student, teacher, given[0]), student, teacher, given, memory=memory)
        found.append((done, state(student)))
    (full, one), (spilled, other) = found
    assert full.spilled == 0 < spilled.spilled
    assert [name for name, _ in full.kept] == [name for name, _ in spilled.kept]
    assert full.outcomes == spilled.outcomes
    assert same(one, other)


class Stop(Exception):
    pass


@pytest.mark.parametrize("name", ["BERT", "ALBERT", "U-Net"])
@pytest.mark.parametrize("after", [1, 4, 7])
def test_interrupted_and_resumed_gives_the_same_bits(
    name: str, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = PAIRS[name]
    given = pair.batches(5, 6)
    student, teacher = pair.student(), pair.teacher()
    plan = ws.plan(student, teacher, given[0])
    whole = ws.compensate(plan, student, teacher, given)
    other = pair.student()
    before = state(other)

    def stopping(events: Any) -> Iterator[Any]:
        for number, event in enumerate(events):
            if number == after:
                raise Stop
            yield event

    with monkeypatch.context() as patch:
        patch.setattr("wsel_graph.starts.compensate._watch", lambda *_: stopping)
        with pytest.raises(Stop):
            ws.compensate(plan, other, teacher, given, resume=tmp_path / "run")
    assert same(state(other), before)  # all or nothing
    calls: list[str] = []
    measure = walking.Walk._measure
    monkeypatch.setattr(walking.Walk, "_measure", lambda self, *a: (calls.append(a[1].fit.name), measure(self, *a)))
    resumed = ws.compensate(plan, other, teacher, given, resume=tmp_path / "run")
    assert resumed.outcomes == whole.outcomes
    assert same(state(other), state(student))
    once = calls[:]
    again = pair.student()
    ws.compensate(plan, again, teacher, given, resume=tmp_path / "run")
    assert same(state(again), state(student))
    assert len(calls) - len(once) <= len(once)


def test_a_folder_of_another_compensation_is_refused(tmp_path: Path) -> None:
    student, teacher, plan = models()
    ws.compensate(plan, student, teacher, batches(), resume=tmp_path)
    fresh = state(built(lambda: net(1), 1))
    for change in ("calibration", "seed", "teacher", "plan"):
        other, wide, made = models()
        given, options = batches(), {}
        if change == "calibration":
            given[3][2, 1] += 1
        elif change == "seed":
            options = {"seed": 3}
        elif change == "teacher":
            wide[0].bias.data[0] += 1
        else:
            made = dataclasses.replace(made, copies=made.copies[:-1])
        with pytest.raises(CompensationError, match="holds the fits of another compensation"):
            ws.compensate(made, other, wide, given, resume=tmp_path, **options)
        assert same(state(other), fresh), change


def test_any_failure_leaves_the_student_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher, plan = models()
    before, theirs = state(student), state(teacher)
    with pytest.raises(ws.WselError, match=r"failed on these inputs|the model raised"):
        ws.compensate(plan, student, teacher, [*batches(), torch.randn(3, 6)])
    assert same(state(student), before)
    monkeypatch.setattr("wsel_graph.starts.fits.solve", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        ws.compensate(plan, student, teacher, batches())
    assert same(state(student), before)
    assert same(state(teacher), theirs)


class Noisy(nn.Module):
    def __init__(self, k: int) -> None:
        super().__init__()
        self.body, self.drop = net(k), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.drop(x) + 0.1 * torch.randn_like(x))


def test_modes_and_random_states_stay() -> None:
    student, teacher = Noisy(1).train(), Noisy(2).train()
    plan = ws.plan(student, teacher, torch.randn(2, 7))
    given, random = batches(), torch.get_rng_state()
    ws.compensate(plan, student, teacher, given)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(module.training for model in (student, teacher) for module in model.modules())


# -- refusals


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "calibration holds no batch: pass an iterable of inputs, such as a list of tensors"),
        (torch.randn(4, 7), "calibration is one Tensor, not an iterable of batches: put it in a list"),
        ({"input": torch.randn(4, 7)}, "calibration is one dict, not an iterable of batches: put it in a list"),
    ],
)
def test_calibration_that_is_none(given: Any, message: str) -> None:
    student, teacher, plan = models()
    before = state(student)
    with pytest.raises(CompensationError, match=message):
        ws.compensate(plan, student, teacher, given)
    assert same(state(student), before)


def test_other_refusals() -> None:
    student, teacher, plan = models()
    before = state(student)
    with pytest.raises(CompensationError, match="5 calibration batches for the student, 4 for the teacher"):
        ws.compensate(plan, student, teacher, batches(), teacher_calibration=batches(4))
    with pytest.raises(CompensationError, match="30 positions in the student and 20 in the teacher on one batch"):
        ws.compensate(plan, student, teacher, batches(), teacher_calibration=[*batches(4), batches(1, 20)[0]])
    with pytest.raises(CompensationError, match="repair must be one of never, last, always, got 'first'"):
        ws.compensate(plan, student, teacher, batches(), repair="first")  # type: ignore[arg-type]
    for name in ("memory", "rows"):
        with pytest.raises(CompensationError, match=f"{name} must be at least 1, got {name}=0"):
            ws.compensate(plan, student, teacher, batches(), **{name: 0})
    assert same(state(student), before)


def test_operators_whose_moments_are_too_large_are_kept_with_the_reason() -> None:
    student, teacher, plan = models()
    done = ws.compensate(plan, student, teacher, batches(), memory=1 << 10)
    assert all("its second moments need" in reason for reason in dict(done.kept).values())
    assert "2.weight" in dict(done.kept)


class Normed(nn.Module):
    def __init__(self, k: int) -> None:
        super().__init__()
        self.one = nn.utils.parametrizations.weight_norm(nn.Linear(7, 6 * k))
        self.two = nn.Linear(6 * k, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x).relu())


def test_computed_weights_are_kept_with_the_reason() -> None:
    student, teacher = built(lambda: Normed(1), 1), built(lambda: Normed(2), 2)
    done = ws.compensate(ws.plan(student, teacher, batches()[0]), student, teacher, batches(10))
    assert done.fitted == ("two.weight",)
    assert set(dict(done.kept).values()) == {"its weight is computed from parameters"}
    names = {f"one.parametrizations.weight.original{number}" for number in (0, 1)}
    assert names <= set(dict(done.kept))


class Remembers(nn.Module):
    def __init__(self, k: int) -> None:
        super().__init__()
        self.lstm, self.out = nn.LSTM(7, 4 * k, batch_first=True), nn.Linear(4 * k * 3, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.lstm(x)[0].flatten(1))


class Tasks(nn.Module):
    """Two results of one shape, in one order or the other."""

    def __init__(self, k: int, names: tuple[str, str]) -> None:
        super().__init__()
        self.names, self.body = names, nn.Linear(6, 16 * k)
        self.heads = nn.ModuleDict({name: nn.Linear(16 * k, 5) for name in ("age", "size")})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.body(x).relu()
        return {name: self.heads[name](y) for name in self.names}


def test_results_are_compared_by_their_keys() -> None:
    found = []
    for names in (("age", "size"), ("size", "age")):
        student, teacher = built(lambda n=names: Tasks(1, n), 1), built(lambda: Tasks(2, ("age", "size")), 2)
        given = [torch.randn(40, 6, generator=torch.Generator().manual_seed(seed)) for seed in range(5)]
        done = ws.compensate(ws.plan(student, teacher, given[0]), student, teacher, given)
        found.append((done.results, state(student)))
    assert found[0][0] == pytest.approx(found[1][0])
    assert found[0][0][1] < found[0][0][0]
    assert all(torch.allclose(one, found[1][1][name]) for name, one in found[0][1].items())


def test_results_that_are_laid_out_otherwise_in_memory_than_when_traced() -> None:
    student, teacher = built(lambda: Remembers(1), 1), built(lambda: Remembers(2), 2)
    given = [torch.randn(20, 3, 7) for _ in range(5)]
    done = ws.compensate(ws.plan(student, teacher, given[0]), student, teacher, given)
    assert done.fitted == ("out.weight",)
