"""Commands on selection rules: `rules check`, `rules schema`, `rules draft`."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

import wsel_graph as ws
from wsel_graph.api import summarize
from wsel_graph.cli.show import Answer, some, table, working
from wsel_graph.cli.two import Couple, load_couple, make_plan
from wsel_graph.errors import SelectionRuleError
from wsel_graph.plan.files import replacing
from wsel_graph.report.check import Check, Governed, check_rules


def run_check(options: argparse.Namespace) -> Answer:
    """Read a rule file; with two models, see what every rule governs and what it leads to."""
    if (options.teacher is None) != (options.student is None):
        options.usage_error("--teacher and --student go together")
    found = ws.load_rules(options.rules)
    if options.teacher is None:
        counts = _counts(found)
        parts = (f"{count} {section[:-1]} rule{'s' * (count > 1)}" for section, count in counts.items() if count)
        text = ", ".join(parts) or "no rules of its own"
        return Answer({"rules": options.rules, "ok": True, **counts}, [f"{options.rules} is valid: {text}"])
    couple = load_couple(options)
    with working("matching and planning"):
        checked = check_rules(couple.student_graph, couple.teacher_graph, found, lambda: make_plan(couple, options))
    return _checked(options.rules, found.source, checked, couple)


def _checked(name: str, source: str, checked: Check, couple: Couple) -> Answer:
    """What every rule governs, and the plan or why there is none; exit code 1 without a plan."""
    rows = [(_place(rule), rule.says, *_governed(rule)) for rule in checked.rules]
    parts: list[Any] = [table("Rules (the first that matches governs)", ("rule", "says", "governs", "such as"), rows)]
    own = [rule for rule in checked.rules if rule.at.file == source]  # not those of files that it extends
    if idle := [_place(rule) for rule in own if not rule.names]:
        parts.append(f"\nThese rules govern nothing in these models: {', '.join(idle)}")
    document = {
        "rules": name,
        "ok": checked.plan is not None,
        "governs": [
            {
                "rule": str(rule.at),
                "says": rule.says,
                "what": rule.what,
                "names": rule.names,
                "kinds": dict(rule.kinds),
            }
            for rule in checked.rules
        ],
        "unexplained": dict(checked.unexplained),
        "refused": checked.refused or None,
    }
    if checked.plan is None:
        print(f"refused: {checked.refused}", file=sys.stderr)
        return Answer({**document, "coverage": None, "kept": None}, parts, 1)
    result = summarize(checked.plan, couple.student_graph, couple.teacher_graph)
    head = f"{name} is valid for these models"
    shown = [head, *parts, "\n" + str(result).replace("Initialised", "Would initialise", 1)]
    return Answer({**document, "coverage": result.coverage, "kept": len(checked.plan.kept)}, shown)


def _place(rule: Governed) -> str:
    """Where a rule is written, without folders."""
    return f"{Path(rule.at.file).name}:{rule.at.line}:{rule.at.column}"


def _governed(rule: Governed) -> tuple[str, str]:
    """How much a rule governs, and examples."""
    if not rule.names:
        return "nothing", ""
    counts = ", ".join(f"{count} {role}" for role, count in rule.kinds)
    many = f"{len(rule.names)} {rule.what}{'s' * (len(rule.names) > 1)}"
    return f"{many} ({counts})" if counts else many, some(rule.names, 2)


def _counts(found: Any) -> dict[str, int]:
    sections = {name: getattr(found, name, None) for name in ("layers", "components", "elements", "values")}
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
