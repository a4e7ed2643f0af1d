"""The table of propagation rules.

A rule is registered for an overload (`torch.ops.aten.view.dtype`), for all overloads of an operator
(`torch.ops.aten.view`), or by qualified name (`"torchvision::nms"`) when the operator may not be loaded or not
exist yet in the oldest PyTorch supported.
The exact overload wins over the operator. Variants follow the rule of the plain operator: in place (`relu_`) and
copying (`view_copy`). A rule never sees `out=` tensors: who calls it couples what is written with the results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from wsel_graph.errors import DuplicateRuleError
from wsel_graph.ops.call import Call, Outputs

PropagationRule = Callable[[Call], Outputs]
RuleT = TypeVar("RuleT", bound=PropagationRule)

RULES: dict[str, PropagationRule] = {}


class Unsupported(Exception):
    """Raised by a rule for a form of its operator that it does not cover; the axes are pinned."""


def qualified_name(op: Any) -> str:
    """`aten::view` for all overloads, `aten::view.dtype` for one."""
    if isinstance(op, str):
        return op
    if hasattr(op, "_overloadname"):
        schema_name = str(op._schema.name)
        return f"{schema_name}.{op._overloadname}"
    return str(op._qualified_op_name)


def propagates(*ops: Any, replace: bool = False) -> Callable[[RuleT], RuleT]:
    """Register the decorated function as the propagation rule of operators.

    Args:
        ops: Overloads, operators (all overloads) or qualified names such as `"mylib::my_op"`.
        replace: Allow taking the place of a rule that is already registered.
    Raises:
        DuplicateRuleError: If an operator already has a rule and `replace` is false.
    """

    def register(rule: RuleT) -> RuleT:
        for name in map(qualified_name, ops):
            old = RULES.get(name)
            if old is not None and not replace:
                raise DuplicateRuleError(
                    f"{name} already has the propagation rule {old.__module__}.{old.__qualname__}; "
                    f"pass replace=True to put {rule.__qualname__} in its place"
                )
            RULES[name] = rule
        return rule

    return register


def rule_names(op: Any) -> Iterator[str]:
    """Names under which the rule of an overload may stand, the most specific first.

    >>> import torch
    >>> list(rule_names(torch.ops.aten.relu_.default))
    ['aten::relu_.default', 'aten::relu_', 'aten::relu.default', 'aten::relu']
    """
    name = str(op._schema.name)
    for base in dict.fromkeys((name, name.removesuffix("_"), name.removesuffix("_copy"))):
        yield f"{base}.{op._overloadname}"
        yield base


def find_rule(op: Any) -> PropagationRule | None:
    """The rule of an overload: its own, else its operator's, else that of the operator it is a variant of."""
    return next((RULES[name] for name in rule_names(op) if name in RULES), None)
