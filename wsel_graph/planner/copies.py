"""Write down one copy: which block of the teacher's tensor goes where in the student's."""

from __future__ import annotations

from collections.abc import Sequence

from wsel_graph.matching.sides import Piece, Side
from wsel_graph.plan import Copy, Indices, Mix, View, compact
from wsel_graph.planner.align import Misaligned
from wsel_graph.planner.joint import Joints, PairedDim
from wsel_graph.planner.layout import Layout
from wsel_graph.planner.merge import Terms
from wsel_graph.planner.runs_of_dims import taken_apart, view_of_runs
from wsel_graph.planner.unfit import Unfit

Shape = tuple[int, ...]


def make_copy(
    piece: Piece, shapes: tuple[Shape, Shape], dims: Sequence[PairedDim], layouts: Sequence[Layout], joints: Joints
) -> Copy:
    """The copy for one piece.

    Args:
        shapes: Of the student's and the teacher's tensor.
        layouts: What each paired dim takes and fills.
    Raises:
        PlanError: If a dim takes another number of elements than it fills.
    """
    taken = [range(size) for size in piece.teacher.unfolded(shapes[1])]  # type: list[Indices]
    filled = _part(piece.student, piece.student.unfolded(shapes[0]))
    for lists, side in ((taken, piece.teacher), (filled, piece.student)):
        for dim, element in side.at:
            lists[dim] = range(element, element + 1)
    arriving = [len(indices) for indices in taken]
    for paired, layout in zip(dims, layouts, strict=True):
        theirs = piece.teacher.dims[paired.number]
        arriving[theirs] = len(layout.taken) if layout.resize is None else layout.resize.student_size
        sides = (piece.student, piece.teacher)
        cut = layout.resize is not None and (piece.teacher.split is not None or any(side.tails for side in sides))
        if arriving[theirs] != len(layout.filled) or cut:
            raise joints.misaligned(piece, paired.number, Misaligned(paired.student, paired.teacher))
        chosen = (piece.teacher, shapes[1], layout.taken, taken), (piece.student, shapes[0], layout.filled, filled)
        for side, shape, positions, lists in chosen:
            run = side.run(paired.number)
            inside = _within(side, paired.number, positions)
            apart = [inside] if len(run) == 1 else taken_apart(inside, [shape[dim] for dim in run])
            if apart is None:
                raise _no_block(paired, side, shape)
            for dim, elements in zip(run, apart, strict=True):
                lists[dim] = compact(elements)
    runs = piece.student.tails or piece.teacher.tails
    view = _view_of_runs(piece, taken, filled, joints) if runs else _view(piece, len(filled), tuple(arriving))
    region = _folded(piece.student, filled, shapes[0])
    whole = all(indices == range(size) for indices, size in zip(region, shapes[0], strict=True))
    return Copy(
        piece.student.tensor,
        piece.teacher.tensor,
        *shapes,
        _folded(piece.teacher, taken, shapes[1]),
        True,
        None if whole else region,
        view,
        tuple(layout.resize for layout in layouts if layout.resize is not None),
        mix=tuple(_mix(paired, layout.terms) for paired, layout in zip(dims, layouts, strict=True) if layout.terms),
    )


def _view_of_runs(piece: Piece, taken: Sequence[Indices], filled: Sequence[Indices], joints: Joints) -> View:
    view = view_of_runs(piece, taken, filled)
    if view is None:
        first = joints.dims[piece][0]
        raise joints.misaligned(piece, 0, Misaligned(first.student, first.teacher))
    return view


def _no_block(paired: PairedDim, side: Side, shape: Shape) -> Unfit:
    """The error for elements of a merged axis, a dim each in this tensor, that are not some of every dim."""
    dims = " and ".join(map(str, side.run(paired.number)))
    message = (
        f"{paired.place}: elements that are chosen from heads and channels as from one axis (unit: flat) are no block "
        f"of dims {dims} of {side.tensor} {list(shape)}, which holds them apart. Write unit: whole for these groups, "
        f"or pass keep=[{paired.piece.student.tensor!r}]."
    )
    return Unfit(message, [paired.piece.student.tensor], f"chosen flat, where {side.tensor} has a dim each")


def _mix(paired: PairedDim, terms: Sequence[Terms]) -> Mix:
    """The merged elements of one dim, as positions in the whole teacher tensor.

    Raises:
        PlanError: If the dim is taken apart to be compared with the student's.
    """
    side, name = paired.piece.teacher, paired.piece.student.tensor
    dim, factor = side.own_dim(side.dims[paired.number])
    if factor is not None or len(side.run(paired.number)) > 1:
        what = "holds patches that are taken apart" if factor is not None else "is put together with others"
        message = (
            f"{paired.place}: some of its elements are merged, and dim {dim} of teacher {side.tensor} {what} to fit "
            f"the student's. Select elements there (take: uniform) or pass keep=[{name!r}]."
        )
        raise Unfit(message, [name], "its elements are merged, and its patches taken apart")
    indices = tuple(tuple(_within(side, paired.number, places)) for places, _ in terms)
    return Mix(dim, indices, tuple(weights for _, weights in terms))


def _within(side: Side, number: int, chosen: Sequence[int]) -> Sequence[int]:
    """Positions in a part as positions in the whole tensor."""
    if side.rows is None or side.rows[0] != side.dims[number]:
        return chosen
    return [side.rows[1][position] for position in chosen]


def _part(side: Side, shape: Shape) -> list[Indices]:
    """The region that a part makes up, dim by dim."""
    region: list[Indices] = [range(size) for size in shape]
    if side.rows is not None:
        region[side.rows[0]] = compact(side.rows[1])
    return region


def _folded(side: Side, indices: Sequence[Indices], shape: Shape) -> tuple[Indices, ...]:
    """Index lists of the tensor's own dims, from those of its dims with one of them taken apart."""
    if side.split is None:
        return tuple(indices)
    dim, sizes = side.split
    merged = [0]
    for size, chosen in zip(sizes, indices[dim : dim + len(sizes)], strict=True):
        merged = [outer * size + inner for outer in merged for inner in chosen]
    return (*indices[:dim], compact(merged), *indices[dim + len(sizes) :])


def _view(piece: Piece, rank: int, block: Shape) -> View | None:
    """How the selected teacher block is turned into the student's region; None when dims correspond as they are."""
    by_place = [piece.teacher.dims[piece.student.dims.index(d)] for d in range(rank) if d in piece.student.dims]
    order = (*by_place, *(d for d in range(len(block)) if d not in by_place))  # left out: dims of size 1
    same = order == tuple(range(rank)) and len(block) == rank
    return None if same and piece.student.split is piece.teacher.split is None else View(block, order)
