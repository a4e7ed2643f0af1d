"""The error for tensors that were paired and do not fit: who accepts unmatched tensors lets them keep their values."""

from __future__ import annotations

from collections.abc import Iterable

from wsel_graph.errors import PlanError


class Unfit(PlanError):
    """Student tensors that cannot be filled from their counterparts.

    Attributes:
        tensors: Their first names.
        why: The reason in a few words.
    """

    def __init__(self, message: str, tensors: Iterable[str], why: str) -> None:
        super().__init__(message)
        self.tensors, self.why = tuple(dict.fromkeys(tensors)), why


def all_of(faults: list[Unfit]) -> Unfit:
    """Several faults as one: what the first says, and the tensors of all."""
    return Unfit(str(faults[0]), (name for fault in faults for name in fault.tensors), faults[0].why)


def tensors_at(places: Iterable[str]) -> list[str]:
    """The tensors of some places, each given as `"name:dim"`.

    >>> tensors_at(["fc.weight:0", "fc.weight:1", "fc.bias:0"])
    ['fc.weight', 'fc.bias']
    """
    return list(dict.fromkeys(place.rpartition(":")[0] for place in places))
