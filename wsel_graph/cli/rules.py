"""Commands on selection rules: `rules check`, `rules schema`, `rules draft`."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

import wsel_graph as ws
from wsel_graph.api import summarize
from wsel_graph.cli.show import Answer, working
from wsel_graph.cli.two import load_couple, make_plan
from wsel_graph.errors import SelectionRuleError
from wsel_graph.plan.files import replacing


def run_check(options: argparse.Namespace) -> Answer:
    """Read a rule file; with two models, make the plan that it leads to."""
    if (options.teacher is None) != (options.student is None):
        options.usage_error("--teacher and --student go together")
    found = ws.load_rules(options.rules)
    if options.teacher is None:
        counts = _counts(found)
        parts = (f"{count} {section[:-1]} rule{'s' * (count > 1)}" for section, count in counts.items() if count)
        text = ", ".join(parts) or "no rules of its own"
        return Answer({"rules": options.rules, "ok": True, **counts}, [f"{options.rules} is valid: {text}"])
    couple = load_couple(options)
    result = summarize(make_plan(couple, options), couple.student_graph, couple.teacher_graph)
    document = {"rules": options.rules, "ok": True, "coverage": result.coverage, "kept": len(result.plan.kept)}
    return Answer(document, [f"{options.rules} is valid for these models", str(result)])


def _counts(found: Any) -> dict[str, int]:
    sections = {name: getattr(found, name, None) for name in ("layers", "components", "elements")}
    return {name: len(rules) for name, rules in sections.items() if isinstance(rules, tuple)}


def run_schema(options: argparse.Namespace) -> Answer:
    """The JSON schema of rule files, for editors; always JSON."""
    made: Any = importlib.import_module("wsel_graph.selection.json_schema").json_schema()
    options.json = True
    return Answer(made, [])


def run_draft(options: argparse.Namespace) -> Answer:
    """A rule file that says for two models what happens without one: a start for changes."""
    if options.output and not Path(options.output).parent.is_dir():
        raise SelectionRuleError(f"--output {options.output}: there is no folder {Path(options.output).parent}")
    couple = load_couple(options)
    with working("drafting"):
        text = ws.draft_rules(couple.student_graph, couple.teacher_graph)
    if options.output:
        with replacing(options.output) as file:
            file.write_text(text, encoding="utf-8")
    return Answer({"rules": text, "output": options.output}, [f"rules: {options.output}" if options.output else text])
