"""Element methods: which elements of a teacher axis a smaller student axis takes.

Reference: Xu et al., "Initializing Models with Larger Ones", arXiv:2311.18823, section 3 (element selection).
"""

from __future__ import annotations

import hashlib
import operator
import random as _random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from wsel_graph.axes import evenly_spaced
from wsel_graph.coupling.statistics import Statistics
from wsel_graph.errors import PlanError
from wsel_graph.selection.model import ElementRule

if TYPE_CHECKING:
    from wsel_graph.planner.merge import ElementFeatures

ElementFunction: TypeAlias = Callable[[int, int], Sequence[int]]
"""`(teacher_size, student_size) -> zero-based elements`."""

Method: TypeAlias = str | Sequence[int] | ElementFunction


def uniform(teacher_size: int, student_size: int) -> Sequence[int]:
    """Evenly spaced elements: every k-th when the sizes divide, else `round(linspace)`, half to even.

    Args:
        teacher_size: Elements to choose from.
        student_size: Elements to take, at least 1 and at most `teacher_size`.
    Returns:
        Zero-based, strictly increasing.

    >>> list(uniform(8, 4)), list(uniform(5, 3)), list(uniform(7, 5))
    ([0, 2, 4, 6], [0, 2, 4], [0, 2, 3, 4, 6])
    """
    return evenly_spaced(teacher_size, student_size)


def consecutive(teacher_size: int, student_size: int) -> Sequence[int]:
    """The first `student_size` elements.

    >>> list(consecutive(8, 3))
    [0, 1, 2]
    """
    return range(student_size)


METHODS: dict[str, ElementFunction] = {"uniform": uniform, "consecutive": consecutive}
"""Methods that need nothing but sizes; `random` needs a seed and a place too."""

NAMES = (*METHODS, "random")


@dataclass(frozen=True, slots=True)
class Elements:
    """How elements are chosen. What is None is left to the rules, and where no rule says it to the default.

    Attributes:
        method: For every group: `uniform` (the default), `consecutive`, `random`, or a function of the two sizes.
        unit: `whole` (the default) selects heads and head channels (any product of axes) factor by factor; `flat`
            treats a product such as `(heads head_dim)` as one run of channels, like the paper.
        seed: Seed of `random`, 0 by default.
        consistent: False draws a fresh list per tensor and dim: the paper's ablation, it breaks the network.
        overrides: A method, list or function for a role (`"heads"`) or one place (`"blocks.0.norm1.weight:0"`).
            It holds for pinned groups too: who names elements of a pinned axis has decided.
        rules: The element rules of a rule file, in order of priority.
        source: The rule file that the user named; its rules that govern nothing are reported.
        statistics: Of the teacher's activations, for scores that need them.
        features: More grounds for `take: {merge: NAME}`, by name: what makes elements alike.
    """

    method: str | ElementFunction | None = None
    unit: str | None = None
    seed: int | None = None
    consistent: bool | None = None
    overrides: Mapping[str, Method] = field(default_factory=dict)
    rules: tuple[ElementRule, ...] = ()
    source: str = ""
    statistics: Statistics | None = None
    features: Mapping[str, ElementFeatures] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.unit not in ("whole", "flat", None):
            raise PlanError(f"unit must be 'whole' or 'flat', got {self.unit!r}")
        if not (self.method is None or isinstance(self.method, str) or callable(self.method)):
            raise PlanError(
                f"method must be {', '.join(NAMES)} or a function, got {self.method!r}; lists go in overrides"
            )
        for method in (self.method, *self.overrides.values()):
            if isinstance(method, str) and method not in NAMES:
                raise PlanError(f"unknown element method {method!r}; known: {', '.join(NAMES)}, a list or a function")

    def override_key(self, role: str, places: Iterable[str]) -> str | None:
        """The key of `overrides` that governs a group: one of its places, else its role."""
        return next((key for key in (*places, role) if key in self.overrides), None)

    def choose(
        self, method: Method, teacher_size: int, student_size: int, place: str, seed: int | None = None
    ) -> Sequence[int]:
        """Zero-based elements for one group.

        Args:
            place: A stable name of the group, which seeds `random` too.
            seed: Seed of `random` for this group; None for the one of all groups.
        Raises:
            PlanError: If a list or function gives repeated, out-of-range or too few elements.
        """
        if isinstance(method, str) and method in METHODS:
            return METHODS[method](teacher_size, student_size)
        if isinstance(method, str):
            generator = _generator(self.seed or 0 if seed is None else seed, place)
            return sorted(generator.sample(range(teacher_size), student_size))
        return checked(
            method(teacher_size, student_size) if callable(method) else method, teacher_size, student_size, place
        )


def _generator(seed: int, place: str) -> _random.Random:
    digest = hashlib.sha256(f"{seed}:{place}".encode()).digest()
    return _random.Random(int.from_bytes(digest[:8], "big"))


def method_name(method: Method) -> str:
    """A short name for reports."""
    if isinstance(method, str):
        return method
    return getattr(method, "__name__", "function") if callable(method) else "explicit list"


def checked(given: Iterable[int], teacher_size: int, student_size: int, place: str) -> list[int]:
    """The given elements as ints.

    Raises:
        PlanError: If they are no integers, too few or too many, outside the teacher's axis, or repeated.
    """
    try:
        chosen = [operator.index(element) for element in given]
    except TypeError:
        raise PlanError(f"the elements for {place} must be integers, got {given!r}") from None
    faults = []
    if len(chosen) != student_size:
        faults.append(f"{len(chosen)} elements given, the student needs {student_size}")
    if outside := [element for element in chosen if not 0 <= element < teacher_size]:
        faults.append(f"{outside[0]} is outside the teacher's 0..{teacher_size - 1}")
    if len(set(chosen)) < len(chosen):
        faults.append("repeated elements")
    if faults:
        raise PlanError(f"the element list for {place} does not fit: {'; '.join(faults)}")
    return chosen
