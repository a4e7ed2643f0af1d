"""Language models by their sizes, on the meta device: what the benchmarks of large models share."""

from __future__ import annotations

import datetime
import platform
from dataclasses import dataclass
from importlib.metadata import version

import torch
from torch import nn

from tests.zoo.torchvision_stub import install


@dataclass(frozen=True)
class Sizes:
    """The sizes of a decoder with rotary attention and a gated MLP."""

    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int = 32000

    def smaller(self, width: int, depth: int) -> Sizes:
        """Width and number of layers divided; heads keep their size."""
        return Sizes(
            self.hidden // width, self.inner // width, self.layers // depth, self.heads // width,
            max(1, self.kv_heads // width), self.vocabulary,
        )  # fmt: skip


LARGE = {
    "7B": Sizes(4096, 11008, 32, 32, 32),
    "70B": Sizes(8192, 28672, 80, 64, 8, 128256),
    "405B": Sizes(16384, 53248, 126, 128, 8, 128256),
}
"""Published sizes of LLaMA 2 7B and LLaMA 3.1 70B and 405B."""


def language_model(sizes: Sizes, device: str = "meta", dtype: torch.dtype = torch.bfloat16) -> nn.Module:
    """The model of transformers, in evaluation mode; its values are not initialised."""
    install()
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=sizes.hidden, intermediate_size=sizes.inner, num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads, num_key_value_heads=sizes.kv_heads, vocab_size=sizes.vocabulary,
        use_cache=False, tie_word_embeddings=False,
    )  # fmt: skip
    with torch.device(device):
        model: nn.Module = LlamaForCausalLM(config).to(dtype).eval()
    return model


def tokens() -> dict[str, torch.Tensor]:
    """Example inputs."""
    return {"input_ids": torch.arange(5, 21).reshape(1, 16)}


def header(*packages: str) -> str:
    """Date, versions and threads, for the first line of a table."""
    named = ", ".join(f"{name} {version(name)}" for name in ("torch", *packages))
    return (
        f"{datetime.date.today()}, Python {platform.python_version()}, {named}, {torch.get_num_threads()} CPU thread(s)"
    )
