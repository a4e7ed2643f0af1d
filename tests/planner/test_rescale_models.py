"""`rescale: [norm, attention]` on language models of a library: equal outputs, in float64, for planted teachers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.planner.planted import scales, transferred
from tests.zoo import torchvision_stub
from wsel_graph.coupling.precision import Double

torchvision_stub.install()

import transformers  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM  # noqa: E402

IDS = {"input_ids": torch.tensor([[1, 5, 9, 30, 2, 7], [0, 3, 3, 8, 31, 4]])}
RULES = "  - rescale: [norm, attention]"


def llama(
    width: int, heads: int, keys: int, head_dim: int, eps: float, attention: str, config: type = LlamaConfig
) -> Any:
    """The configuration of a model of two layers."""
    return config(
        vocab_size=32, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2, num_attention_heads=heads,
        num_key_value_heads=keys, head_dim=head_dim, rms_norm_eps=eps, attn_implementation=attention,
        max_position_embeddings=64, bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )  # fmt: skip


def off(student: nn.Module, teacher: nn.Module) -> float:
    """Largest difference of the logits, relative to the largest."""
    with torch.no_grad(), Double():  # the library's norms and rotary codes ask for float32
        ours, theirs = student(**IDS).logits, teacher(**IDS).logits
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "my.yaml"


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_grouped_queries_and_rotary_codes(file: Path, attention: str) -> None:
    """Width, heads, key heads, head channels and hidden channels are halved; the epsilon is doubled."""
    make = lambda *sizes: LlamaForCausalLM(llama(*sizes, attention))  # noqa: E731
    plan, student, teacher = transferred(file, RULES, make(16, 4, 2, 4, 2e-2), make(32, 8, 4, 8, 1e-2), IDS)
    assert off(student, teacher) < 1e-9
    norms = {name: 2**0.5 for name, _ in student.named_parameters() if "norm" in name}
    queries = {name: 0.5**0.5 for name, _ in student.named_parameters() if "q_proj" in name}
    assert len(norms) == 5
    assert scales(plan) == pytest.approx(norms | queries, rel=1e-12)
    assert len([note for note in plan.notes if note.startswith("rescale")]) == 1
    for rules in ("  - rescale: norm", "  - rescale: attention", "  - rescale: none"):
        _, student, teacher = transferred(file, rules, make(16, 4, 2, 4, 2e-2), make(32, 8, 4, 8, 1e-2), IDS)
        assert off(student, teacher) > 1e-3  # each of the two is needed


def test_the_same_epsilon_is_exact_only_in_the_limit(file: Path) -> None:
    make = lambda *sizes: LlamaForCausalLM(llama(*sizes, "eager"))  # noqa: E731
    found = []
    for eps in (1e-2, 1e-4, 1e-6):
        plan, student, teacher = transferred(file, RULES, make(16, 4, 2, 4, eps), make(32, 8, 4, 8, eps), IDS)
        found.append(off(student, teacher))
        assert any("the student's epsilon is" in note for note in plan.notes)
    assert found[0] > found[1] > found[2] > 1e-12
    assert found[2] < 1e-3


def test_norms_of_queries_and_keys(file: Path) -> None:
    """The factors of a query norm, for its own width and for the scores, cancel; keys keep theirs."""
    make = lambda *sizes: Qwen3ForCausalLM(llama(*sizes, "eager", Qwen3Config))  # noqa: E731
    plan, student, teacher = transferred(file, RULES, make(16, 4, 2, 4, 2e-2), make(32, 8, 4, 8, 1e-2), IDS)
    assert off(student, teacher) < 1e-9
    found = scales(plan)
    assert not [name for name in found if "q_norm" in name or "q_proj" in name]
    assert len([name for name in found if "k_norm" in name]) == 2


@pytest.mark.parametrize(
    ("name", "attention", "more"),
    [
        pytest.param("Mistral", "eager", {}, id="product, then number"),
        pytest.param("Mistral", "sdpa", {}, id="library, grouped"),
        pytest.param("Gemma2", "eager", {"query_pre_attn_scalar": True, "attn_logit_softcapping": 5.0}, id="capped"),
        pytest.param("Qwen3", "sdpa", {}, id="norms of queries and keys"),
    ],
)
def test_head_channels_alone(file: Path, name: str, attention: str, more: dict[str, Any]) -> None:
    """Only what queries and keys have in common becomes smaller, beside the channels of values."""

    def make(head_dim: int) -> nn.Module:
        config = llama(16, 4, 2, head_dim, 1e-2 * 8 / head_dim, attention, getattr(transformers, f"{name}Config"))
        for key, value in more.items():
            setattr(config, key, head_dim if value is True else value)
        model: nn.Module = getattr(transformers, f"{name}ForCausalLM")(config)
        for part in model.modules():  # norms over what does not change keep their epsilon
            for key in ("variance_epsilon", "eps"):
                if hasattr(part, key) and getattr(part, "weight", torch.zeros(0)).shape == (16,):
                    setattr(part, key, 1e-2)
        return model

    plan, student, teacher = transferred(file, RULES, make(4), make(8), IDS)
    assert off(student, teacher) < 1e-9
    assert not [note for note in plan.notes if "left as" in note]
    _, student, teacher = transferred(file, "  - rescale: none", make(4), make(8), IDS)
    assert off(student, teacher) > 1e-3
