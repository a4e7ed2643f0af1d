"""What one student tensor receives: teacher elements, resampled, laid out anew, averaged or scaled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

Indices: TypeAlias = range | tuple[int, ...]
"""Zero-based elements of one dim; a `range` when they are regularly spaced."""


def compact(indices: Sequence[int]) -> Indices:
    """The same elements, as a range when they are evenly spaced and ascending.

    >>> compact([0, 2, 4])
    range(0, 6, 2)
    >>> compact([0, 2, 5])
    (0, 2, 5)
    """
    if isinstance(indices, range):
        return indices
    items = tuple(indices)
    step = items[1] - items[0] if len(items) > 1 else 1
    if items and step > 0:
        regular = range(items[0], items[0] + step * len(items), step)
        if tuple(regular) == items:
            return regular
    return items


@dataclass(frozen=True, slots=True)
class View:
    """How a selected block is laid out anew: reshaped, permuted, and reshaped to where it goes."""

    shape: tuple[int, ...]
    order: tuple[int, ...]


ResizeKind: TypeAlias = Literal["linear", "bicubic", "bicubic-antialias", "pseudoinverse", "sum", "repeat"]
"""`linear`, `bicubic`: as images are resized. `pseudoinverse`: patch embeddings. `sum`, `repeat`: input channels."""


@dataclass(frozen=True, slots=True)
class Resize:
    """How one dim of a selected block is resampled.

    The dim holds `lead` rows, then a row-major grid, then `trail` rows; every grid axis whose size differs is
    resampled on its own, and the rows around the grid stay as they are.
    """

    kind: ResizeKind
    dim: int  # of the teacher, zero-based
    teacher_grid: tuple[int, ...]
    student_grid: tuple[int, ...]
    lead: int = 0
    trail: int = 0

    @property
    def teacher_size(self) -> int:
        """Rows before.

        >>> Resize("bicubic", 0, (14, 14), (10, 10), lead=1).teacher_size
        197
        """
        return self.lead + math.prod(self.teacher_grid) + self.trail

    @property
    def student_size(self) -> int:
        """Rows after.

        >>> Resize("bicubic", 0, (14, 14), (10, 10), lead=1).student_size
        101
        """
        return self.lead + math.prod(self.student_grid) + self.trail


@dataclass(frozen=True, slots=True)
class Mix:
    """One dim of a selected block is made of weighted sums: row `i` of `weights[i][j] * teacher[indices[i][j]]`."""

    dim: int  # of the teacher, zero-based
    indices: tuple[tuple[int, ...], ...]  # teacher positions of every element, its representative first
    weights: tuple[tuple[float, ...], ...]  # one per teacher position


@dataclass(frozen=True, slots=True)
class Copy:
    """Teacher elements for one student tensor, or for a region of it.

    The block `teacher[indices[0], :][:, indices[1]]...` is resampled, laid out anew (`view`), multiplied by `scale`,
    and goes to the student's `region`. Along the dims of `mix` it holds weighted sums of elements, and `indices` one
    representative of each. The values of `also`, which has the same student side, are added to it: averages of blocks.
    """

    student: str
    teacher: str
    student_shape: tuple[int, ...]
    teacher_shape: tuple[int, ...]
    indices: tuple[Indices, ...]  # one per teacher dim
    parameter: bool  # False for a buffer
    region: tuple[Indices, ...] | None = None  # one per student dim; None for all of it
    view: View | None = None  # None where dims correspond one to one
    resize: tuple[Resize, ...] = ()  # one per dim that is resampled
    scale: float = 1.0
    mix: tuple[Mix, ...] = ()  # one per dim that is merged
    also: tuple[Copy, ...] = ()  # what is added, each with a scale of its own

    @property
    def sources(self) -> tuple[Copy, ...]:
        """This copy, and those whose values are added."""
        return (self, *self.also)

    def times(self, factor: float) -> Copy:
        """The copy with all of its values multiplied; factors that cancel leave it as it was."""
        scale = self.scale * factor
        scale = 1.0 if math.isclose(scale, 1, rel_tol=1e-12) else scale
        return replace(self, scale=scale, also=tuple(other.times(factor) for other in self.also))

    @property
    def block_shape(self) -> tuple[int, ...]:
        """Shape of the selected block once it is resampled; one size per teacher dim."""
        after = {resize.dim: resize.student_size for resize in self.resize}
        return tuple(after.get(dim, len(indices)) for dim, indices in enumerate(self.indices))

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Shape of the region that is filled."""
        return self.student_shape if self.region is None else tuple(map(len, self.region))


def describe_resize(resize: Resize) -> str:
    """A short reading of a resampling.

    >>> describe_resize(Resize("bicubic", 0, (13, 13), (15, 15), trail=3))
    'resampled 13 x 13 -> 15 x 15 (bicubic), 3 rows besides as they are'
    """
    sizes = " -> ".join(" x ".join(map(str, grid)) for grid in (resize.teacher_grid, resize.student_grid))
    besides = f", {resize.lead + resize.trail} rows besides as they are" if resize.lead + resize.trail else ""
    return f"resampled {sizes} ({resize.kind}){besides}"


def describe_mix(mix: Mix) -> str:
    """A short reading of merged elements.

    >>> describe_mix(Mix(0, ((0, 3), (1,)), ((0.5, 0.5), (1.0,))))
    'averages [0, 3] [1]'
    """
    pairs = [(weight, len(own)) for own in mix.weights for weight in own]
    word = "sums" if all(weight == 1 for weight, _ in pairs) else "weighted sums"
    if all(weight == 1 / count for weight, count in pairs):
        word = "averages"
    listed = " ".join(str(list(own)) if len(own) <= 8 else f"[{len(own)} elements]" for own in mix.indices[:4])
    return f"{word} {listed}" + (f" ... ({len(mix.indices)} elements)" if len(mix.indices) > 4 else "")


def describe_indices(indices: Indices) -> str:
    """A short reading of an index list.

    >>> describe_indices(range(0, 384, 2))
    '0:384:2'
    >>> describe_indices((0, 2, 5))
    '[0, 2, 5]'
    """
    if isinstance(indices, range):
        return f"{indices.start}:{indices.stop}" + (f":{indices.step}" if indices.step != 1 else "")
    if len(indices) <= 8:
        return str(list(indices))
    return f"[{', '.join(map(str, indices[:6]))}, ... {indices[-1]}] ({len(indices)} elements)"
