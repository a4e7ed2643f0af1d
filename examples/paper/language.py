"""A LLaMA-shaped language model over bytes, and a corpus that every Python carries: its standard library's source."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

VOCABULARY = 256
TEST_EVERY = 10
"""Every tenth file, by name, is for the test."""


class Llama(nn.Module):
    """The LlamaForCausalLM of transformers, from bytes `(batch, length)` to logits `(batch, length, vocabulary)`."""

    def __init__(
        self, width: int, depth: int, heads: int, kv_heads: int, vocabulary: int = VOCABULARY, length: int = 128
    ) -> None:
        super().__init__()
        from transformers import LlamaConfig, LlamaForCausalLM

        config = LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=8 * width // 3 // 16 * 16,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            max_position_embeddings=length,
            attn_implementation="eager",
            use_cache=False,
        )
        self.model = LlamaForCausalLM(config)

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids=ids).logits
        return logits


class SourceBytes(Dataset[tuple[Tensor, Tensor]]):
    """Windows of `length` bytes, with the bytes that follow each."""

    def __init__(self, train: bool, length: int = 128, limit: int = 8_000_000) -> None:
        files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
        chosen = [file for place, file in enumerate(files) if (place % TEST_EVERY == 0) != train]
        text = b"".join(file.read_bytes() for file in chosen)[:limit]
        self._bytes, self._length = torch.frombuffer(bytearray(text), dtype=torch.uint8), length

    def __len__(self) -> int:
        return (len(self._bytes) - 1) // self._length

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        begin = place * self._length
        window = self._bytes[begin : begin + self._length + 1].long()
        return window[:-1], window[1:]
