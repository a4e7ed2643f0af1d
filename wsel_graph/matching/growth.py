"""The component graph while it grows: new nodes, joins, and parameters that take part as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import fx

from wsel_graph.matching.drafts import Draft, DraftEdge
from wsel_graph.matching.orders import laid_together, made_of, orders_of
from wsel_graph.matching.reading import read_once, trail_of
from wsel_graph.matching.values import Flow, Operand, Value, common_index, is_fixed
from wsel_graph.matching.weights import Weights


@dataclass(slots=True)
class Growth:
    """Drafts in order of execution, and the operands of the graph node that is being read."""

    drafts: list[Draft] = field(default_factory=list)
    operands: list[Operand] = field(default_factory=list)

    def join(self, node: fx.Node, label: str, flows: Sequence[tuple[str, Flow]]) -> Flow:
        """A place where activations meet; sums of sums are one sum."""
        edges: list[DraftEdge] = []
        for argument, flow in flows:
            inner = self.drafts[flow.source]
            if label == inner.label == "add" and flow.direct and not flow.tags and not inner.slots:
                edges.extend(inner.edges)
                inner.dead = True
            else:
                edges.append(flow.edge(argument))
        draft = Draft(label, edges)
        index = common_index([flow for _, flow in flows]) if label == "add" else None
        if index is not None:
            draft.features = self.drafts[flows[0][1].source].features
        return self.new(node, draft, index)

    def new(self, node: fx.Node, draft: Draft, index: torch.Tensor | None = None) -> Flow:
        """Add a node; `index` numbers its output features, where they are cut later."""
        draft.at, draft.module = node.name, str(node.meta.get("module") or "")
        draft.trail = trail_of(node, [item for item in self.operands if not isinstance(item[1], Flow)])
        given = [value for _, value in self.operands if not isinstance(value, Flow)]
        own = orders_of(node, self.operands) if laid_together(node) else ()
        draft.orders = (*own, *(order for value in given for order in value.orders))
        self.drafts.append(draft)
        made = made_of(node, draft.label, self.operands)
        return Flow(len(self.drafts) - 1, index=index, direct=read_once(node), made=made)

    def attention(self, node: fx.Node, given: dict[str, Value]) -> Value:
        """Query with key, plus a learned bias, and the result with value."""
        flow = {name: self.as_flow(node, value) for name, value in given.items() if not is_fixed(value)}
        found = [(name, flow[name]) for name in ("query", "key") if name in flow]
        scores = self.join(node, "contract", [(name, f) for name, f in found if f is not None])
        if (mask := flow.get("attn_mask")) is not None:
            scores = self.join(node, "add", [("self", replace(scores, direct=False)), ("other", mask)])
        value = flow.get("value")
        return self.join(node, "contract", [("self", scores), *([("other", value)] if value is not None else [])])

    def as_flow(self, node: fx.Node, value: Value) -> Flow | None:
        """A value as an activation: parameters that are read as data become a table; None for fixed ones."""
        if isinstance(value, Weights):
            return self.table(node, value)
        return value if isinstance(value, Flow) else None

    def table(self, node: fx.Node, value: Weights) -> Flow:
        """A parameter that takes part as it is."""
        return replace(self.new(node, Draft.holding("table", {"weight": value})), way=value.shown())
