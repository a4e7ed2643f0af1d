"""Damage plan files at random: they are read, or refused with a `PlanError`; what is read is applied, or refused too.

`python -m tests.plan.fuzz --minutes 5 --seed 1` runs by hand. Two kinds of damage: to the JSON tree (keys, values,
items) and to the bytes (flips, cuts, splices, tokens). Whatever is answered in a new way joins the corpus, as fuzzers
that are guided by coverage do it with branches.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import random
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

import wsel_graph as ws
from tests.nets import mlp
from wsel_graph.errors import PlanError, WselError
from wsel_graph.plan import Copy, Kept, LayerMap, Mix, Plan, diff_plans
from wsel_graph.plan.copies import Resize, View
from wsel_graph.plan.parts import Choice, Feature, Tap
from wsel_graph.plan.serial import load_plan, plan_document

LARGE = 100_000
"""Elements of tensors that a damaged plan is still applied to."""

SLOW = 5.0
"""Seconds of CPU time that one file may take."""

ODD: list[Any] = [
    None, True, False, 0, 1, -1, 2, 7, 1 << 31, 1 << 61, -(1 << 63), 1 << 64, 10**400, 0.0, -0.5, 1e308, 1e999, "", "a",
    "\x00", "\ud800", "é" * 40, "a:0", "a:99999999999999999999", "a:²", [], {}, [[]], [None], {"range": [0, 4, 1]},
    {"range": [0, 1 << 62, 1]}, {"range": [5, 0, -1]}, {"range": [0, 4, 0]}, {"range": None}, {"range": [-3, 3, 1]},
    {"runs": [[0, 3, 1], [8, 9, 1]]}, {"runs": [[0, 1 << 60, 1]]}, {"runs": []}, {"runs": [[0, 1, 0]]}, {"runs": 1},
    list(range(20)), [0] * 9, [0, 0], [1 << 61], [-1], [0.5], ["0"], {"": {}},
]  # fmt: skip

TOKENS = [
    b"{", b"}", b"[", b"]", b",", b":", b'"', b"null", b"true", b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"\\ud800",
    b"\xff", b"\x00", b'"range"', b'"runs"', b'"hash"', b'"plan"', b'"copies"', b'"also"', b"[" * 2000, b'{"a":' * 2000,
]  # fmt: skip


def seeds() -> list[dict[str, Any]]:
    """Documents in which every part of the format occurs."""
    plain = Copy("a", "t.a", (2, 3), (4, 6), (range(0, 4, 2), (0, 3, 5)), True)
    added = Copy("f", "t.g", (2, 3), (2, 3), (range(2), range(3)), True)
    copies = (
        plain,
        Copy("b", "t.b", (4, 2), (8,), ((0, 1, 2, 3, 5, 6, 7, 4),), True, None, View((2, 4), (1, 0))),
        Copy("c", "t.c", (9,), (5,), (range(5),), True, (range(0, 5),), scale=0.5),
        Copy("c", "t.c", (9,), (5,), (range(4),), True, (range(5, 9),)),
        Copy("d", "t.d", (2,), (4,), ((0, 1),), False, mix=(Mix(0, ((0, 1), (2,)), ((0.5, 0.5), (1.0,))),)),
        Copy("e", "t.e", (5,), (3,), (range(3),), True, resize=(Resize("linear", 0, (3,), (5,)),)),
        Copy("f", "t.a", (2, 3), (4, 6), plain.indices, True, also=(added,)),
    )
    tap = Tap("add", "blocks.0", (0, "x"), dims=(0, 1), size=16)
    whole = Plan(
        copies,
        (Kept("k", (2,), "wished", True),),
        (Choice("embed", "free", 4, 2, "uniform", ("a:0", "d:0")),),
        (LayerMap("blocks", 4, ((0, 1), (1, 3)), (0.5, None, 1.0, 2.0)),),
        ("a note",),
        ("a",),
        ("d",),
        (Feature("blocks", 0, 1, tap, tap, range(16)),),
    )
    long = tuple(range(0, 16)) + tuple(range(32, 48))
    heads = Plan((Copy("h", "t.h", (32,), (64,), (long,), True),), (), (), ())
    real = ws.plan(mlp(4), mlp(8), (1, 4))
    return [plan_document(plan) for plan in (whole, heads, real)]


# -- damage


def places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a JSON tree."""
    keys = list(data) if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else []
    for key in keys:
        yield data, key
        yield from places(data[key])


