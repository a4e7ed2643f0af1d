"""Plan files are read strictly: every fault at once, with its line, and an edit is noticed."""

from __future__ import annotations

import json
import time
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wsel_graph as ws
from tests.nets import Transformer, mlp
from wsel_graph.errors import PlanError
from wsel_graph.plan import Copy, Kept, Plan
from wsel_graph.plan.faults import plan_faults
from wsel_graph.plan.lines import lines_of
from wsel_graph.plan.runs import as_runs, from_runs, meet, runs_of
from wsel_graph.plan.serial import parse_plan, plan_document

COPY = {
    "student": "a", "teacher": "b", "student_shape": [2], "teacher_shape": [4],
    "indices": [{"range": [0, 4, 2]}], "parameter": True,
}  # fmt: skip
KEPT = {"student": "k", "shape": [3], "reason": "wished", "parameter": True}


def text_of(copies: list[Any] = [COPY], kept: list[Any] = [KEPT], **more: Any) -> str:  # noqa: B006
    """A file of version 1, one item a line from line 4."""
    rows = ",\n".join(json.dumps(item) for item in copies)
    rest = {"kept": kept, "choices": [], "layers": [], **more}
    return (
        '{"format": "wsel-plan", "version": 1,\n"plan": {\n"copies": [\n' + rows + "\n],\n" + json.dumps(rest)[1:] + "}"
    )


def refusal(text: str) -> str:
    with pytest.raises(PlanError) as caught:
        parse_plan(text, "p.json")
    return str(caught.value)


def test_every_fault_is_listed_with_its_line() -> None:
    said = refusal(
        text_of(
            [
                COPY,
                {**COPY, "student": "c", "indices": [[0, 4]]},
                {**COPY, "studnet": "d", "scale": "1"},
                {**COPY, "student": "e", "teacher_shape": [5, 2]},
                {**COPY, "student": "f", "student_shape": [3]},
            ],
            [KEPT, {**KEPT, "student": "a"}, {"student": "z"}],
            compensate=["nobody"],
        )
    )
    assert said.splitlines() == [
        "p.json has 9 faults:",
        "  - line 5, plan.copies[1]: c dim 0: elements outside the teacher's 0..3",
        "  - line 6, plan.copies[2]: 'studnet' is no field of a Copy; did you mean 'student'?",
        '  - line 6, plan.copies[2].scale: expected a number, found "1"',
        "  - line 7, plan.copies[3]: e: 1 index lists for a teacher tensor of 2 dims, [5, 2]",
        "  - line 7, plan.copies[3]: teacher b is [5, 2] here and [4] before",
        "  - line 8, plan.copies[4]: f dim 0: 2 elements for a size of 3",
        "  - line 10, plan.kept[2]: a Kept needs 'shape', 'reason', 'parameter', which the file lacks",
        "  - line 10, plan.kept[1]: a is kept, and a copy fills it",
        "  - line 10, plan.compensate[0]: no copy fills nobody",
    ]


@pytest.mark.parametrize(
    ("copies", "kept", "said"),
    [
        pytest.param(
            [COPY, COPY], [], "plan.copies[1]: fills elements of a that the copy from b fills too", id="twice"
        ),
        pytest.param(
            [{**COPY, "student_shape": [4], "region": [[0, 2]]}, {**COPY, "student_shape": [4], "region": [[3, 2]]}],
            [],
            "plan.copies[1]: fills elements of a that the copy from b fills too",
            id="regions meet",
        ),
        pytest.param(
            [{**COPY, "student_shape": [4], "region": [[1, 1]]}],
            [],
            "the region of a, dim 0: an element stands there twice",
            id="an element twice",
        ),
        pytest.param(
            [{**COPY, "student_shape": [4], "region": [[0, 4]]}],
            [],
            "the region of a, dim 0: elements outside the student's 0..3",
            id="outside the student",
        ),
        pytest.param(
            [{**COPY, "region": [[0], [1]]}],
            [],
            "a: 2 index lists in the region of a student tensor of 1 dims, [2]",
            id="region of other dims",
        ),
        pytest.param(
            [{**COPY, "view": {"shape": [2], "order": [1]}}], [], "[1] is no order of the dims of [2]", id="order"
        ),
        pytest.param([{**COPY, "student_shape": [2, 1]}], [], "a block of 1 dims for 2 dims", id="dims"),
        pytest.param([{**COPY, "indices": [[-1, 0]]}], [], "elements outside the teacher's 0..3", id="negative"),
        pytest.param([{**COPY, "student_shape": [-2]}], [], "a size below 0: student [-2], teacher [4]", id="size"),
        pytest.param(
            [COPY, {**COPY, "student": "c", "teacher_shape": [5]}],
            [],
            "plan.copies[1]: teacher b is [5] here and [4] before",
            id="two shapes",
        ),
        pytest.param([COPY], [{**KEPT, "student": "a"}], "plan.kept[0]: a is kept, and a copy fills it", id="kept too"),
        pytest.param(
            [{**COPY, "indices": [{"runs": [[0, 1]]}]}], [], 'expected {"runs": [[start, stop, step], ...]}', id="run"
        ),
        pytest.param(
            [{**COPY, "indices": [{"runs": [[0, 1 << 60, 1]]}]}],
            [],
            "runs of more than 16,777,216 elements",
            id="long run",
        ),
        pytest.param([{**COPY, "indices": [[0, 1 << 70]]}], [], "the number is too large", id="large"),
        pytest.param(
            [{**COPY, "also": [{**COPY, "also": [COPY]}]}], [], "does not go to the same place", id="sums of sums"
        ),
    ],
)
def test_what_contradicts_itself_is_refused(copies: list[Any], kept: list[Any], said: str) -> None:
    assert said in refusal(text_of(copies, kept))


