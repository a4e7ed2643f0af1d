"""The JSON schema accepts what the loader accepts, and refuses most of what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.selection.test_faults import CASES
from wsel_graph.selection.json_schema import json_schema
from wsel_graph.selection.language import FILE, RECORDS
from wsel_graph.selection.rules import shipped_rules

VALIDATOR = jsonschema.Draft202012Validator(json_schema())

READER_ONLY = {
    # What a JSON schema cannot say, or what is gone once YAML is read.
    "duplicate key", "duplicate key in a rule", "merge key", "anchor", "text over several lines",
    "control character", "surrogate", "a text too long", "block with a leading zero", "flag in words",
    "rule below a general one", "rule after one for everything", "the same rule twice", "setting below a general one",
    "notation is not closed", "notation glued", "notation with a bad sign", "notation too large",
    "pair with more stars on the teacher", "pair with a question mark", "value setting below a general one",
    "rescale in two ways that exclude each other",
    "token map is missing", "twice the same", "base after its extension", "name misspelt", "missing file", "itself",
}  # fmt: skip


def test_it_is_a_schema_and_is_json() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert json.loads(json.dumps(json_schema())) == json_schema()


@pytest.mark.parametrize("name", sorted(shipped_rules()))
def test_shipped_files_fit(name: str) -> None:
    assert list(VALIDATOR.iter_errors(yaml.safe_load(shipped_rules()[name].read_text(encoding="utf-8")))) == []


def test_a_file_that_uses_everything_fits() -> None:
    text = (Path(__file__).parent / "everything.yaml").read_text(encoding="utf-8")
    assert list(VALIDATOR.iter_errors(yaml.safe_load(text))) == []


def parsed(text: str) -> object:
    """The YAML value, or a value no schema accepts when the text is no YAML."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, OverflowError):
        return None


@pytest.mark.parametrize(("name", "text"), [pytest.param(name, text, id=name) for name, text, _ in CASES])
def test_faulty_files_do_not_fit(name: str, text: str) -> None:
    assert VALIDATOR.is_valid(parsed(text)) is (name in READER_ONLY)


def test_every_key_has_a_description() -> None:
    schema = json_schema()
    for name, record in {"": FILE, **RECORDS}.items():
        properties = (schema["$defs"][name] if name else schema)["properties"]
        assert list(properties) == list(record.keys)
        assert all(len(item["description"]) > 10 for item in properties.values())
