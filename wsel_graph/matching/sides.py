"""A piece: the part of a student tensor and the part of a teacher tensor that fills it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Side:
    """A tensor, or a part of it.

    Attributes:
        tensor: Its first name.
        dims: Its own dims, in the order in which they correspond to the other side's.
        rows: An own dim and the zero-based elements of it that belong to the part; None for the whole tensor.
        tails: For every entry of `dims` the own dims that follow it, so that they make one axis, row-major; empty where
            no dims are put together.
        at: Own dims of which the part has one element, with that element; they are not among `dims`.
        split: An own dim and the sizes into which it is taken apart, row-major; `dims` then count these instead.
    """

    tensor: str
    dims: tuple[int, ...]
    rows: tuple[int, tuple[int, ...]] | None = None
    split: tuple[int, tuple[int, ...]] | None = None
    tails: tuple[tuple[int, ...], ...] = ()
    at: tuple[tuple[int, int], ...] = ()

    def own_dim(self, dim: int) -> tuple[int, int | None]:
        """The tensor's own dim behind an entry of `dims`, and which factor of it.

        >>> side = Side("fc.weight", (0, 3, 1, 2), split=(1, (8, 8, 3)))
        >>> [side.own_dim(dim) for dim in side.dims]
        [(0, None), (1, 2), (1, 0), (1, 1)]
        """
        if self.split is None or dim < self.split[0]:
            return dim, None
        first, sizes = self.split
        return (first, dim - first) if dim < first + len(sizes) else (dim - len(sizes) + 1, None)

    def run(self, number: int) -> tuple[int, ...]:
        """The entries that make up one axis: one of `dims`, and what follows it.

        >>> [Side("W_Q", (0, 1), tails=((2,), ())).run(number) for number in range(2)]
        [(0, 2), (1,)]
        """
        return (self.dims[number], *(self.tails[number] if self.tails else ()))

    @property
    def runs(self) -> list[tuple[int, ...]]:
        """Every entry with what follows it."""
        return [self.run(number) for number in range(len(self.dims))]

    def unfolded(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The tensor's shape with the dim taken apart."""
        if self.split is None:
            return shape
        dim, sizes = self.split
        return (*shape[:dim], *sizes, *shape[dim + 1 :])


@dataclass(frozen=True, slots=True)
class Piece:
    """A student part and the teacher part that fills it."""

    student: Side
    teacher: Side
