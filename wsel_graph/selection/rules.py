"""Selection rules: YAML files that say what the user wants.

So far two sections: `elements:` (the paper's third step) and `components: keep:`. Unknown keys are errors.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from wsel_graph.errors import SelectionRuleError

_HERE = Path(__file__).resolve().parent.parent
FOLDERS = (_HERE / "rules", _HERE.parent / "rules")
"""Where shipped rule files are: inside the installed package, or beside it in a checkout."""


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ElementRules(_Closed):
    """Element selection for every coupled group."""

    method: Literal["uniform", "consecutive", "random"] = "uniform"
    unit: Literal["whole", "flat"] = "whole"
    consistent: bool = True


class ComponentRules(_Closed):
    """Component mapping."""

    keep: tuple[str, ...] = ()


class RuleFile(_Closed):
    """One selection-rule file."""

    version: Literal[1]
    components: ComponentRules = ComponentRules()
    elements: ElementRules = ElementRules()


def read_rules(source: str | Path) -> RuleFile:
    """Read a shipped rule file by name (`"default"`), or any file by path.

    Raises:
        SelectionRuleError: If the file is missing, is not YAML, or has keys or values that are not known.
    """
    path = _find(source)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return RuleFile.model_validate(content)
    except yaml.YAMLError as error:
        raise SelectionRuleError(f"{path}: not valid YAML: {error}") from None
    except ValidationError as error:
        raise SelectionRuleError(f"{path}: " + "; ".join(_fault(item) for item in error.errors())) from None


def _fault(item: object) -> str:
    details = dict(item) if isinstance(item, dict) else {}
    where = ".".join(str(part) for part in details.get("loc", ())) or "the file"
    return f"{where}: {str(details.get('msg', '')).lower()}"


def _find(source: str | Path) -> Path:
    path = Path(source)
    if path.suffix in (".yaml", ".yml"):
        if path.is_file():
            return path
        raise SelectionRuleError(f"there is no rule file {path}")
    shipped = {file.stem: file for folder in FOLDERS for file in sorted(folder.glob("*.yaml"))}
    if str(source) in shipped:
        return shipped[str(source)]
    near = difflib.get_close_matches(str(source), shipped, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise SelectionRuleError(f"no rule file named {str(source)!r}; shipped: {', '.join(sorted(shipped))}{hint}")
