"""Long messages of the planner."""

from __future__ import annotations

from collections.abc import Mapping

from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.matching.pairs import Matching

LISTED = 20
"""How many tensors an error lists."""


def unexplained_message(student: ModelGraph, matching: Matching) -> str:
    """What to say when student tensors have no counterpart: each with its reason, and the YAML that would settle it."""
    given = matching.unexplained
    listed = [f"  - {name} {list(student.tensors[name].shape)}: {reason}" for name, reason in given[:LISTED]]
    if len(given) > LISTED:
        listed.append("  - ...")
    roots = list(dict.fromkeys(_root(name) for name, _ in given))
    return (
        f"{len(given)} student tensors have no counterpart in the teacher:\n" + "\n".join(listed) + "\n"
        f"To leave them at the student's own values, pass keep={roots!r}, or write in a rule file:\n"
        + _stub(roots, matching.candidates)
        + _pairing([name for name, _ in given if name not in matching.candidates])
    )


def _pairing(names: list[str]) -> str:
    """How to name the teacher's tensor, where the graphs do not show which it is."""
    if not names:
        return ""
    return (
        "\nWhere you know which teacher tensor corresponds, name it (globs on both sides pair many at once):\n"
        f'    - pair: {{student: "{names[0]}", teacher: "..."}}'
    )


def _root(name: str) -> str:
    return name.rpartition(".")[0] + ".*" if "." in name else name


def _stub(roots: list[str], candidates: Mapping[str, tuple[str, ...]]) -> str:
    """Component rules that would settle it: a pairing where candidates are known, else the student's own values."""
    lines = ["components:"]
    settled = set()
    for name, others in candidates.items():
        choices = f"  # or {', '.join(others[1:])}" if len(others) > 1 else ""
        lines.append(f'  - pair: {{student: "{name}", teacher: "{others[0]}"}}{choices}')
        settled.add(_root(name))
    lines.extend(f'  - keep: "{root}"' for root in roots if root not in settled)
    lines = lines[: LISTED + 1] + (["  # ..."] if len(lines) > LISTED + 1 else [])
    return "\n".join(f"  {line}" for line in lines) + "\nor `unmatched: keep` to accept all of it."
