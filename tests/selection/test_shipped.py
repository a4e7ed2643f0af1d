"""The shipped rule files: what each says, that it is documented, and which components the ablations keep."""

from __future__ import annotations

import re

import pytest

from wsel_graph.selection import RuleFile, Subject
from wsel_graph.selection.rules import read_rules, shipped_rules

NAMES = sorted(shipped_rules())


def subject(operator: str, *axes: str, name: str = "x.weight") -> Subject:
    """A component as the coupling of a real network names it; roles are the names in its notation."""
    roles = {re.sub(r"\d+$", "", word) for notation in axes for word in re.findall(r"[a-z_]+\d*", notation)}
    return Subject(student=(name,), operators=frozenset({operator}), roles=frozenset(roles), axes=axes)


COMPONENTS = {
    # Notations of traced models: a ViT, a Swin transformer, a ConvNeXt, a ResNet and a language model.
    "patch": subject("conv", "embed input kernel1 kernel2", "embed"),
    "stem": subject("conv", "embed input kernel1 kernel2"),
    "patch as linear": subject("linear", "embed (input kernel1 kernel2)", "embed"),
    "class token": subject("token", "1 1 embed"),
    "position table": subject("table", "1 (1 + (position1 position2)) embed"),
    "position lookup": subject("embedding", "position embed"),
    "relative bias": subject("table", "position heads"),
    "norm": subject("norm", "embed", "embed"),
    "query norm": subject("norm", "head_dim"),
    "batch norm": subject("batch_norm", "hidden", "hidden"),
    "qkv": subject("linear", "(3 heads head_dim) embed", "(3 heads head_dim)"),
    "grouped query": subject("linear", "(heads queries head_dim) embed"),
    "attention output": subject("linear", "embed (heads head_dim)", "embed"),
    "fc1": subject("linear", "hidden embed", "hidden"),
    "fc2": subject("linear", "embed hidden", "embed"),
    "gate and up": subject("linear", "(2 hidden) embed"),
    "pointwise": subject("linear", "hidden embed 1 1", "hidden"),
    "low rank value": subject("linear", "(heads head_dim) hidden"),
    "depthwise": subject("depthwise_conv", "embed 1 kernel1 kernel2", "embed"),
    "block convolution": subject("conv", "hidden embed kernel1 kernel2"),
    "downsample": subject("conv", "embed1 embed2 kernel1 kernel2", "embed1"),
    "merge": subject("linear", "embed1 (position1 position2 embed2)"),
    "layer scale": subject("scale", "embed"),
    "tokens": subject("embedding", "vocabulary embed"),
    "head": subject("linear", "label embed", "label", name="head.weight"),
    "other head": subject("linear", "label embed", "label", name="fc.weight"),
}

KEPT = {
    "without-patch-embed": {"patch", "stem", "patch as linear"},
    "without-position": {"position table", "position lookup", "relative bias"},
    "without-norm": {"norm", "query norm", "batch norm"},
    "without-attention": {"qkv", "grouped query", "attention output", "low rank value"},
    "without-mlp": {"fc1", "fc2", "gate and up", "pointwise"},
    "paper": set(),
    "default": set(),
}


def kept(rules: RuleFile) -> set[str]:
    """The components that a rule file keeps: the first rule that matches decides."""
    first = {
        name: next((rule.action for rule in rules.components if rule.selector.matches(component)), None)
        for name, component in COMPONENTS.items()
    }
    return {name for name, action in first.items() if action == "keep"}


@pytest.mark.parametrize("name", sorted(KEPT))
def test_what_an_ablation_keeps(name: str) -> None:
    assert kept(read_rules(name)) == KEPT[name] | ({"head"} if name != "default" else set())


@pytest.mark.parametrize(
    ("name", "take", "unit", "consistent"),
    [
        ("default", "uniform", "whole", True),
        ("paper", "uniform", "flat", True),
        ("consecutive", "consecutive", "flat", True),
        ("random", "random", "flat", True),
        ("random-inconsistent", "random", "flat", False),
        ("llm", "uniform", "whole", True),
        ("compensated", "uniform", "whole", True),
        *((name, "uniform", "flat", True) for name in NAMES if name.startswith("without-") or name.endswith("-layers")),
    ],
)
def test_settings_of_an_ordinary_group(name: str, take: str, unit: str, consistent: bool) -> None:
    group = subject("linear", "hidden embed")
    rules = [rule for rule in read_rules(name).elements if rule.selector is None or rule.selector.matches(group)]
    assert next(rule.take for rule in rules if rule.take is not None) == take
    assert next(rule.unit for rule in rules if rule.unit is not None) == unit
    assert next(rule.consistent for rule in rules if rule.consistent is not None) is consistent


@pytest.mark.parametrize(
    ("name", "take"),
    [("paper", "first"), ("uniform-layers", "uniform"), ("mid-layers", "middle"), ("last-layers", "last")],
)
def test_layers(name: str, take: str) -> None:
    assert next(rule.take for rule in read_rules(name).layers if rule.matches("blocks")) == take


@pytest.mark.parametrize("name", NAMES)
def test_only_one_shipped_file_changes_values(name: str) -> None:
    rules = read_rules(name)
    found = [(rule.selector, rule.compensate, rule.recalibrate) for rule in rules.values]
    wanted = [(None, "regression", None), (None, None, "batch_norm")] if name == "compensated" else []
    assert found == wanted
    assert {rule.rescale for rule in rules.elements} == {None}


def test_llm_refuses_vocabularies_of_different_size() -> None:
    vocabulary = subject("embedding", "vocabulary embed")
    (rule,) = [rule for rule in read_rules("llm").elements if rule.selector and rule.selector.matches(vocabulary)]
    assert (rule.resize, rule.take) == ("error", None)


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_file_begins_with_a_comment(name: str) -> None:
    first = shipped_rules()[name].read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")
    assert name == "default" or "arXiv:" in first


def test_all_shipped_files_are_known_here() -> None:
    assert (
        sorted(
            [
                *KEPT,
                "consecutive",
                "random",
                "random-inconsistent",
                "uniform-layers",
                "mid-layers",
                "last-layers",
                "llm",
                "compensated",
            ]
        )
        == NAMES
    )
