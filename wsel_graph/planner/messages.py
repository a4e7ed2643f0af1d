"""Long messages of the planner."""

from __future__ import annotations

from collections.abc import Iterable

from wsel_graph.coupling.graph import ModelGraph

LISTED = 20
"""How many tensors an error lists."""


def unexplained_message(student: ModelGraph, unexplained: Iterable[tuple[str, str]]) -> str:
    """What to say when student tensors have no counterpart: each with its reason, and the rule that would settle it."""
    given = list(unexplained)
    listed = [f"  - {name} {list(student.tensors[name].shape)}: {reason}" for name, reason in given[:LISTED]]
    if len(given) > LISTED:
        listed.append("  - ...")
    roots = list(dict.fromkeys(name.rpartition(".")[0] + ".*" if "." in name else name for name, _ in given))
    return (
        f"{len(given)} student tensors have no counterpart in the teacher:\n" + "\n".join(listed) + "\n"
        f"To leave them at the student's own values, pass keep={roots!r}."
    )
