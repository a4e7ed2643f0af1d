"""`init --save-pretrained`, for students of transformers: what `from_pretrained` loads is the initialised student."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import wsel_graph as ws

from .conftest import Run

SIZES = {
    "vocab_size": 120,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 4,
}
SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}


@pytest.fixture
def folders(tmp_path: Path, libraries: None) -> tuple[Any, Path, Path]:
    """A teacher with a tokenizer, and a student's configuration."""
    from transformers import LlamaConfig, LlamaForCausalLM

    teacher = LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=2, tie_word_embeddings=True))
    teacher.save_pretrained(tmp_path / "teacher")
    (tmp_path / "teacher" / "tokenizer.json").write_text('{"version": "1.0"}')
    (tmp_path / "teacher" / "notes.txt").write_text("not for others")
    config = {**json.loads((tmp_path / "teacher" / "config.json").read_text()), **SMALL, "num_key_value_heads": 1}
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "config.json").write_text(json.dumps(config | {"head_dim": 8}))
    return teacher, tmp_path / "teacher", tmp_path / "small"


def command(teacher: Path, small: Path, output: Path) -> tuple[str, ...]:
    given = ("--teacher", f"hf:{teacher}", "--teacher-arg", "pretrained=true", "--student", f"hf:{small}")
    return ("init", *given, "--save-pretrained", "--output", str(output))


def test_from_pretrained_loads_what_init_wrote(
    folders: tuple[Any, Path, Path], run: Callable[..., Run], tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    teacher, source, small = folders
    done = run(*command(source, small, tmp_path / "start"))
    assert (done.code, done.err) == (0, "")
    student = AutoModelForCausalLM.from_pretrained(tmp_path / "start")
    plan = ws.load_plan(tmp_path / "start" / "start.plan.json")
    assert not any(kept.parameter for kept in plan.kept)  # rotary frequencies are computed
    expected = AutoModelForCausalLM.from_config(student.config)
    ws.apply(plan, expected, teacher)
    ours, theirs = student.state_dict(), expected.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert torch.equal(ours["model.embed_tokens.weight"], teacher.model.embed_tokens.weight[:, ::2])
    assert student.lm_head.weight is student.model.embed_tokens.weight
    assert student.config.use_cache


def test_what_else_is_in_the_folder(folders: tuple[Any, Path, Path], run: Callable[..., Run], tmp_path: Path) -> None:
    run(*command(*folders[1:], tmp_path / "start"))
    names = {file.name for file in (tmp_path / "start").iterdir()}
    assert names == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "README.md", "start.plan.json",
        "start.report.html",
    }  # fmt: skip
    card = (tmp_path / "start" / "README.md").read_text()
    assert card.startswith("## Initialisation\n\nstart starts from teacher by weight selection")
    assert json.loads((tmp_path / "start" / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]


def test_another_vocabulary_needs_another_tokenizer(
    folders: tuple[Any, Path, Path], run: Callable[..., Run], tmp_path: Path
) -> None:
    _, teacher, small = folders
    file = small / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "vocab_size": 60}))
    rules = tmp_path / "mine.yaml"
    rules.write_text("version: 1\nextends: default\nelements:\n  - {where: {role: vocabulary}, resize: keep}\n")
    done = run(*command(teacher, small, tmp_path / "start"), "--rules", str(rules))
    assert done.code == 0, done.err
    assert not (tmp_path / "start" / "tokenizer.json").exists()


def test_folders_that_cannot_be_written(
    folders: tuple[Any, Path, Path], refused: Callable[..., str], tmp_path: Path
) -> None:
    _, teacher, small = folders
    assert "is also read from: write to another folder" in refused(*command(teacher, small, teacher))
    said = refused(*command(teacher, small, tmp_path / "no" / "start"))
    assert "with --save-pretrained, name a folder, in a folder that exists" in said
    given = ("--teacher", "timm:vit_tiny_patch16_224", "--student", "timm:vit_tiny_patch16_224", "--output", "x")
    said = refused("init", *given, "--save-pretrained")
    assert "--save-pretrained is for students of transformers (hf:...), and this one is timm:vit_tiny" in said


def test_a_folder_has_the_dtype_of_the_student(
    folders: tuple[Any, Path, Path], refused: Callable[..., str], tmp_path: Path
) -> None:
    said = refused(*command(*folders[1:], tmp_path / "start"), "--dtype", "bfloat16")
    assert "--dtype is for files of tensors: with --save-pretrained, the student's own dtype is written" in said
