"""Oracle O3: one architecture, two implementations by different authors, and values carried from one to the other.

Every `Twin` names two implementations that compute the same function when they hold the same values. `carry` shows it
without the engine: it moves the values by a list of names written by hand. What the engine finds by itself, with no
hint, must do the same, in both directions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Inputs = tuple[Any, ...] | dict[str, Any]

FUSED = " + "
"""In a rename: the tensors left and right of it, laid end to end along dim 0."""
TURNED = "^T"
"""In a rename: the tensor before it, transposed."""
THIRDS = "@"
"""In a rename: `name@1:3` is the second and last third of a tensor's dim 0."""


@dataclass(frozen=True, slots=True)
class Form:
    """One implementation.

    Attributes:
        by: Whose implementation it is.
        make: Builds it; the values do not matter.
        inputs: Turns the common input into what its forward takes.
        output: Turns what its forward returns into the common output.
    """

    by: str
    make: Callable[[], nn.Module]
    inputs: Callable[[Tensor], Inputs]
    output: Callable[[Any], Tensor]


@dataclass(frozen=True, slots=True)
class Twin:
    """Two implementations of one architecture.

    Attributes:
        network: The architecture.
        example: Makes the common input.
        renames: Regular expressions and replacements, applied in order, that turn a tensor name of `first` into an
            expression of tensor names of `second`; None pairs both in the order in which they are registered.
    """

    network: str
    example: Callable[[], Tensor]
    first: Form
    second: Form
    renames: tuple[tuple[str, str], ...] | None


@dataclass(frozen=True, slots=True)
class Transplant:
    """One direction of a twin."""

    name: str
    student: Form
    teacher: Form
    example: Callable[[], Tensor]


def directed(twins: tuple[Twin, ...]) -> Iterator[Transplant]:
    """Both directions of every twin."""
    for twin in twins:
        for student, teacher in ((twin.first, twin.second), (twin.second, twin.first)):
            yield Transplant(f"{twin.network}: {teacher.by} to {student.by}", student, teacher, twin.example)


def build(form: Form, seed: int) -> nn.Module:
    """The implementation in float64, in eval mode, with random values everywhere."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return scatter(form.make().double().eval())


def scatter(model: nn.Module) -> nn.Module:
    """Fill all that training moves with random values, so that no two channels, heads or norms are alike."""
    with torch.no_grad():
        for name, tensor in moved(model).items():
            noise = torch.randn_like(tensor)
            if name.endswith("running_var"):
                tensor.copy_(0.5 + torch.rand_like(tensor))
            elif tensor.dim() > 1:
                tensor.copy_(noise / max(1, tensor[0].numel()) ** 0.5)
            else:
                tensor.copy_(0.3 * noise + (1 if name.endswith("weight") else 0))
    return model


def moved(model: nn.Module) -> dict[str, Tensor]:
    """Parameters, and the running statistics of batch norms, in the order in which they are registered."""
    return {
        name: tensor
        for name, tensor in model.state_dict(keep_vars=True).items()
        if isinstance(tensor, nn.Parameter) or name.rpartition(".")[2] in ("running_mean", "running_var")
    }


def run(form: Form, model: nn.Module, example: Tensor) -> Tensor:
    """The common output on the common input."""
    inputs = form.inputs(example)
    with torch.no_grad():
        return form.output(model(*inputs) if isinstance(inputs, tuple) else model(**inputs))


def carry(twin: Twin, first: nn.Module, second: nn.Module) -> None:
    """Give `first` the values of `second`, by the twin's renames.

    Raises:
        KeyError: If a rename leads to no tensor.
        ValueError: If the two do not hold the same number of tensors.
    """
    ours, theirs = moved(first), moved(second)
    if twin.renames is None:
        sources = [(target, source) for target, source in zip(ours.values(), theirs.values(), strict=True)]
    else:
        sources = [(target, _lookup(_rename(name, twin.renames), theirs)) for name, target in ours.items()]
    with torch.no_grad():
        for target, source in sources:
            target.copy_(source.reshape(target.shape))


def _rename(name: str, renames: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in renames:
        name = re.sub(pattern, replacement, name)
    return name


def _lookup(expression: str, tensors: dict[str, Tensor]) -> Tensor:
    parts = [_part(part, tensors) for part in expression.split(FUSED)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _part(expression: str, tensors: dict[str, Tensor]) -> Tensor:
    if expression.endswith(TURNED):
        return tensors[expression.removesuffix(TURNED)].mT
    name, _, thirds = expression.partition(THIRDS)
    if not thirds:
        return tensors[name]
    start, stop = (int(third) * len(tensors[name]) // 3 for third in thirds.split(":"))
    return tensors[name][start:stop]


def image(size: int) -> Callable[[], Tensor]:
    """A batch of two random images."""
    return lambda: _random(lambda: torch.randn(2, 3, size, size, dtype=torch.float64))


def tokens(length: int = 7, vocabulary: int = 29) -> Tensor:
    """Two random texts."""
    return _random(lambda: torch.randint(3, vocabulary, (2, length)))


def features() -> Tensor:
    """Two random sequences of five features."""
    return _random(lambda: torch.randn(2, 7, 5, dtype=torch.float64))


def _random(draw: Callable[[], Tensor]) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return draw()


def positional(tensor: Tensor) -> Inputs:
    """The common input as the only argument."""
    return (tensor,)


def itself(output: Tensor) -> Tensor:
    """The output is the common output."""
    return output
