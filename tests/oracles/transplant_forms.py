"""What all twins are made with: forms of each library, and renames that several architectures share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from tests.zoo.torchvision_stub import install

from .transplants import FUSED, Form, Inputs, itself, positional

install()
import transformers  # noqa: E402

CLASSES = 5

Renames = tuple[tuple[str, str], ...]


def plain(by: str, make: Any, *arguments: Any, **options: Any) -> Form:
    """An implementation that takes one tensor and returns the common output."""
    return Form(by, partial(make, *arguments, **options), positional, itself)


def pixels(tensor: Tensor) -> Inputs:
    """The input of a transformers image model."""
    return {"pixel_values": tensor}


def text(tensor: Tensor) -> Inputs:
    """The input of a transformers language model."""
    return {"input_ids": tensor}


def logits(output: Any) -> Tensor:
    """The `logits` of a transformers output."""
    result: Tensor = output.logits
    return result


def pooled(output: Any) -> Tensor:
    """The pooled state of a transformers image encoder."""
    result: Tensor = output.pooler_output
    return result


def last_state(output: Any) -> Tensor:
    """The last hidden state of a transformers encoder."""
    result: Tensor = output.last_hidden_state
    return result


def hub(
    name: str,
    config: str,
    *,
    by: str = "transformers",
    inputs: Callable[[Tensor], Inputs] = pixels,
    output: Callable[[Any], Tensor] = logits,
    parts: Mapping[str, Any] | None = None,
    **options: Any,
) -> Form:
    """A transformers model; `name` and `config` are names of its classes, `parts` says which parts it has."""
    return Form(by, partial(_hub, name, config, parts or {}, options), inputs, output)


def _hub(name: str, config: str, parts: Mapping[str, Any], options: Mapping[str, Any]) -> nn.Module:
    settings = getattr(transformers, config)(**options)
    model: nn.Module = getattr(transformers, name)(settings, **parts)
    return model


def fused(whole: str, *parts: str, kinds: str = "weight|bias") -> tuple[str, str]:
    """The rename of a fused projection to its separate parts, all given without `.weight` and by their last names."""
    return rf"^(.*){whole}\.({kinds})$", FUSED.join(rf"\1{part}.\2" for part in parts)


def apart(name: str = "", letters: str = "qkv", last: str = "_proj") -> tuple[str, ...]:
    """Names of separate projections, such as `attention.q_proj`.

    >>> apart("self.", last="")
    ('self.q', 'self.k', 'self.v')
    """
    return tuple(f"{name}{letter}{last}" for letter in letters)
