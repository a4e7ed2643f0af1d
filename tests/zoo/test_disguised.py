"""O1 in disguise: third-party networks under meaningless names are filled tensor by tensor, or refused.

python -m tests.zoo.test_disguised [substring ...]    # every family, by hand; prints what is not right
"""

from __future__ import annotations

import sys
import warnings

import pytest
import torch

import wsel_graph as ws
from tests.scrambled import flat

from .catalog import Entry, entries

TABLES = "nothing that certainly corresponds"
"""Tables of one shape, looked up by numbers that the model computes from its input: nothing tells them apart."""

REFUSED = {
    "transformers/altclip": TABLES,
    "transformers/bridgetower": TABLES,
    "transformers/dbrx": "only 84 of the 112 elements of its dim 0 take part",  # no example reaches its last expert
    "transformers/layoutlm": TABLES,
    "transformers/roberta": TABLES,
    "transformers/visual_bert": TABLES,
    "transformers/xlm_roberta": TABLES,
    "transformers/vit_mae": "take part in one computed weight in the same way",  # a token and its position, added up
}
"""With the reason."""

SAMPLE = [entry for entry in entries() if entry.library == "transformers"]


def wrong_tensors(entry: Entry) -> list[str]:
    """Student tensors that did not receive the values of the tensor they are copies of."""
    teacher, inputs = entry.build()
    disguise = flat(teacher, 1)
    student = disguise.model
    plan = ws.plan(student, teacher, inputs)  # with the teacher's values: routers choose experts by value
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1)
    ws.apply(plan, student, teacher)
    own = dict(student.named_parameters(remove_duplicate=False))
    given = dict(teacher.named_parameters(remove_duplicate=False))
    filled = {copy.student for copy in plan.copies if copy.parameter}
    unused = {kept.student for kept in plan.kept if kept.reason.startswith("not used")}
    pairs = [(name, disguise.original[name]) for name in own if name in disguise.original]
    wrong = [
        f"{name} ({other})" for name, other in pairs if name in filled and not torch.equal(own[name], given[other])
    ]
    return wrong + [kept.student for kept in plan.kept if kept.parameter and kept.student not in unused]


@pytest.mark.filterwarnings("ignore:To copy construct from a tensor")  # the model's own
@pytest.mark.parametrize("entry", SAMPLE, ids=lambda entry: entry.id)
def test_names_are_not_needed(entry: Entry) -> None:
    if entry.id in REFUSED:
        with pytest.raises(ws.WselError, match=REFUSED[entry.id]):
            wrong_tensors(entry)
    else:
        assert wrong_tensors(entry) == []


def main(parts: list[str]) -> None:
    """One model of every family: print those that are wrong, refused or fail."""
    warnings.simplefilter("ignore")
    families = {(entry.library, entry.family): entry for entry in reversed(entries())}
    chosen = [entry for entry in families.values() if not parts or any(part in entry.id for part in parts)]
    counts = {"right": 0, "refused": 0, "WRONG": 0}
    for entry in chosen:
        try:
            wrong = wrong_tensors(entry)
            status, note = ("WRONG", str(wrong[:4])) if wrong else ("right", "")
        except ws.WselError as error:
            status, note = "refused", str(error).splitlines()[0]
        counts[status] += 1
        if note:
            print(status, entry.id, note, flush=True)
    print(counts)


if __name__ == "__main__":
    main(sys.argv[1:])
