"""The text of a propagation rule that would teach an unknown operator."""

from __future__ import annotations

from torch import fx

from wsel_graph.capture.recorder import TensorInfo


def rule_stub(node: fx.Node, why: str) -> str:
    """A `@propagates` stub for the operator of `node`, to complete and run before tracing.

    Args:
        node: A call of the operator, with the shapes of its operands in `meta`.
        why: What the engine lacked.
    """
    schema = node.target._schema  # type: ignore[union-attr]
    namespace, _, name = str(schema.name).partition("::")
    tensors = [a.name for a in schema.arguments if "Tensor" in str(a.type)]
    lines = [
        f"@ws.propagates(torch.ops.{namespace}.{name})",
        f"def {name.strip('_')}(call):",
        f'    """{_signature(node)}"""',
        f"    # {why}; seen in module {node.meta.get('module') or '(top level)'}, graph node {node.name}.",
        "    # State which axes are the same: call.unify(a, b). Take whole what depends on the order of",
        '    # elements: call.pin(axis, "opaque"). New axes: call.fresh(size) or call.pinned(size, "opaque").',
        *(f'    {argument} = call["{argument}"].axes' for argument in tensors),
        "    # Return one axis per dim of the result, or a list of such tuples for several results.",
        f"    return {tensors[0] if tensors else '()'}",
    ]
    return "\n".join(lines)


def _signature(node: fx.Node) -> str:
    operands = ", ".join(_describe(arg.meta.get("value")) for arg in node.all_input_nodes)
    return f"{operands} -> {_describe(node.meta.get('value'))}"


def _describe(value: object) -> str:
    if isinstance(value, TensorInfo):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if isinstance(value, tuple):
        return "(" + ", ".join(_describe(item) for item in value) + ")"
    return "no tensor"
