"""The table of rules: how a rule is found, and that each one is tested."""

from __future__ import annotations

import importlib

import pytest
import torch

from tests.ops.equivariance import case, check, floats
from tests.ops.notation import shown
from wsel_graph.errors import DuplicateRuleError
from wsel_graph.ops import FAMILIES, Call, Outputs, find_rule, propagates
from wsel_graph.ops.registry import RULES

aten = torch.ops.aten

UNTESTED = {
    "aten::_scaled_dot_product_cudnn_attention": "needs a GPU",
    "aten::_scaled_dot_product_efficient_attention": "needs a GPU",
    "aten::_scaled_dot_product_flash_attention": "needs a GPU",
    "aten::_scaled_dot_product_fused_attention_overrideable": "for backends outside PyTorch",
    "aten::convolution_overrideable": "for backends outside PyTorch",
    "aten::cudnn_batch_norm": "needs a GPU",
    "aten::miopen_batch_norm": "needs a GPU",
    "aten::mkldnn_max_pool2d": "needs tensors in MKL-DNN layout",
    "torchvision::deform_conv2d": "a stand-in is tested in test_convolution.py",
    "torchvision::roi_pool": "torchvision's compiled library does not load everywhere",
    "wsel_graph::leaves_torch": "stands for code that PyTorch does not run",
}
"""Rules that no property test runs, each with its reason. All but the last four share the rule of a tested operator."""


def covered_rules() -> set[str]:
    """Names of the rules that have cases in the test module of their family."""
    names = [f"tests.ops.test_{family.__name__.rpartition('.')[2]}" for family in FAMILIES]
    return {name for module in map(importlib.import_module, names) for name in module.CASES}


def built_in_rules() -> set[str]:
    return {name for name, rule in RULES.items() if rule.__module__.startswith("wsel_graph.ops.")}


def test_every_rule_is_tested():
    assert built_in_rules() - covered_rules() - set(UNTESTED) == set()


def test_no_test_is_left_of_a_rule_that_went():
    assert covered_rules() - built_in_rules() == set()
    assert set(UNTESTED) - built_in_rules() == set()


def test_no_reason_is_given_for_a_tested_rule():
    assert set(UNTESTED) & covered_rules() == set()


@pytest.mark.parametrize(
    ("variant", "plain"),
    [
        pytest.param(aten.index_copy_.default, aten.index_copy.default, id="in place"),
        pytest.param(aten.permute_copy.default, aten.permute.default, id="copying"),
        pytest.param(aten.view_copy.dtype, aten.view.dtype, id="copying, one overload"),
        pytest.param(aten.random_.to, aten.random.to, id="random numbers in place"),
    ],
)
def test_variants_follow_the_plain_operator(variant, plain):
    assert find_rule(variant) is find_rule(plain) is not None


def test_overloads_differ():
    assert find_rule(aten.view.dtype) is not find_rule(aten.view.default)


def test_a_second_rule_is_refused():
    def mine(call: Call) -> Outputs:
        return call.tensors[0].axes

    with pytest.raises(DuplicateRuleError, match=r"aten::relu_ already has .* pass replace=True to put .*mine"):
        _twice("aten::relu_", mine)


def _twice(name, rule):
    try:
        propagates(name)(rule)
        propagates(name)(rule)
    finally:
        RULES.pop(name, None)


@pytest.mark.parametrize("name", [name for name in RULES if name.startswith("aten::")])
def test_rules_are_for_operators_that_exist(name):
    packet = getattr(aten, name.removeprefix("aten::").partition(".")[0], None)
    assert packet is not None
    if "." in name:
        assert name.partition(".")[2] in packet.overloads()


def test_out_tensors_are_coupled_with_the_result():
    call = case(aten.cat.out, [floats(2, 3), floats(4, 3)], 0, out=floats(6, 3))
    assert shown(call) == "a b, c b, (a + c) b -> (a + c) b"
    check(call)


def test_an_out_tensor_of_another_shape_is_replaced():
    assert shown(case(aten.t_copy.out, floats(2, 3), out=floats(0))) == "a b, 0 -> b a"
