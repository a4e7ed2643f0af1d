"""The table of propagation rules.

A rule is registered for an overload (`torch.ops.aten.view.dtype`), for all overloads of an operator
(`torch.ops.aten.view`), or by qualified name (`"torchvision::nms"`) when the operator may not be loaded.
The exact overload wins over the operator.
"""

from __future__ import annotations

from collections.abc import Callable
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


def find_rule(op: Any) -> PropagationRule | None:
    """The rule of an overload: its own, else its operator's, else the rule of its family tag."""
    rule = RULES.get(qualified_name(op))
    if rule is None:
        rule = RULES.get(str(op._schema.name))
    return rule