def test_regions_that_do_not_meet_are_accepted() -> None:
    halves = [
        {**COPY, "student_shape": [4], "region": [{"range": [0, 4, 2]}]},
        {**COPY, "student_shape": [4], "region": [{"range": [1, 4, 2]}]},
    ]
    assert len(parse_plan(text_of(halves)).copies) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(
            {
                "choices": [
                    {
                        "role": "r",
                        "status": "free",
                        "teacher_size": 4,
                        "student_size": 2,
                        "method": "m",
                        "members": ["a:0", "q:0"],
                    }
                ]
            },
            "plan.choices[0]: q:0 is a place of a tensor that is neither filled nor kept",
            id="member",
        ),
        pytest.param(
            {
                "choices": [
                    {
                        "role": "r",
                        "status": "free",
                        "teacher_size": 4,
                        "student_size": 2,
                        "method": "m",
                        "members": ["a:7"],
                    }
                ]
            },
            "a:7: a [2] has no dim 7",
            id="dim",
        ),
        pytest.param(
            {"layers": [{"stage": "s", "teacher_depth": 2, "pairs": [[0, 2]]}]},
            "plan.layers[0]: s: [0, 2] is no (student block, teacher block) of 2 blocks",
            id="block",
        ),
    ],
)
def test_what_points_nowhere_is_refused(change: dict[str, Any], said: str) -> None:
    copies = ",\n".join(json.dumps(item) for item in [COPY])
    rest = {"kept": [KEPT], "choices": [], "layers": [], **change}
    text = '{"format": "wsel-plan", "version": 2, "plan": {"copies": [' + copies + "], " + json.dumps(rest)[1:] + "}"
    assert said in refusal(text)


def test_elements_that_are_taken_twice() -> None:
    """Tokens may share a row, and tiles repeat; elements that are picked do not."""
    choice = {"role": "r", "status": "free", "teacher_size": 4, "student_size": 2, "members": ["a:0"]}
    twice = json.dumps({**COPY, "indices": [[3, 3]]})
    text = (
        '{"format": "wsel-plan", "version": 2, "plan": {"copies": ['
        + twice
        + '], "kept": [], "layers": [], "choices": ['
    )
    said = refusal(text + json.dumps({**choice, "method": "uniform"}) + "]}}")
    assert said == "p.json: line 1, plan.copies[0]: a dim 0: a teacher element is taken twice, by uniform"
    assert parse_plan(text + json.dumps({**choice, "method": "tokens"}) + "]}}").copies[0].indices == ((3, 3),)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[" * 100_000, id="nested"),
        pytest.param(
            '{"format": "wsel-plan", "version": 2, "plan": ' + '{"copies":' * 900 + "1" + "}" * 901, id="nested keys"
        ),
        pytest.param('{"format": "wsel-plan", "version": 2, "n": ' + "9" * 5000 + ', "plan": {}}', id="digits"),
        pytest.param('{"format": "wsel-plan", "version": 2, "plan": {"notes": ["\\ud800"]}}', id="surrogate"),
        pytest.param(text_of([{**COPY, "scale": 7}]).replace('"scale": 7', '"scale": 1e999'), id="infinite"),
        pytest.param('{"format": "wsel-plan", "version": 2, "provenance": 1}', id="no plan"),
        pytest.param('{"format": "wsel-plan", "version": 2, "plan": 3}', id="plan of another kind"),
        pytest.param('{"format": "wsel-plan", "version": 2, "plan": {"provenance": null}}', id="header inside"),
    ],
)
def test_odd_texts_are_refused_not_crashed_on(text: str) -> None:
    assert refusal(text).startswith("p.json")


