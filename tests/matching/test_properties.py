"""Random families: whatever the implementation and the names, every student tensor gets what the truth says.

The truth comes from `families.py`, not from the matcher: canonical arrays with named axes. A teacher is filled with
numbers that all differ, so one comparison shows at once that the plan is complete, that layers are the first of
their kind, that every member of a coupled group has the same index list, and that nothing is exchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from hypothesis import given, note
from hypothesis import strategies as st
from torch import Tensor

import wsel_graph as ws
from tests.matching.families import Arrays, Kind, Net, Sizes, Spec, Stage, inputs
from wsel_graph.axes import evenly_spaced
from wsel_graph.coupling.verify import relative_error

Draw = Callable[[st.SearchStrategy[Any]], Any]


@dataclass(frozen=True)
class Pair:
    """A teacher, and which of its layers the student has, stage by stage (a decoder's last)."""

    teacher: Spec
    layers: tuple[tuple[int, ...], ...]
    sizes: tuple[int, int]
    styles: tuple[int | None, int | None]

    @property
    def student(self) -> Spec:
        *stages, last = [stage.kept(own) for stage, own in zip(stages_of(self.teacher), self.layers, strict=True)]
        if self.teacher.decoder is not None:
            return replace(self.teacher, stages=tuple(stages), decoder=last)
        return replace(self.teacher, stages=(*stages, last))

    def build(self) -> tuple[Net, Net]:
        """Student and teacher, the teacher filled with numbers that all differ."""
        sizes = Sizes(self.sizes[0])
        teacher = Net(self.teacher, sizes, self.styles[0], names=1)
        student = Net(self.student, Sizes(self.sizes[1], sizes), self.styles[1], names=2)
        return student, teacher.load(numbered(teacher))


def stages_of(spec: Spec) -> tuple[Stage, ...]:
    return (*spec.stages, *([spec.decoder] if spec.decoder is not None else []))


def numbered(net: Net) -> Arrays:
    """Canonical arrays in which no two elements are equal."""
    start, found = 1, {}
    for key in net.axes:
        shape = net.array_shape(key)
        count = int(torch.Size(shape).numel())
        found[key] = torch.arange(start, start + count, dtype=torch.float32).reshape(shape)
        start += count
    assert start < 2**24  # float32 tells them apart
    return found


# -- the truth


def true_layers(student: Stage, teacher: Stage, image: bool) -> list[int]:
    """Teacher layers for the student's: the first of each kind; an image stage's first block is a kind of its own."""

    def kinds(stage: Stage) -> list[Any]:
        return [(kinds, image and i == 0) for i, kinds in enumerate(stage.layers)]

    found = kinds(teacher)
    places: dict[Any, list[int]] = {kind: [i for i, own in enumerate(found) if own == kind] for kind in found}
    return [places[kind].pop(0) for kind in kinds(student)]


def truth(student: Net, teacher: Net) -> Arrays:
    """The student's canonical arrays: the teacher's, evenly spaced elements along every named axis."""
    arrays = numbered(teacher)
    names = [f"s{i}" for i in range(len(student.spec.stages))] + ["d"]
    image = student.spec.stem == "image"
    layers = {
        name: true_layers(ours, theirs, image)
        for name, ours, theirs in zip(names, stages_of(student.spec), stages_of(teacher.spec), strict=False)
    }
    return {key: cut(arrays[counterpart(key, layers)], axes, student, teacher) for key, axes in student.axes.items()}


def counterpart(key: str, layers: dict[str, list[int]]) -> str:
    stage, _, rest = key.partition(".")
    if stage not in layers or not rest.startswith("l") or not rest[1].isdigit():
        return key
    layer, _, inner = rest.partition(".")
    return f"{stage}.l{layers[stage][int(layer[1:])]}.{inner}"


def cut(array: Tensor, axes: Sequence[str], student: Net, teacher: Net) -> Tensor:
    for dim, axis in enumerate(axes):
        array = array.index_select(dim, torch.tensor(list(evenly_spaced(teacher.sizes[axis], student.sizes[axis]))))
    return array


def differences(student: Net, expected: dict[str, Tensor]) -> list[str]:
    """Canonical places that do not hold what they should."""
    tensors = {**dict(student.named_parameters()), **dict(student.named_buffers())}
    return [place for place, name in student.words.items() if not torch.equal(tensors[name], expected[name])]


# -- what is drawn

# fmt: off

norms = st.sampled_from(("layer", "rms"))
acts = st.sampled_from(("gelu", "relu", "silu", "tanh"))


@st.composite
def token_kinds(draw: Draw, what: str, norm: str, post: bool) -> Kind:
    bias, scale = draw(st.booleans()), not post and draw(st.booleans())
    gated = what in ("mlp", "parallel", "local") and draw(st.booleans())
    shared = what in ("attention", "cross", "parallel") and draw(st.booleans())
    return Kind(what, norm, post, draw(acts), gated, shared, bias, scale)


@st.composite
def token_stages(draw: Draw, deepest: int = 4) -> Stage:
    """Layers of one or two kinds, at least one of each."""
    norm, post = draw(norms), draw(st.booleans())
    plans = st.sampled_from((("attention", "mlp"), ("mlp",), ("local",), ("parallel",), ("recurrent",),
                             ("attention", "local"), ("recurrent", "mlp"), ("attention",)))
    plan = draw(plans)
    layer = tuple(draw(token_kinds(what, norm, post)) for what in plan)
    depth = draw(st.integers(1, deepest))
    if not draw(st.booleans()):
        return Stage((layer,) * depth)
    others = {("attention", "mlp"): ("recurrent", "mlp"), ("recurrent", "mlp"): ("attention", "mlp"),
              ("mlp",): ("attention",), ("attention",): ("recurrent",), ("recurrent",): ("local",)}
    other = others.get(plan, ("recurrent", "mlp") if len(plan) == 2 else ("recurrent",))
    second = tuple(
        same if what == same.what else draw(token_kinds(what, norm, post))
        for what, same in zip(other, layer, strict=True)
    )
    mixed = draw(st.permutations([layer] * depth + [second] * draw(st.integers(1, 2))))
    return Stage(tuple(mixed))


@st.composite
def image_stages(draw: Draw, what: str, act: str) -> Stage:
    excite = draw(st.booleans())
    kind = Kind(what, act=act, excite=excite and what != "next")
    return Stage(((kind,),) * draw(st.integers(1, 3)))


@st.composite
def specs(draw: Draw, stems: Sequence[str] = ("words", "tokens", "image", "series", "decoder")) -> Spec:
    stem = draw(st.sampled_from(stems))
    if stem == "series":
        return Spec(stem, (Stage(((Kind("gru"),),) * draw(st.integers(1, 4))),))
    if stem == "image":
        what, act = draw(st.sampled_from(("basic", "mb", "next"))), draw(acts)
        return Spec(stem, tuple(draw(image_stages(what, act)) for _ in range(draw(st.integers(1, 3)))))
    decoder = None
    if stem == "decoder":
        norm, post = draw(norms), draw(st.booleans())
        layer = tuple(draw(token_kinds(what, norm, post)) for what in ("attention", "cross", "mlp"))
        decoder = Stage((layer,) * draw(st.integers(1, 3)))
        stem = draw(st.sampled_from(("words", "tokens")))
    count = draw(st.integers(1, 1 if decoder is not None else 3))
    stages = tuple(draw(token_stages()) for _ in range(count))
    heads = ["mean", "each"] + (["tied"] if stem == "words" and count == 1 and decoder is None else [])
    return Spec(stem, stages, draw(st.sampled_from(heads)), draw(st.booleans()), draw(st.booleans()), decoder)


@st.composite
def pairs(draw: Draw, shrunk: bool = True, **options: Any) -> Pair:
    spec = draw(specs(**options))
    layers = tuple(tuple(draw(kept_layers(stage, spec.stem == "image"))) if shrunk
                   else tuple(range(len(stage.layers))) for stage in stages_of(spec))
    styles = st.integers(0, 10**6)
    return Pair(spec, layers, (draw(styles), draw(styles)), (draw(st.none() | styles), draw(st.none() | styles)))


@st.composite
def kept_layers(draw: Draw, stage: Stage, image: bool) -> list[int]:
    """Which layers the student has; an image stage keeps its first, a post-norm stage more than one block."""
    depth, fewest = len(stage.layers), 1
    if depth > 1 and len(stage.layers[0]) == 1 and stage.layers[0][0].post:
        fewest = 2
    found = sorted(draw(st.sets(st.integers(0, depth - 1), min_size=fewest)))
    return sorted({0, *found}) if image else found

# fmt: on


# -- the properties


def check_truth(pair: Pair) -> None:
    student, teacher = pair.build()
    expected = student.pack(truth(student, teacher))
    result = ws.initialize(student, teacher, inputs(pair.teacher))
    assert result.coverage == 1
    assert not result.unknown_ops
    assert differences(student, expected) == []


@given(pairs())
def test_every_tensor_gets_what_the_truth_says(pair: Pair) -> None:
    note(f"{pair.student}")
    check_truth(pair)


@given(pairs(shrunk=False))
def test_another_implementation_of_the_same_function(pair: Pair) -> None:
    """O3: no axis shrinks, so the outputs are equal."""
    sizes = Sizes(pair.sizes[0])
    teacher = Net(pair.teacher, sizes, pair.styles[0], names=1)
    student = Net(pair.teacher, sizes, pair.styles[1], names=2)
    source = torch.Generator().manual_seed(0)
    for net in (student, teacher):
        for tensor in (*net.parameters(), *net.buffers()):
            tensor.data = 0.2 + torch.rand(tensor.shape, generator=source)  # a variance must be positive
        net.double()
    given = tuple(x.double() if x.is_floating_point() else x for x in inputs(pair.teacher))
    result = ws.initialize(student, teacher, given)
    assert result.coverage == 1
    with torch.no_grad():
        assert relative_error(teacher(*given), student(*given)) < 1e-9


@given(pairs())
def test_a_planted_student_is_found_again(pair: Pair) -> None:
    """No two student elements come from one teacher element, so a teacher that holds a student gives it back."""
    student, teacher = pair.build()
    planted = {name: torch.randn(tensor.shape) for name, tensor in student.named_parameters()}
    places = {**dict(teacher.named_parameters()), **dict(teacher.named_buffers())}
    numbers, start = {}, 0
    for name, tensor in places.items():
        numbers[name] = torch.arange(start, start + tensor.numel(), dtype=torch.float64).reshape(tensor.shape)
        start += tensor.numel()
    plan = ws.plan(student, teacher, inputs(pair.teacher))
    origin = student.double()
    ws.apply(plan, origin, numbers)
    flat = torch.cat([tensor.detach().flatten() for tensor in places.values()])
    for name, parameter in origin.named_parameters():
        flat[parameter.detach().long().flatten()] = planted[name].flatten()
    filled = dict(zip(places, flat.split([t.numel() for t in places.values()]), strict=True))
    fresh = pair.build()[0]
    ws.apply(plan, fresh, {name: value.reshape(places[name].shape) for name, value in filled.items()})
    for name, parameter in fresh.named_parameters():
        assert torch.equal(parameter, planted[name]), name


def test_the_truth_can_fail() -> None:
    """Negative control: two exchanged layers, one exchanged index."""
    layer = (Kind("attention"), Kind("mlp"))
    pair = Pair(Spec("tokens", (Stage((layer,) * 3),)), ((0, 1),), (3, 4), (None, None))
    student, teacher = pair.build()
    ws.initialize(student, teacher, inputs(pair.teacher))
    right = truth(student, teacher)
    assert differences(student, student.pack(right)) == []
    exchanged = {**right, "s0.l0.1.fc1.bias": right["s0.l1.1.fc1.bias"]}
    assert differences(student, student.pack(exchanged)) == ["s0.l0.1.fc1.bias"]
    turned = {**right, "head.weight": right["head.weight"].flip(1)}
    assert differences(student, student.pack(turned)) == ["head.weight"]
