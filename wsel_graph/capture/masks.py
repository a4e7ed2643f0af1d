"""Buffers that are masks: whatever reads them only asks which elements are zero, or larger than a number.

No value of such a buffer reaches a result, so it is configuration like a mask of truth values, although many models
keep it as floating point numbers in the state dict (a triangle of ones, say).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import fx

from wsel_graph.capture.recorder import TensorInfo


def masks(graph: fx.Graph, buffers: Iterable[str]) -> frozenset[str]:
    """The buffers that are read, and of which every reader makes truth values; views of them are followed."""
    fetched: dict[str, list[fx.Node]] = {}
    for node in graph.nodes:
        if node.op == "get_attr" and "state" in node.meta:
            fetched.setdefault(str(node.meta["state"]), []).append(node)
    return frozenset(name for name in buffers if name in fetched and all(map(_is_asked, fetched[name])))


def _is_asked(node: fx.Node) -> bool:
    """Whether only truth values are made of a node's result."""
    todo, asked = [node], False
    while todo:
        for reader in todo.pop().users:
            if len(reader.all_input_nodes) > 1 or not isinstance(reader.meta.get("value"), TensorInfo):
                return False  # a result, or compared with another tensor: a threshold, say
            if reader.meta["value"].dtype == torch.bool:
                asked = True
            elif reader.meta.get("storage") == node.meta.get("storage") and not _writes(reader):
                todo.append(reader)
            else:
                return False
    return asked


def _writes(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return bool(getattr(schema, "is_mutable", True))