def test_sums_nested_deeply_are_refused() -> None:
    inner: Any = COPY
    for _ in range(200):
        inner = {**COPY, "also": [inner]}
    assert "p.json" in refusal(text_of([inner]))


# -- the hash


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    student, teacher = Transformer(8, 2, 4), Transformer(16, 4, 4)
    ws.plan(student, teacher, (2, 5, 7)).save(tmp_path / "p.json")
    return tmp_path / "p.json"


def test_an_edit_is_noticed_and_can_be_meant(saved: Path) -> None:
    text = saved.read_text()
    edited = text.replace('{"range": [0, 16, 2]}', '{"range": [1, 17, 2]}')
    assert edited != text
    saved.write_text(edited)
    with pytest.raises(PlanError) as caught:
        ws.load_plan(saved)
    assert "was changed after it was written: its hash is sha256:" in str(caught.value)
    assert 'remove the line that starts with "hash", and the file is read as it is' in str(caught.value)
    lines = [line for line in edited.splitlines() if not line.strip().startswith('"hash"')]
    saved.write_text("\n".join(lines))
    assert ws.load_plan(saved).copies[0].indices[0] == range(1, 17, 2)


def test_white_space_is_no_edit(saved: Path) -> None:
    plan = ws.load_plan(saved)
    saved.write_text(json.dumps(json.loads(saved.read_text()), indent=4))
    assert ws.load_plan(saved) == plan


def test_the_header_is_under_the_hash_too(saved: Path) -> None:
    saved.write_text(saved.read_text().replace('"source": "default"', '"source": "other"'))
    with pytest.raises(PlanError, match="was changed after it was written"):
        ws.load_plan(saved)


def test_the_header_says_what_made_the_plan(saved: Path) -> None:
    header = json.loads(saved.read_text())
    assert list(header) == ["format", "version", "wsel_graph", "student", "teacher", "rules", "hash", "plan"]
    assert header["student"]["model"] == "Transformer"
    assert header["rules"]["source"] == "default"


def test_the_hash_tells_rules_models_and_dtypes_apart() -> None:
    """Inputs of another length are no other model; another width, dtype or rule is."""

    def header(width: int = 8, length: int = 5, **options: Any) -> Any:
        student, teacher = Transformer(width, 2, 4), Transformer(16, 4, 4)
        return ws.plan(student, teacher, (2, length, 7), **options).provenance

    plain = header()
    assert header(length=6) == plain
    assert header(width=4).student.parameters != plain.student.parameters
    assert header(width=4).teacher == plain.teacher
    assert header(rules="consecutive").rules.digest != plain.rules.digest
    assert header(rules="consecutive").student == plain.student
    assert header(method="random", seed=3).rules.options == {"method": "random", "seed": "3"}
    half = ws.plan(mlp(4).half(), mlp(8), (1, 4)).provenance
    full = ws.plan(mlp(4), mlp(8), (1, 4)).provenance
    assert half is not None
    assert full is not None
    assert half.student.parameters == full.student.parameters
    assert half.student.graph != full.student.graph


def test_a_plan_that_lost_a_line_is_refused(saved: Path) -> None:
    lines = saved.read_text().splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if '"student": "stem.bias"' in line)
    saved.write_text("".join(lines[:first] + lines[first + 1 :]))
    with pytest.raises(PlanError):
        ws.load_plan(saved)


# -- models that the plan was not made for


