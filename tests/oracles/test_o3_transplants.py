"""O3: values carried from one implementation to another, with no hint, give equal outputs."""

from __future__ import annotations

import pytest

import wsel_graph as ws
from wsel_graph.coupling.verify import relative_error

from . import transplant_convnets, transplant_images, transplant_tokens
from .transplants import Transplant, Twin, build, carry, directed, run

TWINS = (*transplant_images.TWINS, *transplant_convnets.TWINS, *transplant_tokens.TWINS)
EQUAL = 1e-9
DIFFERENT = 1e-2
"""Two random networks differ at least this much, else the comparison could not fail."""


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: f"{twin.network}: {twin.second.by} to {twin.first.by}")
def test_both_compute_the_same(twin: Twin) -> None:
    """Without the engine: the two implementations are one architecture, so that a transplant can be asked for."""
    first, second, example = build(twin.first, 1), build(twin.second, 2), twin.example()
    expected = run(twin.second, second, example)
    assert relative_error(expected, run(twin.first, first, example)) > DIFFERENT
    carry(twin, first, second)
    assert relative_error(expected, run(twin.first, first, example)) < EQUAL


@pytest.mark.parametrize("pair", directed(TWINS), ids=lambda pair: pair.name)
def test_transplant(pair: Transplant) -> None:
    student, teacher, example = build(pair.student, 1), build(pair.teacher, 2), pair.example()
    expected = run(pair.teacher, teacher, example)
    assert relative_error(expected, run(pair.student, student, example)) > DIFFERENT
    result = ws.initialize(student, teacher, pair.student.inputs(example), teacher_inputs=pair.teacher.inputs(example))
    assert relative_error(expected, run(pair.student, student, example)) < EQUAL
    assert [kept for kept in result.plan.kept if kept.parameter and not kept.reason.startswith("not used")] == []
