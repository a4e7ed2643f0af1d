"""Plans in which everything fits, drawn at random: what a file may say."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from wsel_graph.plan import Architecture, Choice, Copy, Feature, Kept, LayerMap, Mix, Plan, Provenance, RulesUsed, Tap
from wsel_graph.plan.copies import Indices, Resize, View, compact

NAMES = ("a.weight", "a.bias", "b.0.weight", "é", "c")


@st.composite
def elements(draw: st.DrawFn, count: int, size: int) -> Indices:
    """`count` elements of `size`, each once: a range where they are regular."""
    if draw(st.booleans()):
        start = draw(st.integers(0, size - count))
        return range(start, start + count)
    return compact(draw(st.permutations(range(size)))[:count])


@st.composite
def sound_copies(draw: st.DrawFn, name: str) -> Copy:
    """One copy that fits its tensors: plain, merged, resampled, laid out anew, scaled, or with others added."""
    teacher = tuple(draw(st.lists(st.integers(1, 40), min_size=1, max_size=3)))
    taken = tuple(draw(st.integers(1, size)) for size in teacher)
    lists = tuple(draw(elements(count, size)) for count, size in zip(taken, teacher, strict=True))
    student, view, mix, resize = taken, None, (), ()
    kind = draw(st.sampled_from(("plain", "view", "mix", "resize")))
    if kind == "view":
        order = tuple(draw(st.permutations(range(len(taken)))))
        student, view = tuple(taken[dim] for dim in order), View(taken, order)
    if kind == "mix":
        groups = tuple((item, *draw(st.lists(st.integers(0, teacher[0] - 1), max_size=2))) for item in lists[0])
        mix = (Mix(0, groups, tuple((1 / len(own),) * len(own) for own in groups)),)
    if kind == "resize":
        student = (draw(st.integers(1, 9)), *taken[1:])
        resize = (Resize("linear", 0, (taken[0],), (student[0],)),)
    region, shape = None, student
    if draw(st.booleans()):
        shape = tuple(size + draw(st.integers(0, 9)) for size in student)
        region = tuple(draw(elements(count, size)) for count, size in zip(student, shape, strict=True))
    scale = draw(st.sampled_from((1.0, 0.5, 1 / 3)))
    made = Copy(name, f"t.{name}", shape, teacher, lists, True, region, view, resize, scale, mix)
    return made if draw(st.booleans()) else Copy(**{**_fields(made), "also": (made,)})


def _fields(copy: Copy) -> dict[str, object]:
    return {name: getattr(copy, name) for name in copy.__slots__}


@st.composite
def sound_plans(draw: st.DrawFn) -> Plan:
    """A plan that `parse_plan` reads."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=len(NAMES)))
    filled = names[: draw(st.integers(0, len(names)))]
    copies = tuple(draw(sound_copies(name)) for name in filled)
    kept = tuple(Kept(name, (2, 3), "wished", draw(st.booleans())) for name in names[len(filled) :])
    members = tuple(f"{copy.student}:0" for copy in copies)
    choices = (Choice("embed", "free", 8, 4, "uniform", members),) if draw(st.booleans()) else ()
    layers = (LayerMap("blocks", 4, ((0, 1), (1, 3))),) if draw(st.booleans()) else ()
    tap = Tap("add_1", "blocks.0", (0, "x"), dims=(0, 1), size=16)
    features = (Feature("blocks", 0, 1, tap, tap, range(16)),) if draw(st.booleans()) else ()
    side = Architecture("Net", "sha256:0", "sha256:1")
    header = Provenance("0.1.0", side, side, RulesUsed("default", "sha256:2", {"seed": "1"}))
    return Plan(
        copies, kept, choices, layers, notes=("a note",) * draw(st.integers(0, 2)), compensate=tuple(filled[:1]),
        features=features, provenance=draw(st.sampled_from((None, header))),
    )  # fmt: skip


def elements_of(copy: Copy) -> int:
    """How many student elements a copy fills."""
    return math.prod(copy.target_shape)
