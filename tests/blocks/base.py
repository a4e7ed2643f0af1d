"""What the building blocks of random architectures have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from torch import nn

MAX_TOKENS = 32
WIDTHS = (6, 4, 8, 12, 5, 9)

Options = dict[str, st.SearchStrategy[Any]]


class Block(nn.Module):
    """A module from `c` channels and `n` tokens (or pixels) to `out` channels and `tokens` tokens.

    `k` is the width scale: every width that the block chooses itself is a multiple of it, so that one drawn
    architecture can be built as a student (1) and as a wider teacher (2).
    """

    out: int
    tokens: int

    def __init__(self, c: int, n: int, counts: bool = False) -> None:
        """`counts`: the number of channels enters the result (a norm, mean or softmax over them, their positions)."""
        super().__init__()
        self.out, self.tokens, self.counts = c, n, counts

    @staticmethod
    def options(c: int) -> Options:
        """Strategies for the keyword arguments, given the number of channels at width scale 1."""
        return {}

    def extra_repr(self) -> str:
        return f"out={self.out}, tokens={self.tokens}"


def half(c: int, k: int) -> int:
    """Half of `c` channels, rounded down, so that it scales with `k`."""
    return c // k // 2 * k


def divisors(n: int) -> list[int]:
    """All divisors, in order."""
    return [d for d in range(1, n + 1) if n % d == 0]


def pick(*values: Any) -> st.SearchStrategy[Any]:
    """One of the values."""
    return st.sampled_from(values)


def divisor(n: int) -> st.SearchStrategy[int]:
    """One of the divisors of `n`, a proper one first."""
    return st.sampled_from(sorted(divisors(n), key=lambda d: d in (1, n)))


def width() -> st.SearchStrategy[int]:
    """A width for something new."""
    return st.sampled_from(WIDTHS)


def flag() -> st.SearchStrategy[bool]:
    """Yes or no."""
    return st.booleans()


ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": torch.relu,
    "gelu": nn.functional.gelu,
    "silu": nn.functional.silu,
    "hardswish": nn.functional.hardswish,
    "tanh": torch.tanh,
}


def activation() -> st.SearchStrategy[str]:
    """Name of an elementwise function."""
    return st.sampled_from(list(ACTIVATIONS))


def noise(*shape: int) -> nn.Parameter:
    """A parameter with values that differ from each other and from zero."""
    return nn.Parameter(torch.randn(shape) * 0.5)
