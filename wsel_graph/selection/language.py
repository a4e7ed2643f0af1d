"""The language of rule files, stated once: what may be written, what each key means, and what it becomes.

The loader, the JSON schema and the tests of `rules/README.md` all read these tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from wsel_graph.selection.kinds import Complaint, Either, Flag, Key, Many, Record, Ref, Text, Whole, Words, Written
from wsel_graph.selection.model import Action, ComponentRule, ElementRule, LayerRule, Merge, Score, ValueRule
from wsel_graph.selection.selector import Selector
from wsel_graph.selection.selectors import (
    GROUP_SELECTOR,
    STUDENT_SELECTOR,
    TEACHER_SELECTOR,
    globs,
    nonempty_complaint,
)
from wsel_graph.selection.source import Place


def _layer_rule(values: Mapping[str, Any], place: Place) -> LayerRule:
    return LayerRule(values.get("stage", ("*",)), values.get("take", "first"), values.get("from"), place)


_BLOCK_WORDS: Final = ("first", "last", "middle", "uniform", "merge")

_BLOCK_SOURCE: Final = Record(
    "a source of blocks",
    {"score": Key(Words("a score of blocks", ("depth",)), "depth: the blocks that change their stream most.")},
    "{score: depth}",
    lambda values, place: Score(values["score"]),
    one_of=True,
    hints={
        "tokens": "token maps are for vocabularies: write it below `elements:`",
        **{word: f"write: take: {word}" for word in _BLOCK_WORDS},
    },
)

LAYER_RULE: Final = Record(
    "a layer rule",
    {
        "stage": Key(globs("student stage names", '"encoder.*"'), 'The student stages it governs; default "*".'),
        "take": Key(
            Either(
                "a way to take blocks",
                (
                    Words("a way to take blocks", _BLOCK_WORDS),
                    Many("a list of teacher blocks", Whole("a block number"), "[0, 2, 5]"),
                    _BLOCK_SOURCE,
                ),
                "first, last, middle, uniform, merge, or teacher blocks such as [0, 2, 5]",
            ),
            "Which teacher blocks; a list holds one zero-based block per student block. Default first.",
        ),
        "from": Key(globs("teacher stage names", '"vision.*"'), "The teacher stages that may fill them."),
    },
    "{take: first}",
    _layer_rule,
    nonempty="write: take: first",
    needs=("take", "from"),
    hints={"where": "layer rules select by `stage:` only", "method": "write `take:`", "blocks": "write `take:`"},
)


def _pair_complaint(values: Mapping[str, str]) -> Complaint | None:
    for side in ("student", "teacher"):
        if "?" in values[side] or "[" in values[side]:
            return Complaint(
                f"only * may stand for text in `pair`, got {values[side]!r}",
                "write * for the parts that change", side,
            )  # fmt: skip
    ours, theirs = values["student"].count("*"), values["teacher"].count("*")
    if theirs <= ours:
        return None
    return Complaint(
        f"the teacher's side has {theirs} *, the student's side {ours}",
        "each * of the teacher's side stands for the text of the same * of the student's side", "teacher",
    )  # fmt: skip


PAIR: Final = Record(
    "a forced pairing",
    {
        "student": Key(Text("a name pattern", '"fc.*"', nonempty_complaint), "Names of student tensors.", True),
        "teacher": Key(Text("a name pattern", '"classifier.*"', nonempty_complaint), "Their teacher tensors.", True),
    },
    '{student: "fc.*", teacher: "classifier.*"}',
    lambda values, place: (values["student"], values["teacher"]),
    check=_pair_complaint,
)


def _component_rule(values: Mapping[str, Any], place: Place) -> ComponentRule:
    action: Action
    ((action, value),) = values.items()  # type: ignore[assignment]
    if action == "pair":
        return ComponentRule(action, Selector(student=(value[0],)), value, place)
    if isinstance(value, Selector):
        return ComponentRule(action, value, None, place)
    return ComponentRule(action, Selector(**{"teacher" if action == "ignore" else "student": value}), None, place)


def _choice(side: str, example: str) -> Either:
    what = f"a glob, a list of globs or a selector of {side} components"
    options = (globs(f"{side} tensor names", example), Ref(f"{side}_selector"))
    return Either(what, options, f"{example} or {{operator: norm}}")


COMPONENT_RULE: Final = Record(
    "a component rule",
    {
        "keep": Key(_choice("student", '"head.*"'), "These student components keep the student's own values."),
        "pair": Key(Ref("pair"), "These student tensors are filled from these teacher tensors."),
        "require": Key(_choice("student", '"encoder.*"'), "An error unless all of these are initialised."),
        "ignore": Key(_choice("teacher", '"aux.*"'), "These teacher components may not be used."),
    },
    'keep: "head.*"',
    _component_rule,
    one_of=True,
    hints={"skip": "write `keep:` (student) or `ignore:` (teacher)", "exclude": "write `keep:` or `ignore:`",
           "map": "write `pair:`", "match": "write `pair:`", "freeze": "write `keep:`"},
)  # fmt: skip


def _source_of_elements(values: Mapping[str, Any], place: Place) -> Score | Merge | Written:
    # The token map's file is read by `rules`, which knows the folder of the rule file.
    if "merge" in values:
        return Merge(values["merge"])
    return Score(values["score"]) if "score" in values else values["tokens"]


_ELEMENT_SOURCE: Final = Record(
    "a source of elements",
    {
        "tokens": Key(
            Text("a path", "map.json", nonempty_complaint, placed=True),
            "JSON file from student token ids to teacher token ids, relative to this file.",
        ),
        "score": Key(
            Words("a score", ("l1", "l2", "activation", "variance", "regression")),
            "What ranks elements: a norm of the teacher's weights, or statistics of its activations.",
        ),
        "merge": Key(
            Words("what makes elements alike", ("weights", "activation")), "Averages of the teacher's alike elements."
        ),
    },
    "{tokens: map.json}",
    _source_of_elements,
    one_of=True,
)

TAKE: Final = Either(
    "a way to take elements",
    (
        Words("a way to take elements", ("uniform", "consecutive", "random")),
        Many("a list of teacher elements", Whole("an element number"), "[0, 2, 4]", unique=True),
        _ELEMENT_SOURCE,
    ),
    "uniform, consecutive, random, elements such as [0, 2, 4], {merge: weights}, or {tokens: map.json}",
)


_WAYS = ("variance", "norm", "attention")

RESCALE: Final = Either(
    "a way to rescale",
    (
        Words("a way to rescale", ("none", *_WAYS)),
        Many("a list of ways to rescale", Words("a way to rescale in a list", _WAYS), "[norm, attention]", unique=True),
    ),
    "none, variance, norm, attention, or a list such as [norm, attention]",
)


def _element_complaint(values: Mapping[str, Any]) -> Complaint | None:
    rescale = values.get("rescale", ())
    if not (isinstance(rescale, tuple) and {"variance", "norm"} <= set(rescale)):
        return None
    return Complaint(
        "variance and norm would scale twice: one takes what is left out to be like what is kept, the other to be zero",
        "write one of them: rescale: variance, or rescale: norm", "rescale",
    )  # fmt: skip


def _element_rule(values: Mapping[str, Any], place: Place) -> ElementRule:
    settings = {key: values.get(key) for key in ELEMENT_SETTINGS}
    return ElementRule(selector=values.get("where"), at=place, **settings)


_SETTINGS: Final[Mapping[str, Key]] = {
    "take": Key(TAKE, "Which teacher elements."),
    "seed": Key(Whole("a whole number"), "Seed of `take: random`."),
    "unit": Key(
        Words("a unit", ("whole", "flat")),
        "whole: each factor of a merged axis by itself, so heads stay whole. flat: the merged axis as one run.",
    ),
    "consistent": Key(Flag(), "false draws a fresh list per tensor and dim: the paper's ablation."),
    "resize": Key(Words("a way to resize", ("interpolate", "keep", "error")), "For pinned axes whose sizes differ."),
    "rescale": Key(RESCALE, "How values are scaled for the new width: one way or a list of them. Default none."),
    "grow": Key(Words("a way to grow", ("error", "keep", "tile")), "For student axes larger than the teacher's."),
}
ELEMENT_SETTINGS: Final = tuple(_SETTINGS)

ELEMENT_RULE: Final = Record(
    "an element rule",
    {"where": Key(Ref("group_selector"), "The coupled groups that it governs; default: all."), **_SETTINGS},
    "{take: uniform}",
    _element_rule,
    nonempty="write: take: uniform",
    needs=ELEMENT_SETTINGS,
    check=_element_complaint,
    hints={
        "method": "write `take:`",
        **{key: f"write: where: {{{key}: ...}}" for key in GROUP_SELECTOR.keys},
    },
)


def _value_rule(values: Mapping[str, Any], place: Place) -> ValueRule:
    return ValueRule(values.get("where"), values.get("compensate"), values.get("recalibrate"), place)


_VALUE_KEYS: Final[Mapping[str, Key]] = {
    "compensate": Key(
        Words("a way to compensate", ("none", "regression")),
        "regression: weights are fitted on calibration data to make up for the inputs that are left out. Default none.",
    ),
    "recalibrate": Key(
        Words("a way to recalibrate", ("none", "batch_norm")),
        "batch_norm: running statistics are estimated anew on calibration data. Default none.",
    ),
}
VALUE_SETTINGS: Final = tuple(_VALUE_KEYS)

VALUE_RULE: Final = Record(
    "a value rule",
    {"where": Key(Ref("student_selector"), "The student components that it governs; default: all."), **_VALUE_KEYS},
    "{compensate: regression}",
    _value_rule,
    nonempty="write: compensate: regression",
    needs=VALUE_SETTINGS,
    hints={
        "rescale": "write it as a rule below `elements:`",
        **{key: f"write: where: {{{key}: ...}}" for key in STUDENT_SELECTOR.keys},
    },
)

FILE: Final = Record(
    "a rule file",
    {
        "version": Key(Whole("the number 1", only=1), "The version of this language.", required=True),
        "extends": Key(
            Many(
                "the name or path of a rule file, or a list of them",
                Text("a rule file", "default", nonempty_complaint, placed=True),
                "default",
                alone=True,
            ),
            "Rule files whose rules come after this file's own; in a list, the last has the highest priority.",
        ),
        "unmatched": Key(
            Words("a choice for unmatched tensors", ("error", "keep")),
            "What happens to student tensors that nothing explains. Default error.",
        ),
        "layers": Key(Many("a list of layer rules", Ref("layer_rule"), "- take: first"), "Layer selection."),
        "components": Key(
            Many("a list of component rules", Ref("component_rule"), '- keep: "head.*"'), "Component mapping."
        ),
        "elements": Key(Many("a list of element rules", Ref("element_rule"), "- take: uniform"), "Element selection."),
        "values": Key(
            Many("a list of value rules", Ref("value_rule"), "- compensate: regression"),
            "What is done to values once they are selected.",
        ),
    },
    "version: 1",
    lambda values, place: values,
    hints={
        "keep": 'write below `components:`: - keep: "head.*"',
        "pair": "write it as a rule below `components:`",
        "require": "write it as a rule below `components:`",
        "ignore": "write it as a rule below `components:`",
        "take": "write it as a rule below `layers:` (blocks) or `elements:`",
        **{key: "write it as a rule below `elements:`" for key in ELEMENT_SETTINGS if key != "take"},
        **dict.fromkeys(VALUE_SETTINGS, "write it as a rule below `values:`"),
    },
)

RECORDS: Final[Mapping[str, Record]] = {
    "student_selector": STUDENT_SELECTOR,
    "teacher_selector": TEACHER_SELECTOR,
    "group_selector": GROUP_SELECTOR,
    "layer_rule": LAYER_RULE,
    "pair": PAIR,
    "component_rule": COMPONENT_RULE,
    "element_rule": ELEMENT_RULE,
    "value_rule": VALUE_RULE,
}
"""Records by the names that `Ref` uses."""
