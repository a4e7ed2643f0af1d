"""`rescale: norm`: the student's norms give what those of a teacher give whose other channels are zero."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import wsel_graph as ws
from tests.planner.planted import planted, scales, transferred
from wsel_graph.plan import Plan
from wsel_graph.report.check import check_rules

RULES = "  - rescale: norm"
D, S = 12, 3
ROOT = math.sqrt(D / S)

Form = Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]
"""`(x, gain, eps) -> normalised x`."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "my.yaml"


class Net(nn.Module):
    """A linear, a norm in one of several forms, and a linear."""

    def __init__(self, width: int, form: Form, eps: float = 0.0, *, mean_free: bool = False) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(4, width), nn.Linear(width, 5)
        self.gain, self.form, self.eps = nn.Parameter(torch.ones(width)), form, eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.form(self.stem(x), self.gain, self.eps))


def rms_library(x: torch.Tensor, gain: torch.Tensor, eps: float) -> torch.Tensor:
    return F.rms_norm(x, gain.shape, gain, eps)


def rms_rsqrt(x: torch.Tensor, gain: torch.Tensor, eps: float) -> torch.Tensor:
    return gain * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)).type_as(x)


def rms_root(x: torch.Tensor, gain: torch.Tensor, eps: float) -> torch.Tensor:
    return x / torch.sqrt(eps + (x * x).mean(-1, keepdim=True)) * gain


def rms_sum(x: torch.Tensor, gain: torch.Tensor, eps: float) -> torch.Tensor:
    return x * ((x**2).sum(-1, keepdim=True) / x.shape[-1] + eps) ** -0.5 * gain


def rms_square(x: torch.Tensor, gain: torch.Tensor, eps: float) -> torch.Tensor:
    return (2 * x) * gain * torch.reciprocal((torch.square(2 * x).mean(-1, keepdim=True) + eps).sqrt())


def rms_unit(x: torch.Tensor, gain: torch.Tensor, eps: float) -> torch.Tensor:
    return F.normalize(x, dim=-1, eps=1e-30) * gain * x.shape[-1] ** 0.5


def rms_vector(x: torch.Tensor, gain: torch.Tensor, eps: float) -> torch.Tensor:
    return x / (torch.linalg.vector_norm(x, dim=-1, keepdim=True) * x.shape[-1] ** -0.5) * gain


FORMS = [rms_library, rms_rsqrt, rms_root, rms_sum]
FORMS_WITHOUT_EPSILON = [rms_unit, rms_vector]


def layer_library(x: torch.Tensor, gain: torch.Tensor, eps: float) -> torch.Tensor:
    return F.layer_norm(x, gain.shape, gain, None, eps)


def layer_written(x: torch.Tensor, gain: torch.Tensor, eps: float) -> torch.Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt(centred.pow(2).mean(-1, keepdim=True) + eps) * gain


def layer_variance(x: torch.Tensor, gain: torch.Tensor, eps: float) -> torch.Tensor:
    variance = x.var(-1, keepdim=True, unbiased=False)
    return gain * ((x - x.mean(-1, keepdim=True)) * torch.rsqrt(variance + eps))


def layer_both(x: torch.Tensor, gain: torch.Tensor, eps: float) -> torch.Tensor:
    variance, mean = torch.var_mean(x, -1, keepdim=True, correction=0)
    return (x - mean) / (variance + eps).sqrt() * gain


def layer_unbiased(x: torch.Tensor, gain: torch.Tensor, eps: float) -> torch.Tensor:
    return (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True) * gain


def mean_free(plan: Plan, teacher: Net, student: Net) -> Net:
    """The teacher with what is left out at zero and the others' mean subtracted, also copied to the student."""
    kept = next(list(item.indices[0]) for item in plan.copies if item.student == "stem.bias")
    with torch.no_grad():
        for tensor in (teacher.stem.weight, teacher.stem.bias):
            tensor[kept] -= tensor[kept].mean(0)
    made = planted(plan, teacher)
    ws.apply(plan, student, made)
    return made  # type: ignore[return-value]


