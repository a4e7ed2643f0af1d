"""Plans under the element rules of a rule file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import wsel_graph as ws
from wsel_graph.planner.builder import build_plan
from wsel_graph.planner.elements import Elements
from wsel_graph.selection.rules import read_rules


def plan_by(
    file: Path, rules: str, student: Any, teacher: Any, inputs: Any, teacher_inputs: Any = None, **options: Any
) -> ws.Plan:
    """The plan under `elements: rules` (YAML), written to `file` below `version: 1`."""
    file.write_text(f"version: 1\nelements:\n{rules}\n")
    found = read_rules(file)
    elements = Elements(rules=found.elements, source=found.source, **options)
    graphs = ws.trace(student, inputs), ws.trace(teacher, inputs if teacher_inputs is None else teacher_inputs)
    return build_plan(*graphs, elements)
