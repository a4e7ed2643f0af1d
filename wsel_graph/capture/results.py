"""Which result of one model corresponds to which of another: by their keys, where both return mappings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch.utils import _pytree as pytree


def result_keys(output: Any) -> tuple[str, ...]:
    """The keys of a model's results, in the order of their tensors; empty where it returns no mapping.

    >>> result_keys({"logits": torch.ones(2), "states": (torch.ones(2), torch.ones(2))})
    ('logits', 'states 0', 'states 1')
    """
    if not isinstance(output, Mapping):
        return ()
    found = []
    for key, value in output.items():
        tensors = sum(isinstance(leaf, torch.Tensor) for leaf in pytree.tree_leaves(value))
        found.extend([str(key)] if tensors == 1 else [f"{key} {number}" for number in range(tensors)])
    return tuple(found)


class HasResults(Protocol):
    """A recorded forward pass, as far as its results go."""

    @property
    def outputs(self) -> Sequence[Any]:
        """One for every tensor that the model returned."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Of the outputs, where the model returned a mapping."""


def paired_results(student: HasResults, teacher: HasResults) -> dict[int, int]:
    """The number of the teacher's result for every number of the student's that has one.

    Equal keys correspond; what is left on both sides does in its order.

    >>> from types import SimpleNamespace as Recorded
    >>> teacher = Recorded(outputs="abc", keys=("size", "kind", "age"))
    >>> paired_results(Recorded(outputs="ab", keys=("age", "hue")), teacher)
    {0: 2, 1: 0}
    >>> paired_results(Recorded(outputs="ab", keys=()), teacher)
    {0: 0, 1: 1}
    """
    numbers = {key: number for number, key in enumerate(teacher.keys)}
    found = {ours: numbers[key] for ours, key in enumerate(student.keys) if key in numbers}
    left = [number for number in range(len(teacher.outputs)) if number not in found.values()]
    others = (ours for ours in range(len(student.outputs)) if ours not in found)
    return dict(sorted((found | dict(zip(others, left, strict=False))).items()))


def numbered_alike(student: HasResults, teacher: HasResults) -> list[int]:
    """For every result of the teacher the number of the student's that corresponds; a new number where none does."""
    partners = {theirs: ours for ours, theirs in paired_results(student, teacher).items()}
    return [partners.get(theirs, len(student.outputs) + theirs) for theirs in range(len(teacher.outputs))]
