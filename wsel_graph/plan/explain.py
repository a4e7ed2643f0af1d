"""Where the values of one student tensor come from, in words."""

from __future__ import annotations

from wsel_graph.plan.copies import Copy, describe_indices, describe_mix, describe_resize
from wsel_graph.plan.parts import Choice


def explain_copy(copy: Copy, choices: tuple[Choice, ...]) -> str:
    """One copy as lines; what is added to it follows, without repeating the student's side."""
    head = [f"{copy.student} {list(copy.student_shape)} <- {copy.teacher} {list(copy.teacher_shape)}"]
    for other in copy.also:
        head.append(f"  + {other.teacher} {list(other.teacher_shape)}")
    alike = all(_taken(other) == _taken(copy) for other in copy.also)
    for number, source in enumerate([copy] if alike else copy.sources):
        head.extend([] if alike else [f"  of {source.teacher}:"])
        head.extend(_explain_source(source, choices, first=not number))
    return "\n".join(head)


def _taken(copy: Copy) -> tuple[object, ...]:
    return copy.indices, copy.mix, copy.resize, copy.scale, copy.teacher_shape


def _explain_source(copy: Copy, choices: tuple[Choice, ...], first: bool) -> list[str]:
    lines = []
    if copy.region is not None and first:
        lines.append("  fills " + ", ".join(describe_indices(indices) for indices in copy.region))
    mixed = {mix.dim: mix for mix in copy.mix}
    for dim, indices in enumerate(copy.indices):
        place = f"{copy.student}:{_student_dim(copy, dim)}"
        groups = [f"{c.role} {c.teacher_size} -> {c.student_size} {c.method}" for c in choices if place in c.members]
        what = "; ".join(groups) or "fixed"
        elements = describe_mix(mixed[dim]) if dim in mixed else describe_indices(indices)
        lines.append(f"  dim {dim}: {elements} of {copy.teacher_shape[dim]} ({what})")
    lines.extend(f"  dim {resize.dim}: {describe_resize(resize)}" for resize in copy.resize)
    if copy.scale != 1:
        lines.append(f"  {'each ' if copy.also else ''}multiplied by {copy.scale:.6g}")
    return lines


def _student_dim(copy: Copy, dim: int) -> int:
    """The student dim that a teacher dim goes to, where every dim stays whole."""
    return copy.view.order.index(dim) if copy.view is not None and dim in copy.view.order else dim
