"""Joins the coupled groups of two models, and refuses what does not correspond although its sizes agree.

Sizes do not tell rows from columns, heads from as many head channels, or one axis from two of one size. What else
hangs together with them does: the dims of inputs and results that they come from and end in, their roles, and the
other tensors in which they stand.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

from wsel_graph.axes import Atom, Axis, Concat, Product, atoms, children
from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.coupling.groups import CoupledGroup
from wsel_graph.coupling.neighbours import Order
from wsel_graph.coupling.origins import InputDim
from wsel_graph.matching.sides import Piece, Side
from wsel_graph.planner.joint import Joint, Joints, PairedDim, shorten
from wsel_graph.planner.unfit import Unfit, all_of

_OF_ONE_HEAD = {"heads", "head_dim"}


def join(
    student: ModelGraph, teacher: ModelGraph, pieces: Iterable[Piece], paired: Mapping[str, str] | None = None
) -> Joints:
    """The joint groups of everything that was paired.

    Args:
        paired: Student tensors that a rule paired, each with the place of that rule: errors name it.
    Raises:
        Unfit: If two dims are built differently, come in another order, or one coupled group meets two sizes.
    """
    joints = Joints(student, teacher, paired)
    joints.add_pieces(pieces)
    for dims in joints.dims.values():
        if _out_of_order(joints, dims):
            raise _order_fault(dims[0].piece)
        if (turned := next((paired for paired in dims if _swaps_roles(joints, paired)), None)) is not None:
            raise _turned_fault(joints, turned)
    found = (_conflict(joints, joint) or _crossed(joints, joint) for joint in joints.all)
    conflicts = [fault for fault in found if fault is not None]
    if conflicts:
        raise all_of(conflicts)
    return joints


# -- positions


def _out_of_order(joints: Joints, dims: Sequence[PairedDim]) -> bool:
    """Whether the graphs show that positions correspond to others: rows before columns, columns before rows."""
    return any(_dim_out_of_order(joints, paired) for paired in dims) or _dims_out_of_order(joints, dims)


def _dim_out_of_order(joints: Joints, paired: PairedDim) -> bool:
    """Whether the factors of one merged axis come in another order."""
    pieces, axes = (paired.piece.student, paired.piece.teacher), (paired.student, paired.teacher)
    ours, theirs = zip(joints.graphs, pieces, axes, strict=True)
    if _permuted(_order(*ours), _order(*theirs)) or _permuted(_results(*ours), _results(*theirs)):
        return True
    mine, other = _steps(*ours), _steps(*theirs)
    whole = paired.student.size == paired.teacher.size
    whole = whole and all(joints.is_pinned(atom) for axis in axes for atom in atoms(axis))
    return whole and any(mine[dim] != other[dim] for dim in mine.keys() & other.keys())


def _permuted(ours: Sequence[tuple[int, ...]], theirs: Sequence[tuple[int, ...]]) -> bool:
    return ours != theirs and sorted(ours) == sorted(theirs)


def _dims_out_of_order(joints: Joints, dims: Sequence[PairedDim]) -> bool:
    """Whether several dims of one tensor come from dims of the inputs in another order."""
    student, teacher = joints.graphs
    leaves = [leaf for paired in dims for leaf in paired.leaves if not leaf.whole]
    places = [leaf for leaf in leaves if all(joints.is_place(axis) for axis in (leaf.student, leaf.teacher))]
    seen = [(student.origins.dim(leaf.student), teacher.origins.dim(leaf.teacher)) for leaf in places]
    known = [(ours, theirs) for ours, theirs in seen if ours is not None and theirs is not None]
    return any((a > c) != (b > d) and a != c and b != d for (a, b), (c, d) in itertools.combinations(known, 2))


def _order(graph: ModelGraph, side: Side, axis: Axis) -> Order:
    """In which order neighbouring positions stand in an axis, rows before columns; nothing where none are seen."""
    factors = children(axis) if isinstance(axis, Product) else ()
    if isinstance(axis, Concat):
        order = graph.neighbours.get(graph.tensors[side.tensor].name)
        return order if order is not None and len(order) == len(axis.parts) else ()
    dims = list(itertools.takewhile(lambda dim: dim is not None, map(graph.origins.dim, factors)))
    known = sorted((dim, place) for place, dim in enumerate(dims) if dim is not None)
    if len(known) < 2 or len({dim for dim, _ in known}) < len(known):
        return ()
    cells = itertools.product(*(range(factors[place].size) for place in range(len(dims))))
    return tuple(tuple(cell[place] for _, place in known) for cell in cells)


def _results(graph: ModelGraph, _: Side, axis: Axis) -> list[tuple[int, int]]:
    """Along which dims of which results the factors of an axis lie; nothing where that is not clear for all."""
    factors = _factors(axis)
    if len(factors) < 2 or len(factors) != len(children(axis)):
        return []
    places: dict[Atom, list[tuple[int, int]]] = {}
    for number, node in enumerate(graph.captured.outputs):
        for dim, own in enumerate(graph.node_axes(node.name)):
            for atom in set(atoms(own)) & set(factors):
                places.setdefault(atom, []).append((number, dim))
    found = [places.get(atom, []) for atom in factors]
    return [own[0] for own in found] if all(len(own) == 1 for own in found) else []


def _steps(graph: ModelGraph, _: Side, axis: Axis) -> dict[InputDim, int]:
    """How far apart neighbours along a dim of an input lie in a merged axis; the dims that occur once in it."""
    found: dict[InputDim, list[int]] = {}
    step = axis.size
    for factor in children(axis) if isinstance(axis, Product) else ():
        step //= factor.size
        if (dim := graph.origins.dim(factor)) is not None:
            found.setdefault((dim[1], factor.size), []).append(step)
    return {dim: own[0] for dim, own in found.items() if len(own) == 1}


def _factors(axis: Axis) -> list[Atom]:
    """The atoms that are factors of a product; nothing for other axes."""
    return [child for child in children(axis) if isinstance(child, Atom)] if isinstance(axis, Product) else []


def _order_fault(piece: Piece) -> Unfit:
    message = (
        f"the positions in student {piece.student.tensor} and in teacher {piece.teacher.tensor} come in different "
        f"orders, such as rows before columns in the one, columns before rows in the other. Lay them out in the "
        f"teacher's order in the student, or pass keep=[{piece.student.tensor!r}]."
    )
    return Unfit(message, [piece.student.tensor], "its positions come in another order in the teacher")


# -- heads and their channels


def _swaps_roles(joints: Joints, paired: PairedDim) -> bool:
    """Whether heads meet head channels: as many heads as channels of each are not told apart by size."""
    held = [{joints.role(atom) for atom in atoms(axis)} for axis in (paired.student, paired.teacher)]
    if any(not own >= _OF_ONE_HEAD for own in held):
        return False
    met = [{joints.role(leaf.student), joints.role(leaf.teacher)} for leaf in paired.leaves if not leaf.whole]
    return _OF_ONE_HEAD in met


def _crossed(joints: Joints, joint: Joint) -> Unfit | None:
    """The error for factors that correspond in order at one place and crosswise at another.

    With four query heads, two for each key head, `(kv rep)` and `(rep kv)` have equal sizes; what else the factors
    hang together with tells them apart.
    """
    if len(joint.student) < 2 or len(joint.teacher) < 2:
        return None
    mine, other = set(joint.student), set(joint.teacher)
    for paired in joints.paired_dims:
        if _merges(joints, paired.student, mine) and _merges(joints, paired.teacher, other):
            return _turned_fault(joints, paired)
    return None


def _merges(joints: Joints, axis: Axis, atoms_: set[Atom]) -> bool:
    """Whether several factors of one product are among these atoms, not all of them pinned."""
    own = {atom for atom in _factors(axis) if atom in atoms_}
    if len(own) > 1 and not all(map(joints.is_pinned, own)):
        return True
    return any(_merges(joints, child, atoms_) for child in children(axis))


def _turned_fault(joints: Joints, paired: PairedDim) -> Unfit:
    name, teacher = paired.piece.student.tensor, paired.piece.teacher.tensor
    dims = [graph.tensors[own].notation for graph, own in zip(joints.graphs, (name, teacher), strict=True)]
    message = (
        f"the factors of dim {paired.dim} of student {name} stand in another order than those of teacher "
        f"{teacher}: they correspond crosswise to what they are coupled with.\n  student: {dims[0]}\n  "
        f"teacher: {dims[1]}\n"
        "An example are query heads that share a key head, next to each other in the one model and apart in the "
        f"other. Lay them out as the teacher does, or pass keep=[{name!r}]."
    )
    return Unfit(message, [name], f"its dim {paired.dim} has its factors in another order in the teacher")


# -- sizes


def _conflict(joints: Joints, joint: Joint) -> Unfit | None:
    """The error for coupled axes of one model that correspond to axes of different size in the other."""
    ours, theirs = joints.groups_of_each(joint)
    for groups, word, other in ((ours, "student", "teacher"), (theirs, "teacher", "student")):
        by_size = {group.atom.size: group for group in groups}
        if len(by_size) > 1:
            places = "".join(f"\n  - size {size}: {_members(group)}" for size, group in sorted(by_size.items()))
            message = (
                f"axes of different size in the {word} correspond to one coupled group of the {other}:{places}\n"
                f"The two models couple their axes differently. Give these axes of the {word} one size, or leave "
                f"the tensors of one of them at the student's own values, such as keep=[{_example(joint)!r}]."
            )
            why = f"the {word} has sizes {' and '.join(map(str, sorted(by_size)))} where the {other} has one axis"
            touching = [piece for piece, dims in joints.dims.items() if any(map(joint.meets, dims))]
            fewest = _fewest(joints, {group.atom for group in groups}, word)
            return Unfit(joints.after_rules(message, touching), fewest, why)
    return None


def _fewest(joints: Joints, side: set[Atom], word: str) -> list[str]:
    """The student tensors that meet these atoms at another size than most of them do."""
    found: dict[int, list[str]] = {}
    for paired in joints.paired_dims:
        for leaf in paired.leaves:
            axis = leaf.student if word == "student" else leaf.teacher
            if isinstance(axis, Atom) and axis in side:
                found.setdefault(axis.size, []).append(paired.piece.student.tensor)
    most = max(found, key=lambda size: len(found[size]))
    return [name for size, names in found.items() if size != most for name in names]


def _members(group: CoupledGroup) -> str:
    return shorten(f"{name} dim {dim}" for name, dim in group.members)


def _example(joint: Joint) -> str:
    return joint.places[-1].rpartition(":")[0]