def differ(one: nn.Module, other: nn.Module, x: torch.Tensor) -> float:
    """Largest difference of two outputs, relative to the largest output."""
    with torch.no_grad():
        a, b = one(x), other(x)
    return float((a - b).abs().max() / b.abs().max())


X = torch.randn(7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("form", [*FORMS, *FORMS_WITHOUT_EPSILON])
def test_rms_norms_are_exact_without_epsilon(file: Path, form: Form) -> None:
    plan, student, teacher = transferred(file, RULES, Net(S, form), Net(D, form), (7, 4))
    assert scales(plan) == {"gain": pytest.approx(ROOT, rel=1e-12)}
    assert differ(student, teacher, X) < 1e-9
    assert plan.notes == (
        "rescale: norm: gain is multiplied by 2 (3 of 12 elements): exact where the elements left out are zero",
    )


@pytest.mark.parametrize(
    ("form", "other"), [(rms_sum, rms_sum), *((one, other) for one in FORMS[:3] for other in FORMS[:3])]
)  # matching does not know a sum over a number as a mean
def test_rms_norms_are_exact_where_the_epsilon_fits(file: Path, form: Form, other: Form) -> None:
    """And between two ways to write one norm."""
    plan, student, teacher = transferred(file, RULES, Net(S, form, 0.5 * D / S), Net(D, other, 0.5), (7, 4))
    assert differ(student, teacher, X) < 1e-9
    assert "epsilon" not in plan.notes[0]


@pytest.mark.parametrize("form", FORMS)
def test_another_epsilon_is_off_by_no_more_than_the_note_says(file: Path, form: Form) -> None:
    eps = 1e-3
    plan, student, teacher = transferred(file, RULES, Net(S, form, eps), Net(D, form, eps), (7, 4))
    assert isinstance(student, Net)
    assert isinstance(teacher, Net)
    with torch.no_grad():
        stem = teacher.stem(X)
        ours, theirs = (m.form(m.stem(X), m.gain, m.eps) for m in (student, teacher))
        share = (ours / theirs[:, ::4] - 1).abs().amax(-1)
        bound = eps * (1 - S / D) / 2 / stem.pow(2).mean(-1)
    assert (share <= bound).all()
    assert (share > bound / 2).all()  # the bound is no idle one
    assert plan.notes == (
        "rescale: norm: gain is multiplied by 2 (3 of 12 elements): exact where the elements left out are zero and "
        "the student's epsilon is 0.004; it is 0.001, so that outputs are off by a share of up to 0.000375 over the "
        "mean square of the teacher's elements",
    )


def test_a_number_inside_the_square_counts(file: Path) -> None:
    plan, student, teacher = transferred(file, RULES, Net(S, rms_square, 0.5 * D / S), Net(D, rms_square, 0.5), (7, 4))
    assert differ(student, teacher, X) > 1e-3  # its gain comes before the division: not seen as a gain of a norm
    assert "has no gain of its own to multiply" in plan.notes[0] or "no norm whose scale is known" in plan.notes[0]


def test_without_it_the_output_is_off_by_the_factor(file: Path) -> None:
    """The check can fail, and the factor is not its inverse."""
    rule = "  - rescale: none"
    _, student, teacher = transferred(file, rule, Net(S, rms_rsqrt), Net(D, rms_rsqrt), (7, 4))
    assert differ(student, teacher, X) > 0.1
    assert isinstance(student, Net)
    with torch.no_grad():
        student.gain.mul_(ROOT)
    assert differ(student, teacher, X) < 1e-9


@pytest.mark.parametrize("form", [layer_library, layer_written, layer_variance, layer_both, layer_unbiased])
@pytest.mark.parametrize("eps", [0.0, 0.5])
def test_layer_norms_are_exact_where_what_is_left_out_equals_the_mean(file: Path, form: Form, eps: float) -> None:
    if form is layer_unbiased and eps:
        pytest.skip("has no epsilon")
    plan, student, teacher = transferred(file, RULES, Net(S, form, eps * D / S), Net(D, form, eps), (7, 4))
    assert isinstance(student, Net)
    assert isinstance(teacher, Net)
    factor = math.sqrt((D - 1) / (S - 1)) if form is layer_unbiased else ROOT
    assert scales(plan) == {"gain": pytest.approx(factor, rel=1e-12)}
    assert differ(student, mean_free(plan, teacher, student), X) < 1e-9
    assert "exact where the elements left out equal the mean of those that are kept" in plan.notes[0]


def test_a_shift_is_left_alone(file: Path) -> None:
    make = lambda width, eps: nn.Sequential(nn.Linear(4, width), nn.LayerNorm(width, eps), nn.Linear(width, 5))  # noqa: E731
    plan, *_ = transferred(file, RULES, make(S, 1e-5), make(D, 1e-5), (7, 4))
    assert scales(plan) == {"1.weight": pytest.approx(ROOT, rel=1e-12)}


@pytest.mark.parametrize(
    "norm",
    [
        pytest.param(lambda width: nn.BatchNorm2d(width), id="batch norm"),
        pytest.param(lambda width: nn.GroupNorm(width // 3, width), id="whole groups are kept"),
        pytest.param(lambda width: nn.GroupNorm(width, width), id="a channel each"),
        pytest.param(lambda width: nn.InstanceNorm2d(width, affine=True), id="instance norm"),
    ],
)
def test_norms_that_need_no_factor(file: Path, norm: Callable[[int], nn.Module]) -> None:
    make = lambda width: nn.Sequential(nn.Conv2d(2, width, 3), norm(width), nn.Conv2d(width, 3, 1))  # noqa: E731
    plan, student, teacher = transferred(file, RULES, make(6), make(12), (2, 2, 6, 6))
    assert (scales(plan), plan.notes) == ({}, ())
    assert differ(student, teacher, torch.randn(2, 2, 6, 6, dtype=torch.float64)) < 1e-9


def test_groups_that_lose_channels(file: Path) -> None:
    """Two groups of 6 become two of 3; a mean-free input makes them mean-free over channels and positions."""
    make = lambda width: nn.Sequential(nn.Conv2d(2, width, 1, bias=False), nn.GroupNorm(2, width, 0.0))  # noqa: E731
    plan, student, teacher = transferred(file, RULES, make(6), make(12), (2, 2, 4, 4))
    assert scales(plan) == {"1.weight": pytest.approx(math.sqrt(2), rel=1e-12)}
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64)
    x -= x.mean((2, 3), keepdim=True)
    kept = next(list(item.indices[0]) for item in plan.copies if item.student == "0.weight")
    with torch.no_grad():
        torch.testing.assert_close(student(x), teacher(x)[:, kept], rtol=1e-9, atol=1e-9)


def test_a_unit_length_needs_no_factor(file: Path) -> None:
    form = lambda x, gain, eps: F.normalize(x, dim=-1) * gain  # noqa: E731
    plan, student, teacher = transferred(file, RULES, Net(S, form), Net(D, form), (7, 4))
    assert scales(plan) == {}
    assert differ(student, teacher, X) < 1e-9


@pytest.mark.parametrize(
    ("form", "why"),
    [
        pytest.param(lambda x, g, e: F.layer_norm(x, g.shape) + 0 * g, "has no gain of its own to multiply", id="bare"),
        pytest.param(lambda x, g, e: rms_rsqrt(x, g + 1, e), "has no gain of its own to multiply", id="1 + gain"),
        pytest.param(
            lambda x, g, e: x / (x.std(-1, keepdim=True) + 1e-5) * g, "is no norm whose scale is known", id="std + eps"
        ),
        pytest.param(
            lambda x, g, e: x / (x.abs().mean(-1, keepdim=True)) * g, "is no norm whose scale is known", id="mean size"
        ),
    ],
)
def test_what_is_not_done_is_said(file: Path, form: Form, why: str) -> None:
    plan, *_ = transferred(file, RULES, Net(S, form), Net(D, form), (7, 4))
    assert scales(plan) == {}
    (note,) = plan.notes
    assert note.startswith("rescale: norm: ")
    assert note.endswith(f"{why}: left as it is")


def test_the_teachers_norm_must_be_known(file: Path) -> None:
    odd = lambda x, g, e: x / (x.std(-1, keepdim=True) + 1e-5) * g  # noqa: E731
    plan, *_ = transferred(file, RULES, Net(S, rms_rsqrt), Net(D, odd), (7, 4))
    assert scales(plan) == {}
    assert "gain is left as it is: the scale of the teacher's norm at gain is not known" in plan.notes[0]


class Stream(nn.Module):
    """Two blocks on a residual stream that is added to in place, with one norm for both or one each."""

    def __init__(self, width: int, *, shared: bool) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(4, width), nn.Linear(width, 5)
        self.up, self.down = (nn.ModuleList(nn.Linear(*sizes) for _ in range(2)) for sizes in ((width, 7), (7, width)))
        norm = nn.RMSNorm(width, 0.0)
        self.norms = nn.ModuleList(norm if shared else nn.RMSNorm(width, 0.0) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for norm, up, down in zip(self.norms, self.up, self.down, strict=True):
            x += down(up(norm(x)).relu_())
        return self.head(x)


@pytest.mark.parametrize("shared", [True, False])
def test_streams_that_are_added_to_in_place(file: Path, shared: bool) -> None:
    plan, student, teacher = transferred(file, RULES, Stream(S, shared=shared), Stream(D, shared=shared), (7, 4))
    assert all(math.isclose(factor, ROOT, rel_tol=1e-12) for factor in scales(plan).values())
    assert len(scales(plan)) == (1 if shared else 2)
    assert differ(student, teacher, X) < 1e-9


def test_a_gain_that_is_read_elsewhere_is_left_alone(file: Path) -> None:
    odd = lambda x, g, e: rms_rsqrt(x, g, e) + g  # noqa: E731
    plan, *_ = transferred(file, RULES, Net(S, odd), Net(D, odd), (7, 4))
    assert scales(plan) == {}
    assert plan.notes == ("rescale: norm: gain is left as it is: it is used in several places that are not alike",)


def test_rules_check_says_it(file: Path) -> None:
    file.write_text("version: 1\nelements:\n  - rescale: [norm, attention]\n")
    student, teacher = (ws.trace(Net(width, rms_rsqrt), (7, 4)) for width in (S, D))
    rules = ws.load_rules(file)
    checked = check_rules(student, teacher, rules, lambda: ws.plan(student, teacher, rules=rules))
    assert [rule.says for rule in checked.rules] == ["every group: rescale [norm, attention]"]


def test_kept_gains_are_noted(file: Path) -> None:
    file.write_text("version: 1\ncomponents:\n  - keep: gain\nelements:\n  - rescale: norm\n")
    plan = ws.plan(Net(S, rms_rsqrt), Net(D, rms_rsqrt), (7, 4), rules=file)
    assert scales(plan) == {}
    assert "is not filled from the teacher" in plan.notes[0]


def test_only_of_the_groups_that_a_rule_names(file: Path) -> None:
    def make(width: int) -> nn.Module:
        layers = nn.Linear(4, width), nn.RMSNorm(width), nn.Linear(width, width), nn.RMSNorm(width)
        return nn.Sequential(*layers)

    rule = '  - {where: {student: "0.*"}, rescale: norm}'
    plan, *_ = transferred(file, rule, make(S), make(D), (7, 4))
    assert set(scales(plan)) == {"1.weight"}


def test_a_larger_student_is_left_alone(file: Path) -> None:
    plan, *_ = transferred(file, "  - {rescale: norm, grow: tile}", Net(D, rms_rsqrt), Net(S, rms_rsqrt), (7, 4))
    assert (scales(plan), plan.notes) == ({}, ())


@pytest.mark.parametrize("name", ["default", "paper", "llm"])
def test_it_is_off_in_shipped_files(name: str) -> None:
    plan = ws.plan(Net(S, rms_rsqrt), Net(D, rms_rsqrt), (7, 4), rules=name)
    assert (scales(plan), plan.notes) == ({}, ())


def test_explain_says_it(file: Path) -> None:
    plan, *_ = transferred(file, RULES, Net(S, rms_rsqrt), Net(D, rms_rsqrt), (7, 4))
    assert plan.explain("gain").splitlines()[-1] == "  multiplied by 2"
