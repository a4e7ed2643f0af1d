"""Plan files: what comes back equals what was written, and what is not a plan is refused with the place."""

from __future__ import annotations

import dataclasses
import json
import typing
from pathlib import Path
from typing import Literal, get_args

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

import wsel_graph as ws
from tests.nets import Transformer
from tests.plan.plans import sound_plans
from wsel_graph.errors import PlanError
from wsel_graph.plan import Choice, Copy, Kept, LayerMap, Plan
from wsel_graph.plan import copies as plan_copies
from wsel_graph.plan.codec import encode
from wsel_graph.plan.reading import decode
from wsel_graph.plan.serial import parse_plan, plan_document

NAMES = st.text(min_size=1, max_size=8)
SIZES = st.integers(1, 9)
INDICES = st.one_of(
    st.builds(range, st.integers(0, 9), st.integers(0, 40), st.sampled_from((1, 2, 7, -1))),
    st.lists(st.integers(0, 40), max_size=4).map(tuple),
)


KINDS = st.sampled_from(get_args(plan_copies.ResizeKind))


def tuples(items: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(items, max_size=3).map(tuple)


RESIZES = st.builds(plan_copies.Resize, KINDS, SIZES, tuples(SIZES), tuples(SIZES), SIZES, SIZES)


@st.composite
def mixes(draw: st.DrawFn) -> plan_copies.Mix:
    """Merged elements with a weight for each."""
    terms = st.lists(st.tuples(SIZES, st.sampled_from((1.0, 0.5, 1 / 3, -2.0))), min_size=1, max_size=3)
    groups = draw(st.lists(terms, max_size=3))
    indices = tuple(tuple(place for place, _ in own) for own in groups)
    return plan_copies.Mix(draw(SIZES), indices, tuple(tuple(weight for _, weight in own) for own in groups))


@st.composite
def copies(draw: st.DrawFn, deep: bool = True) -> Copy:
    """A copy with one index list per dim; nothing else about it need make sense."""
    dims = draw(st.integers(0, 4))
    shapes = st.tuples(*[SIZES] * dims)
    lists = draw(st.tuples(*[INDICES] * dims))
    return Copy(
        draw(NAMES), draw(NAMES), draw(shapes), draw(shapes), lists, draw(st.booleans()),
        region=draw(st.none() | st.tuples(*[INDICES] * dims)),
        view=draw(st.none() | st.builds(plan_copies.View, tuples(SIZES), tuples(SIZES))),
        resize=draw(tuples(RESIZES)),
        scale=draw(st.sampled_from((1.0, 0.5, 2**0.5))),
        mix=draw(tuples(mixes())), also=draw(tuples(copies(deep=False))) if deep else (),
    )  # fmt: skip


PLANS = st.builds(
    Plan,
    copies=tuples(copies()),
    kept=tuples(st.builds(Kept, NAMES, tuples(SIZES), NAMES, st.booleans())),
    choices=tuples(st.builds(Choice, NAMES, NAMES, SIZES, SIZES, NAMES, tuples(NAMES))),
    layers=tuples(st.builds(LayerMap, NAMES, SIZES, tuples(st.tuples(SIZES, SIZES)))),
)


def exactly(plan: Plan) -> str:
    """Every field as text: a range is told apart from an equal range of other bounds."""
    return repr(dataclasses.astuple(plan))


@given(PLANS)
def test_what_comes_back_is_what_was_written(plan: Plan) -> None:
    back = decode(Plan, json.loads(json.dumps(encode(plan, "plan"))), "plan")
    assert back == plan
    assert exactly(back) == exactly(plan)


@given(sound_plans())
def test_sound_plans_come_back_whole(plan: Plan) -> None:
    back = parse_plan(json.dumps(plan_document(plan)))
    assert repr(back) == repr(plan)


HINTS = typing.get_type_hints(Plan)
PARTS = [
    part
    for hint in HINTS.values()
    for part in (hint, *typing.get_args(hint))
    if dataclasses.is_dataclass(part)
]  # fmt: skip


def test_parts_are_all_that_a_plan_holds() -> None:
    plain = {name for name, hint in HINTS.items() if hint == tuple[str, ...]}
    assert len(PARTS) == len(HINTS) - len(plain)


@pytest.mark.parametrize("part", PARTS)
@settings(max_examples=10)
@given(data=st.data())
def test_every_field_that_the_classes_have_travels(part: type, data: st.DataObject) -> None:
    nested = {"also": tuples(copies())} if part is Copy else {}  # copies in copies: as deep as types allow is too deep
    value = data.draw(st.builds(part, **nested))
    try:
        written = encode(value, "plan")
    except PlanError:  # an infinity
        reject()
    back = decode(part, json.loads(json.dumps(written)), "plan")
    assert repr(dataclasses.astuple(back)) == repr(dataclasses.astuple(value))


def test_a_real_plan_through_a_file(tmp_path: Path) -> None:
    student, teacher = Transformer(8, 2, 4, depth=2, labels=3), Transformer(16, 4, 4, depth=4, labels=9)
    plan = ws.plan(student, teacher, (2, 5, 7), method="random")
    plan.save(tmp_path / "a.plan.json")
    assert ws.load_plan(tmp_path / "a.plan.json") == plan
    assert ws.load_plan(tmp_path / "a.plan.json").provenance == plan.provenance
    assert [file.name for file in tmp_path.iterdir()] == ["a.plan.json"]
    ws.apply(ws.load_plan(tmp_path / "a.plan.json"), student, teacher)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    Plan((), (), (), ()).save(file)
    before = file.read_text()
    broken = Plan((), (Kept("a", (2,), object(), True),), (), ())  # type: ignore[arg-type]
    with pytest.raises(PlanError, match=r"plan\.kept\[0\]\.reason is a object, which a plan file cannot hold"):
        broken.save(file)
    assert file.read_text() == before


# -- fields that classes may get: the codec follows the type hints


@dataclasses.dataclass(frozen=True)
class View:
    shape: tuple[int, ...]
    order: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Resize:
    dim: int
    mode: Literal["linear", "nearest"]


@dataclasses.dataclass(frozen=True)
class Rich:
    name: str
    region: tuple[range | tuple[int, ...], ...] | None = None
    view: View | None = None
    resize: tuple[Resize, ...] = ()
    scale: float = 1.0
    part: View | Resize | str | None = None
    sizes: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        pytest.param(Rich("a"), {"name": "a", "sizes": {}}, id="defaults"),
        pytest.param(
            Rich("a", region=(range(3), (0, 2))),
            {"name": "a", "region": [{"range": [0, 3, 1]}, [0, 2]], "sizes": {}},
            id="region",
        ),
        pytest.param(
            Rich("a", view=View((2, 3), (1, 0)), scale=0.5, sizes={"b": (1, 2)}),
            {"name": "a", "view": {"shape": [2, 3], "order": [1, 0]}, "scale": 0.5, "sizes": {"b": [1, 2]}},
            id="nested",
        ),
        pytest.param(
            Rich("a", resize=(Resize(0, "linear"),), part=Resize(1, "nearest")),
            {
                "name": "a",
                "resize": [{"dim": 0, "mode": "linear"}],
                "part": {"dim": 1, "mode": "nearest"},
                "sizes": {},
            },
            id="one of two classes",
        ),
        pytest.param(Rich("a", part="b"), {"name": "a", "part": "b", "sizes": {}}, id="string"),
    ],
)
def test_other_dataclasses(value: Rich, written: object) -> None:
    assert encode(value, "x") == written
    assert decode(Rich, json.loads(json.dumps(written)), "x") == value