def test_a_deeper_student_is_refused() -> None:
    student, teacher = Transformer(8, 2, 4, depth=2), Transformer(16, 4, 4, depth=4)
    plan = ws.plan(student, teacher, (2, 5, 7))
    deeper = Transformer(8, 2, 4, depth=3)
    before = {name: tensor.clone() for name, tensor in deeper.state_dict().items()}
    with pytest.raises(PlanError) as caught:
        ws.apply(plan, deeper, teacher)
    assert str(caught.value).startswith("the plan was made for another student: what it names fits, but")
    assert "Parameters that the plan does not name: blocks.2.norm1.weight, blocks.2.norm1.bias, " in str(caught.value)
    assert all(before[name].equal(tensor) for name, tensor in deeper.state_dict().items())
    with pytest.raises(PlanError, match="the plan was made for another teacher"):
        ws.apply(plan, student, Transformer(16, 4, 4, depth=5))
    ws.apply(
        plan, student, Transformer(16, 4, 4, depth=5).state_dict()
    )  # may hold more than the model that was planned


# -- runs


@given(st.lists(st.integers(-50, 200), max_size=60).map(tuple))
def test_runs_stand_for_their_list(items: tuple[int, ...]) -> None:
    assert tuple(item for run in runs_of(items) for item in run) == items


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(8, 20), st.integers(1, 3)), min_size=1, max_size=4))
def test_regular_pieces_are_written_as_runs(parts: list[tuple[int, int, int]]) -> None:
    items = tuple(100 * at + start + step * k for at, (start, count, step) in enumerate(parts) for k in range(count))
    runs = as_runs(items) if len(items) > 11 else None
    if runs is not None:
        assert from_runs(runs) == items


RANGES = st.builds(range, st.integers(-9, 30), st.integers(-9, 60), st.sampled_from((1, 2, 3, 4, 6, 9, -1, -2, -6)))


@given(RANGES | st.lists(st.integers(0, 40), max_size=5).map(tuple), RANGES)
def test_lists_that_meet(first: range | tuple[int, ...], second: range) -> None:
    assert meet(first, second) is meet(second, first) is bool(set(first) & set(second))


def test_whole_heads_are_a_few_numbers(tmp_path: Path) -> None:
    heads = tuple(128 * head + channel for head in (0, 3, 5) for channel in range(128))
    plan = Plan((Copy("a", "b", (384,), (1024,), (heads,), True),), (), (), ())
    assert plan_document(plan)["plan"]["copies"][0]["indices"] == [
        {"runs": [[0, 128, 1], [384, 512, 1], [640, 768, 1]]}
    ]
    plan.save(tmp_path / "p.json")
    assert ws.load_plan(tmp_path / "p.json") == plan


def test_lines() -> None:
    text = '{"plan": {"copies": [{"a": [1, 2]},\n {"b": "x\\"]"},\n\n3], "kept":\n []}, "z": 1}'
    places = {
        "plan": 1,
        "plan.copies": 1,
        "plan.copies[0": 1,
        "plan.copies[1": 2,
        "plan.copies[2": 4,
        "plan.kept": 5,
        "z": 5,
    }
    assert lines_of(text) == places


# -- size


def test_a_plan_of_a_very_large_model_loads_fast(tmp_path: Path) -> None:
    """126 blocks 16,384 wide: heads whole, and a hidden size that does not divide."""
    heads = tuple(128 * head + channel for head in range(0, 128, 4) for channel in range(128))
    odd = tuple(round(place * 53247 / 13000) for place in range(13001))[:13000]
    wide, few = range(0, 16384, 4), tuple(128 * head + channel for head in (0, 3) for channel in range(128))
    forms = [("q", heads, wide), ("k", few, wide), ("v", few, wide), ("o", wide, heads)]
    forms += [("gate", odd, wide), ("up", odd, wide), ("down", wide, odd)]
    copies = tuple(
        Copy(f"{n}.{name}", f"{n}.{name}", (len(rows), len(columns)), (53248, 53248), (rows, columns), True)
        for n, (name, rows, columns) in product(range(126), forms)
    )
    Plan(copies, (), (), ()).save(tmp_path / "p.json")
    start = time.process_time()
    plan = ws.load_plan(tmp_path / "p.json")
    assert time.process_time() - start < 10  # 378 lists of 13,000 are written out: 1.6 s where nothing else runs
    assert plan.copies == copies


def test_faults_of_a_plan_in_memory() -> None:
    copy = Copy("a", "b", (2,), (4,), (range(0, 4, 2),), True)
    plan = Plan((copy, copy), (Kept("a", (2,), "wished", True),), (), ())
    assert list(plan_faults(plan)) == [
        (("copies", 1), "fills elements of a that the copy from b fills too"),
        (("kept", 0), "a is kept, and a copy fills it"),
    ]
