"""Moments of the elements of an axis, streamed in float64: the same for any split of the data into batches."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from wsel_graph.axes import Atom, Axis
from wsel_graph.coupling.places import element_of

_CHUNK = 1 << 22
"""Numbers that are widened to float64 at a time."""


@dataclass(slots=True)
class Moments:
    """Running moments of `size` elements; every number of an element's activation counts once.

    Means and variances of batches are merged by the formula of Chan, Golub and LeVeque ("Updating formulae and a
    pairwise algorithm for computing sample variances", 1979), which does not cancel as sums of squares do.

    Attributes:
        products: Whether to keep the products of all pairs of elements too.
        count: Numbers seen per element.
        mean: Their mean, `[size]`.
        deviation: Sum of squared deviations from the mean, `[size]`.
        absolute: Sum of absolute values, `[size]`.
        second: Sum over positions of the products of all pairs of elements, `[size, size]`.
    """

    size: int
    products: bool = False
    count: int = 0
    mean: torch.Tensor = field(init=False)
    deviation: torch.Tensor = field(init=False)
    absolute: torch.Tensor = field(init=False)
    second: torch.Tensor | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.mean, self.deviation, self.absolute = (
            torch.zeros(self.size, dtype=torch.float64, device="cpu") for _ in range(3)
        )
        if self.products:
            self.second = torch.zeros(self.size, self.size, dtype=torch.float64, device="cpu")

    def add(self, value: torch.Tensor, dim: int, axis: Axis, atom: Atom) -> None:
        """Count one activation.

        Args:
            value: Any shape; complex numbers count as two real ones.
            dim: The dim that holds the elements, zero-based.
            axis: What this dim is made of.
            atom: The elements; other parts of the axis count as further positions.
        """
        if value.is_complex():
            value = torch.view_as_real(value)
        rows = value.detach().movedim(dim, -1).reshape(-1, axis.size)
        index = None if axis is atom else _index(axis, atom).to(rows.device)
        for part in torch.split(rows, max(1, _CHUNK // axis.size)):
            wide = part.to(torch.float64)
            self._add_rows(wide if index is None else wide[:, index].reshape(-1, self.size))

    def _add_rows(self, rows: torch.Tensor) -> None:
        """Count observations, float64 `[positions, size]`."""
        new = rows.shape[0]
        if new == 0:
            return
        mean = rows.mean(0)
        deviation = (rows - mean).square().sum(0).cpu()
        self.absolute += rows.abs().sum(0).cpu()
        if self.second is not None:
            self.second += (rows.mT @ rows).cpu()
        shift, total = mean.cpu() - self.mean, self.count + new
        self.deviation += deviation + shift.square() * (self.count * new / total)
        self.mean += shift * (new / total)
        self.count = total


def _index(axis: Axis, atom: Atom) -> torch.Tensor:
    """The positions of every element, `[occurrences, size]`: all elements occur equally often."""
    elements = torch.tensor(element_of(axis, atom), device="cpu")
    order = torch.argsort(elements, stable=True)
    return order[elements[order] >= 0].reshape(atom.size, -1).T