def test_an_integer_is_a_number_but_true_is_no_integer() -> None:
    assert decode(float, 2, "x") == 2.0
    with pytest.raises(PlanError, match="x: expected an integer, found true"):
        decode(int, True, "x")


# -- refusals

COPY = {
    "student": "a", "teacher": "b", "student_shape": [2], "teacher_shape": [4],
    "indices": [{"range": [0, 4, 2]}], "parameter": True,
}  # fmt: skip


def document(**changes: object) -> dict[str, object]:
    inner = {"copies": [{**COPY, **changes}], "kept": [], "choices": [], "layers": []}
    return {"format": "wsel-plan", "version": 1, "plan": inner}


def test_the_document_of_the_refusals_is_accepted() -> None:
    assert parse_plan(json.dumps(document())).copies[0].indices == (range(0, 4, 2),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("", r"p\.json is not complete JSON, line 1 column 1.*write the plan again", id="empty"),
        pytest.param(json.dumps(document())[:-20], r"p\.json is not complete JSON.*cut off", id="truncated"),
        pytest.param("[]", r'p\.json is not a plan: it does not start with "format": "wsel-plan"', id="array"),
        pytest.param('{"format": "x"}', r"p\.json is not a plan", id="other format"),
        pytest.param('{"a": 1, "a": 2}', r"p\.json is not a plan: the key 'a' stands twice", id="repeated key"),
        pytest.param('{"a": NaN}', r"p\.json is not a plan: NaN is no JSON number", id="not a number"),
        pytest.param(
            json.dumps({**document(), "version": 3}),
            r"p\.json is a plan of version 3, this wsel_graph reads versions 1 and 2: make the plan again",
            id="version",
        ),
        pytest.param(json.dumps({**document(), "version": True}), r"of version True", id="version of another type"),
        pytest.param(json.dumps({**document(), "more": 1}), r"'more' is no field of a Provenance", id="header key"),
        pytest.param(
            json.dumps(document(studnet="c")),
            r"p\.json: line 1, plan\.copies\[0\]: 'studnet' is no field of a Copy; did you mean 'student'\?",
            id="key",
        ),
        pytest.param(
            json.dumps(document(indices=[{"range": [0, 4]}])),
            r'plan\.copies\[0\]\.indices\[0\]: expected {"range": \[start, stop, step\]}, found {"range": \[0, 4\]}',
            id="short range",
        ),
        pytest.param(json.dumps(document(indices=[{"range": [0, 4, 0]}])), r"expected {\"range\"", id="no step"),
        pytest.param(
            json.dumps(document(indices=["0:4"])),
            r'indices\[0\]: expected {"range": \[start, stop, step\]} or an array, found "0:4"',
            id="no indices",
        ),
        pytest.param(
            json.dumps(document(indices=[[0, 1.5]])), r"indices\[0\]\[1\]: expected an integer, found 1\.5", id="float"
        ),
        pytest.param(json.dumps(document(parameter=1)), r"parameter: expected true or false, found 1", id="flag"),
        pytest.param(
            json.dumps(document(indices=[])),
            r"plan\.copies\[0\]: a: 0 index lists for a teacher tensor of 1 dims, \[4\]",
            id="no lists",
        ),
        pytest.param(
            json.dumps({**document(), "plan": {"copies": []}}),
            r"plan: a Plan needs 'kept', 'choices', 'layers', which the file lacks",
            id="missing keys",
        ),
    ],
)
def test_refused(text: str, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        parse_plan(text, "p.json")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"the plan .*none\.json cannot be read: No such file"):
        ws.load_plan(tmp_path / "none.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PlanError, match=r"binary\.json is not a plan: it is no UTF-8 text"):
        ws.load_plan(tmp_path / "binary.json")


@pytest.mark.parametrize(
    ("mix", "fault"),
    [
        pytest.param('{"dim": 0, "indices": [[0, 1]], "weights": [[0.5]]}', "needs one weight for every", id="lengths"),
        pytest.param('{"dim": 0, "indices": [[]], "weights": [[]]}', "and an element at least in each", id="empty"),
        pytest.param('{"dim": 0, "indices": [[0]], "weights": [[NaN]]}', "NaN is no JSON number", id="nan"),
        pytest.param(
            '{"dim": 0, "indices": [[0]], "weights": [["1"]]}', 'weights[0][0]: expected a number, found "1"', id="type"
        ),
        pytest.param('{"dim": 0, "indices": [[0]]}', "a Mix needs 'weights', which the file lacks", id="missing"),
        pytest.param(
            '{"dims": 0, "indices": [[0]], "weights": [[1]]}', "'dims' is no field of a Mix; did you mean", id="key"
        ),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_faults_of_merges(mix: str, fault: str, nested: bool) -> None:
    shapes = '"student_shape": [1], "teacher_shape": [2], "indices": [[0]]'
    plain = f'"student": "a", "teacher": "b", {shapes}, "parameter": true'
    inner = f'{{{plain}, "mix": [{mix}]}}'
    copy = f'{{{plain}, "also": [{inner}]}}' if nested else inner
    plan = f'{{"copies": [{copy}], "kept": [], "choices": [], "layers": []}}'
    text = f'{{"format": "wsel-plan", "version": 1, "plan": {plan}}}'
    with pytest.raises(PlanError) as caught:
        parse_plan(text, "a.json")
    assert fault in str(caught.value)
    assert "a.json" in str(caught.value)


def test_a_plan_of_before_merges_is_read() -> None:
    """Written by hand in the form of the first version."""
    copy = (
        '{"student": "a", "teacher": "b", "student_shape": [1], "teacher_shape": [2], '
        '"indices": [{"range": [0, 1, 1]}], "parameter": true, "scale": 0.5}'
    )
    layer = '{"stage": "blocks", "teacher_depth": 3, "pairs": [[0, 0], [1, 2]]}'
    plan = f'{{"copies": [{copy}], "kept": [], "choices": [], "layers": [{layer}]}}'
    read = parse_plan(f'{{"format": "wsel-plan", "version": 1, "plan": {plan}}}')
    assert (read.copies[0].mix, read.copies[0].also, read.copies[0].scale) == ((), (), 0.5)
    assert read.layers[0].blocks == ((0, (0,)), (1, (2,)))
