"""Facts about a run of joint groups: its coupled groups, its role, its sizes."""

from __future__ import annotations

import math

from wsel_graph.coupling.groups import ROLES, CoupledGroup
from wsel_graph.planner.flat import Run
from wsel_graph.planner.joint import Joint, Joints


def sizes(run: Run) -> tuple[int, int]:
    """Student and teacher elements."""
    return math.prod(joint.student_size for joint in run), math.prod(joint.teacher_size for joint in run)


def groups(joints: Joints, run: Run) -> tuple[list[CoupledGroup], list[CoupledGroup]]:
    """The coupled groups of the student and of the teacher."""
    split: list[tuple[Joint, list[CoupledGroup]]] = [(joint, joints.groups(joint)) for joint in run]
    ours = [group for joint, both in split for group in both[: len(joint.student)]]
    return ours, [group for joint, both in split for group in both[len(joint.student) :]]


def _in_order(joints: Joints, run: Run) -> list[CoupledGroup]:
    return [group for joint in run for group in joints.groups(joint)]


def pinned(joints: Joints, run: Run) -> CoupledGroup | None:
    """The first pinned coupled group of a run."""
    return next((group for group in _in_order(joints, run) if group.pinned is not None), None)


def role(joints: Joints, run: Run) -> str:
    """`heads`, or `(heads head_dim)`: the reason of a pinned group, else the strongest role of either model."""
    if (fixed := pinned(joints, run)) is not None:
        return fixed.role
    roles = [min((group.role for group in joints.groups(joint)), key=ROLES.index) for joint in run]
    return roles[0] if len(roles) == 1 else f"({' '.join(roles)})"


def status(joints: Joints, run: Run) -> str:
    """`free`, or the reason why it is not, of the first group that has one."""
    found = _in_order(joints, run)
    marked = [group for group in found if group.pinned is not None] or [group for group in found if not group.free]
    return (marked or found)[0].status