def damaged_tree(document: Any, draw: random.Random) -> Any:
    """A copy of a document with one to four changes."""
    made = copy.deepcopy(document)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        found = list(places(made))
        if not found:
            break
        holder, key = draw.choice(found)
        value = holder[key]
        kind = draw.randrange(9)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, list):
            holder.insert(draw.randrange(len(holder) + 1), copy.deepcopy(value))
        elif kind == 2 and isinstance(holder, dict):
            holder[str(key) + draw.choice("xs_")] = holder.pop(key)
        elif kind == 3:
            other, place = draw.choice(found)
            holder[key] = copy.deepcopy(other[place])
        elif kind == 4 and isinstance(value, int):
            holder[key] = value + draw.choice((-1, 1, 2, -value * 2, 1 << 40))
        elif kind == 5 and isinstance(value, list):
            draw.shuffle(value)
        elif kind == 6:
            holder[key] = [value]
        else:
            holder[key] = copy.deepcopy(draw.choice(ODD))
    if draw.random() < 0.9 and isinstance(made, dict):
        made.pop("hash", None)  # an edit that is meant
    return made


def damaged_bytes(data: bytes, other: bytes, draw: random.Random) -> bytes:
    """A file with one to four changes to its bytes."""
    made = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 4))):
        start = draw.randrange(len(made) + 1)
        stop = min(len(made), start + draw.choice((1, 2, 8, 64, 512)))
        kind = draw.randrange(6)
        if kind == 0 and start < len(made):
            made[start] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del made[start:stop]
        elif kind == 2:
            made[start:start] = made[start:stop] * draw.choice((1, 1, 50))
        elif kind == 3:
            made[start:start] = draw.choice(TOKENS)
        elif kind == 4:
            at = draw.randrange(len(other) + 1)
            made[start:stop] = other[at : at + (stop - start)]
        else:
            made[start:stop] = str(draw.choice((0, -1, 9, 1 << 61, 10**30))).encode()
    return bytes(made)


# -- what must hold


def check(file: Path) -> str:
    """Read a file and use what it gives; how it ended, with numbers and names left out.

    Raises:
        Exception: Anything that is not an error of this package.
    """
    try:
        plan = load_plan(file)
    except PlanError as error:
        return re.sub(r"'[^']*'|\"[^\"]*\"|-?\d+", "#", str(error).replace(str(file), ""))[:300]
    again = json.loads(json.dumps(plan_document(plan)))
    file.write_text(json.dumps(again))
    if repr(load_plan(file)) != repr(plan):
        raise ValueError("what was read and written again is another plan")
    if diff_plans(plan, plan):
        raise ValueError("a plan differs from itself")
    for each in plan.copies:
        plan.explain(each.student)
    str(diff_plans(plan, Plan((), (), (), ())))
    return f"read, {_applied(plan)}"


def _applied(plan: Plan) -> str:
    shapes = [{copy.student: copy.student_shape for copy in plan.copies}]
    shapes.append({part.teacher: part.teacher_shape for copy in plan.copies for part in copy.sources})
    if any(math.prod(shape) > LARGE for side in shapes for shape in side.values()):
        return "too large"
    student, teacher = ({name: torch.ones(shape) for name, shape in side.items()} for side in shapes)
    try:
        ws.apply(plan, student, teacher)
    except WselError as error:
        return type(error).__name__
    return "applied"


def fuzz(going: Callable[[], bool], seed: int, tell: Callable[[str], None] = print) -> tuple[int, int, list[bytes]]:
    """Damage files while `going()`.

    Returns:
        How many files were tried, how many different answers there were, and the files that crashed the reader.
    """
    draw = random.Random(seed)
    documents = seeds()
    corpus = [json.dumps(document).encode() for document in documents]
    answers: set[str] = set()
    crashes: list[bytes] = []
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plan.json"
        while going():
            count += 1
            if draw.random() < 0.6:
                document = damaged_tree(draw.choice(documents), draw)
                data = json.dumps(document).encode()
            else:
                document, data = None, damaged_bytes(draw.choice(corpus), draw.choice(corpus), draw)
            file.write_bytes(data)
            start = time.process_time()
            try:
                answer = check(file)
                if time.process_time() - start > SLOW:
                    raise TimeoutError(f"{time.process_time() - start:.1f} s")
            except Exception:
                crashes.append(data)
                tell(f"{data!r}\n{traceback.format_exc()}")
                continue
            if answer not in answers:
                answers.add(answer)
                if len(data) < 20_000:
                    corpus.append(data)
                    documents += [document] if isinstance(document, dict) else []
    return count, len(answers), crashes


def main() -> int:
    """Run for some minutes; exit code 1 when something crashed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    count, answers, crashes = fuzz(lambda: time.monotonic() < end, options.seed)
    print(f"seed {options.seed}: {count} files, {answers} different answers, {len(crashes)} crashes")
    return int(bool(crashes))


if __name__ == "__main__":
    sys.exit(main())
