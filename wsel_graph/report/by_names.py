"""An outline guessed from tensor names alone, for plans that come without one: folded, but without connections."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

from wsel_graph.plan import Plan
from wsel_graph.plan.outline import Block, Held, Kind, Outline, Part, Section

Shape = tuple[int, ...]


def outlines_by_names(plan: Plan) -> tuple[Outline, Outline]:
    """Student and teacher, as far as a plan's tensors show them: of the teacher, only what is taken from."""
    ours = {copy.student: copy.student_shape for copy in plan.copies}
    ours |= {kept.student: kept.shape for kept in plan.kept}
    theirs = {source.teacher: source.teacher_shape for copy in plan.copies for source in copy.sources}
    return outline_by_names(ours), outline_by_names(theirs)


def outline_by_names(shapes: Mapping[str, Shape]) -> Outline:
    """Numbered modules that follow each other make a stage, modules make parts.

    >>> made = outline_by_names({"stem.weight": (4, 3), "enc.0.fc.weight": (4, 4), "enc.1.fc.weight": (4, 4)})
    >>> [(section.stage, len(section.blocks)) for section in made.sections], len(made.kinds)
    ([('', 1), ('enc', 2)], 2)
    """
    kinds: dict[Kind, int] = {}
    sections = []
    for stage, blocks in _sections(_tree_order(shapes)):
        made = []
        for path, names in blocks:
            kind = Kind(tuple(_parts(path, names, shapes)))
            made.append(Block(kinds.setdefault(kind, len(kinds)), path))
        sections.append(Section(stage if len(made) > 1 else "", tuple(made)))
    return Outline("", tuple(kinds), tuple(sections))


def _tree_order(names: Iterable[str]) -> list[str]:
    """The given order, with the tensors of a block together: averages name teacher blocks in leaps."""
    firsts: dict[tuple[str, str], int] = {}
    for number, name in enumerate(names):
        firsts.setdefault(_place(name), number)
    stages: dict[str, int] = {}
    for (stage, path), number in firsts.items():
        stages.setdefault(stage or path, number)
    return sorted(names, key=lambda name: (stages[_place(name)[0] or _place(name)[1]], *_number(_place(name)[1])))


def _number(path: str) -> tuple[int, str]:
    last = path.rpartition(".")[2]
    return (int(last) if last.isdecimal() else 0), path


def _place(name: str) -> tuple[str, str]:
    """The stage and the block of a tensor; no stage outside of numbered modules.

    >>> _place("blocks.3.fc.weight"), _place("head.weight")
    (('blocks', 'blocks.3'), ('', 'head'))
    """
    parts = name.split(".")[:-1]
    number = next((i for i, part in enumerate(parts) if part.isdecimal()), None)
    if number is None:
        return "", ".".join(parts)
    return ".".join(parts[:number]) or "(top level)", ".".join(parts[: number + 1])


def _sections(names: Iterable[str]) -> Iterator[tuple[str, list[tuple[str, list[str]]]]]:
    for (stage, alone), own in groupby(names, key=lambda name: (_place(name)[0], _place(name)[0] or _place(name)[1])):
        blocks = [(path, list(group)) for path, group in groupby(own, key=lambda name: _place(name)[1])]
        yield stage or alone, blocks


def _parts(path: str, names: Iterable[str], shapes: Mapping[str, Shape]) -> Iterator[Part]:
    for module, own in groupby(names, key=lambda name: name.rpartition(".")[0]):
        held = tuple(Held(_relative(name, path), shapes[name]) for name in own)
        yield Part("", "." if module == path and path else _relative(module, path), held)


def _relative(name: str, path: str) -> str:
    return name[len(path) :] if path and name.startswith(f"{path}.") else name
