"""The losses: what they are against closed forms, that nothing is left behind, and that wrappers change nothing."""

from __future__ import annotations

import copy
import gc
import math
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.utils.flop_counter import FlopCounterMode

import wsel_graph as ws
from tests.nets import ConvNet, Transformer, randomize, same_tensors, snapshot
from tests.oracles.test_o3_transplants import TWINS
from tests.oracles.test_o4_zeroed_teacher import zero_the_rest
from tests.oracles.transplants import Transplant, build, directed, run
from wsel_graph.errors import DistillationError
from wsel_graph.plan import Feature
from wsel_graph.starts.distillation import _gathered

from .test_features import (
    IDS,
    IMAGE,
    TOKENS,
    Laid,
    Shared,
    Wrapping,
    bert,
    convnext,
    hub_vit,
    llama,
    resnet,
    vision_vit,
    vit,
)

Make = Callable[[], nn.Module]


def example(inputs: Any) -> Any:
    generator = torch.Generator().manual_seed(5)
    return inputs if isinstance(inputs, torch.Tensor) else torch.randn(inputs, generator=generator, dtype=torch.float64)


def plain(dim: int, depth: int = 2) -> nn.Module:
    return Transformer(dim, dim // 4, 4, depth=depth, norm=False)


def ready(student: nn.Module, teacher: nn.Module, inputs: Any, **options: Any) -> tuple[Feature, ...]:
    """Random float64 values in all that is learnt, the student initialised."""
    for seed, model in enumerate((student, teacher)):
        model.double().eval()
        learnt = model.state_dict().keys()
        computed = {name: buffer.clone() for name, buffer in model.named_buffers() if name not in learnt}
        randomize(model, seed)
        for name, buffer in model.named_buffers():
            buffer.copy_(computed.get(name, buffer))
    return ws.feature_pairs(ws.initialize(student, teacher, inputs, **options).plan)


def features(model: nn.Module, modules: list[str], x: Any) -> list[torch.Tensor]:
    """What some modules return, by hooks of our own."""
    seen: dict[str, torch.Tensor] = {}
    handles = [
        model.get_submodule(name).register_forward_hook(lambda m, a, out, name=name: seen.update({name: out}))
        for name in modules
    ]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return [seen[name] for name in modules]


def hooks(*models: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for model in models for m in model.modules())


# -- right


@pytest.mark.parametrize(
    ("make", "inputs"),
    [
        pytest.param(lambda: vit(48, 2), IMAGE, id="vit"),
        pytest.param(lambda: convnext(8, 2, 2, 2, 2), IMAGE, id="convnext"),
        pytest.param(lambda: resnet(8, 2, 2, 2, 2), IMAGE, id="resnet"),
        pytest.param(lambda: bert(24, 2), IDS, id="bert"),
        pytest.param(lambda: llama(24, 2), IDS, id="llama"),
        pytest.param(lambda: Transformer(8, 2, 4), TOKENS, id="functional"),
        pytest.param(lambda: Shared(8, 3), TOKENS, id="one block, three calls"),
        pytest.param(lambda: Wrapping(8, 2, dicts=True), TOKENS, id="dicts"),
    ],
)
@pytest.mark.parametrize("loss", ["mse", "l1"])
def test_the_same_network_has_no_loss(make: Make, inputs: Any, loss: str) -> None:
    student, teacher = make(), make()
    pairs = ready(student, teacher, inputs)
    x = example(inputs)
    with ws.FeatureDistillation(student, teacher, pairs, loss=loss) as distill:
        student(x)
        distill.run_teacher(x)
        assert distill().item() == 0
        teacher.get_submodule(pairs[0].teacher.module).register_forward_hook(_shifted)
        student(x)
        distill.run_teacher(x)
        assert distill().item() > 0  # the test can fail


def _shifted(module: nn.Module, args: Any, output: Any) -> Any:
    return torch.utils._pytree.tree_map_only(torch.Tensor, lambda t: t + 1, output)


@pytest.mark.parametrize(
    ("student", "teacher", "inputs"),
    [
        pytest.param(lambda: plain(12), lambda: plain(24), TOKENS, id="transformer"),
        pytest.param(lambda: plain(12), lambda: plain(24, 4), TOKENS, id="fewer blocks"),
        pytest.param(lambda: resnet(8, 2, 2, 2, 2), lambda: resnet(16, 2, 2, 2, 2), IMAGE, id="resnet"),
        pytest.param(lambda: Laid(6, "nhwc"), lambda: Laid(12, "nchw"), (2, 3, 16, 16), id="other layout"),
        pytest.param(lambda: Laid(6, "nlc"), lambda: Laid(12, "nchw"), (2, 3, 16, 16), id="one run of positions"),
        pytest.param(lambda: Laid(6, "lnc"), lambda: Laid(12, "nlc"), (2, 3, 16, 16), id="positions first"),
    ],
)
@pytest.mark.parametrize("method", ["uniform", "random"])
def test_planted_teacher(student: Make, teacher: Make, inputs: Any, method: str) -> None:
    """O4: with what the plan leaves out at zero, the teacher's chosen channels are the student's, in every position."""
    ours, theirs = student(), teacher()
    for seed, model in enumerate((ours, theirs)):
        randomize(model, seed).double().eval()
    plan = ws.initialize(ours, theirs, inputs, method=method).plan
    zero_the_rest(plan, theirs)
    pairs, x = ws.feature_pairs(plan), example(inputs)
    with ws.FeatureDistillation(ours, theirs, pairs, loss=_relative) as distill:
        ours(x)
        distill.run_teacher(x)
        assert distill().item() < 1e-9
    wrong = [_moved(pair) for pair in pairs]
    with ws.FeatureDistillation(ours, theirs, wrong, loss=_relative) as distill:
        ours(x)
        distill.run_teacher(x)
        assert distill().item() > 1e-3  # other channels do not agree


def _relative(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    return (ours - theirs).norm() / theirs.norm()


def _moved(pair: Feature) -> Feature:
    from dataclasses import replace

    indices = tuple(pair.indices)
    return replace(pair, indices=(*indices[1:], indices[0]))


CLOSED: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "mse": lambda s, t: ((s - t) ** 2).mean(),
    "l1": lambda s, t: (s - t).abs().mean(),
    "cosine": lambda s, t: 1 - ((s * t).sum(-1) / (s.norm(dim=-1) * t.norm(dim=-1))).mean(),
}
NORMAL: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "none": lambda x: x,
    "l2": lambda x: x / x.norm(dim=-1, keepdim=True),
    "layer": lambda x: (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, correction=0) + 1e-5).sqrt(),
}


@pytest.mark.parametrize("normalize", NORMAL)
@pytest.mark.parametrize("loss", CLOSED)
def test_closed_forms(loss: str, normalize: str) -> None:
    student, teacher = Transformer(8, 2, 4), Transformer(16, 4, 4, depth=3)
    pairs, x = ready(student, teacher, TOKENS, method="random"), example(TOKENS)
    weights = [0.25, 2.0]
    expected = torch.zeros((), dtype=torch.float64)
    ours = features(student, ["blocks.0", "blocks.1"], x)
    theirs = features(teacher, ["blocks.0", "blocks.1"], x)
    for weight, pair, s, t in zip(weights, pairs, ours, theirs, strict=True):
        taken = torch.stack([t[..., i] for i in pair.indices], -1)
        expected += weight * CLOSED[loss](NORMAL[normalize](s), NORMAL[normalize](taken))
    with ws.FeatureDistillation(student, teacher, pairs, loss=loss, normalize=normalize, weights=weights) as distill:
        student(x)
        distill.run_teacher(x)
        assert distill().item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        pytest.param(lambda: hub_vit(48, 2), lambda: vit(96, 3), id="timm to transformers"),
        pytest.param(lambda: vision_vit(48, 2), lambda: vit(96, 3), id="timm to torchvision"),
        pytest.param(lambda: vit(48, 2), lambda: hub_vit(96, 3), id="transformers to timm"),
    ],
)
def test_between_implementations(student: Make, teacher: Make) -> None:
    """A transplanted student and one of the teacher's own implementation show the same features, so the same loss."""
    theirs = teacher()
    same = vit(48, 2) if "timm" in type(theirs).__module__ else hub_vit(48, 2)
    ours = student()
    values = [_loss_of(model, theirs, "layer") for model in (ours, same)]
    assert values[0] > 0.01
    assert values[0] == pytest.approx(values[1], rel=1e-4)  # layer norms of another epsilon


ALIKE = [
    pair
    for pair in directed(TWINS)
    if pair.name.partition(":")[0] in ("ViT", "Swin", "ConvNeXt", "ResNet, basic", "DenseNet", "BERT", "GPT-2", "LLaMA")
]


@pytest.mark.parametrize("pair", ALIKE, ids=lambda pair: pair.name)
def test_a_transplant_shows_the_features_of_the_other_implementation(pair: Transplant) -> None:
    """O3: the function is the same, so every block's value is, however each implementation lays it out."""
    student, teacher, x = build(pair.student, 1), build(pair.teacher, 2), pair.example()
    inputs = pair.student.inputs(x), pair.teacher.inputs(x)
    plan = ws.initialize(student, teacher, inputs[0], teacher_inputs=inputs[1]).plan
    pairs = [feature for feature in ws.feature_pairs(plan) if not feature.problem]
    assert pairs or "unfolded" in pair.name
    for feature in pairs:
        with ws.FeatureDistillation(student, teacher, [feature], loss=_relative) as distill, torch.no_grad():
            run(pair.student, student, x)
            run(pair.teacher, teacher, x)
            assert distill().item() < 1e-9


def _loss_of(student: nn.Module, teacher: nn.Module, normalize: str) -> float:
    pairs, x = ready(student, teacher, IMAGE), example(IMAGE)
    with ws.FeatureDistillation(student, teacher, pairs, normalize=normalize) as distill:
        student(x)
        distill.run_teacher(x)
        return distill().item()


def test_a_mask_leaves_positions_out() -> None:
    student, teacher = bert(24, 2), bert(60, 3)
    pairs = ready(student, teacher, IDS, method="random")
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[1, 3:] = False
    expected = sum(
        F.mse_loss(s[mask], t[..., list(pair.indices)][mask])
        for pair, s, t in zip(
            pairs,
            features(student, ["encoder.layer.0", "encoder.layer.1"], IDS),
            features(teacher, ["encoder.layer.0", "encoder.layer.1"], IDS),
            strict=True,
        )
    )
    with ws.FeatureDistillation(student, teacher, pairs) as distill:
        student(IDS)
        distill.run_teacher(IDS)
        assert distill(mask=mask).item() == pytest.approx(float(expected) / 2, rel=1e-12)
        student(IDS)
        distill.run_teacher(IDS)
        with pytest.raises(
            DistillationError, match=r"mask: it has the shape \[7, 2\], the positions of .* are \[2, 7\]"
        ):
            distill(mask=mask.T)


# -- steps


def small() -> tuple[nn.Module, nn.Module, tuple[Feature, ...], torch.Tensor]:
    student, teacher = Transformer(8, 2, 4), Transformer(16, 4, 4, depth=3)
    return student, teacher, ready(student, teacher, TOKENS), example(TOKENS)


def test_gradients_reach_the_student_alone_and_training_lowers_the_loss() -> None:
    student, teacher, pairs, x = small()
    before = snapshot(teacher)
    optimizer = torch.optim.Adam(student.parameters(), 1e-2)
    logits = ws.LogitDistillation(temperature=2, weight=0.5)
    with ws.FeatureDistillation(student.train(), teacher, pairs) as distill:
        assert not list(distill.parameters()) + list(distill.children())
        assert distill.state_dict() == {}
        values = []
        for _ in range(30):
            out = student(x)
            loss = distill.train()() if (known := teacher(x)) is None else distill() + logits(out, known)
            optimizer.zero_grad()
            loss.backward()
            assert all(parameter.grad is None for parameter in teacher.parameters())
            values.append(loss.item())
            optimizer.step()
    moved = {name for name, parameter in student.named_parameters() if parameter.grad is not None}
    assert moved == {name for name, _ in student.named_parameters()}
    assert values[-1] < 0.5 * values[0]
    assert same_tensors(teacher, before)


def test_every_model_runs_once_and_nothing_else_does() -> None:
    student, teacher, pairs, x = small()
    runs: list[str] = []
    for name, model in (("student", student), ("teacher", teacher)):
        model.register_forward_pre_hook(lambda *_, name=name: runs.append(name))
    counts = {}
    for hooked in (False, True):
        distill = ws.FeatureDistillation(student, teacher, pairs) if hooked else None
        with FlopCounterMode(display=False) as counter:
            student(x)
            distill.run_teacher(x) if distill else teacher(x)
            loss = distill() if distill else None
        counts[hooked] = counter.get_total_flops()
    assert runs == ["student", "teacher"] * 2
    assert loss is not None
    assert counts[True] == counts[False] > 0  # no matrix product besides the two forwards


def test_no_trace_is_left() -> None:
    student, teacher, pairs, x = small()
    before, outputs = hooks(student, teacher), (student(x), teacher(x))
    with ws.FeatureDistillation(student, teacher, pairs) as distill:
        assert hooks(student, teacher) == before + 2 * len(pairs) + 2
        assert torch.equal(student(x), outputs[0])
        assert torch.equal(distill.run_teacher(x), outputs[1])
    assert hooks(student, teacher) == before
    assert torch.equal(student(x), outputs[0])
    assert torch.equal(teacher(x), outputs[1])
    distill.remove()  # again
    with pytest.raises(DistillationError, match="the hooks of this loss were removed"):
        distill()
    forgotten = ws.FeatureDistillation(student, teacher, pairs)
    assert hooks(student, teacher) > before
    del forgotten
    gc.collect()
    assert hooks(student, teacher) == before


def test_a_refused_loss_leaves_no_hooks() -> None:
    student, _, pairs, _ = small()
    with pytest.raises(DistillationError, match=r"teacher: ConvNet has no module 'blocks.0', which the plan names"):
        ws.FeatureDistillation(student, ConvNet(8), pairs)
    assert hooks(student) == 0


def test_values_are_dropped_when_a_model_runs_again() -> None:
    student, teacher, pairs, x = small()
    shown: list[weakref.ref[torch.Tensor]] = []
    student.blocks[1].register_forward_hook(lambda *a: shown.append(weakref.ref(a[2])))  # type: ignore[union-attr, index]
    with ws.FeatureDistillation(student, teacher, pairs) as distill:
        student(x * 100)
        assert [value() is not None for value in shown] == [True]
        student(x)
        assert [value() is not None for value in shown] == [False, True]
        distill.run_teacher(x)
        last = distill().item()
        assert [value() is not None for value in shown] == [False, False]
        student(x)
        distill.run_teacher(x)
        assert distill().item() == last


@pytest.mark.parametrize(
    ("step", "said"),
    [
        pytest.param(lambda s, t, x: t(x), "student: blocks.0 has not run since the last loss", id="student"),
        pytest.param(lambda s, t, x: s(x), "teacher: blocks.0 has not run since the last loss", id="teacher"),
        pytest.param(
            lambda s, t, x: (s(x), t(x[:1])),
            r"blocks.0 of the student has the positions \[2, 5\], blocks.0 of the teacher \[1, 5\]: run both",
            id="other inputs",
        ),
        pytest.param(
            lambda s, t, x: (torch.no_grad()(s)(x), t(x)), "student: blocks.0 ran without gradients", id="no gradient"
        ),
    ],
)
def test_steps_that_are_refused(step: Callable[..., Any], said: str) -> None:
    student, teacher, pairs, x = small()
    with ws.FeatureDistillation(student, teacher, pairs) as distill:
        step(student, teacher, x)
        with pytest.raises(DistillationError, match=said):
            distill()


def test_a_loss_is_taken_once_and_evaluation_needs_no_gradient() -> None:
    student, teacher, pairs, x = small()
    with ws.FeatureDistillation(student, teacher, pairs) as distill:
        with torch.no_grad():
            student(x), teacher(x)
            assert distill().item() > 0
        with pytest.raises(DistillationError, match="has not run since the last loss"):
            distill()
        student(x)
        with torch.inference_mode():
            teacher(x)
        distill().backward()


def test_another_model_than_planned() -> None:
    student, _, pairs, x = small()
    other = Transformer(24, 4, 4, depth=3).double()
    with ws.FeatureDistillation(student, other, pairs) as distill:
        student(x), other(x)
        with pytest.raises(
            DistillationError, match=r"teacher: blocks.0 returned a tensor \[2, 5, 24\].*16 channels in dim 2"
        ):
            distill()


class Spoils(nn.Module):
    """Writes to what a block returned, in training alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        model.blocks[1].register_forward_pre_hook(self._spoil)  # type: ignore[union-attr, index]

    def _spoil(self, module: nn.Module, args: Any) -> None:
        if self.training:
            with torch.no_grad():
                args[0].mul_(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)


def test_memory_that_is_overwritten_in_training_is_noticed() -> None:
    student, teacher, pairs, x = small()
    Spoils(student).train()
    with ws.FeatureDistillation(student, teacher, pairs) as distill:
        student(x), teacher(x)
        with pytest.raises(DistillationError, match=r"what blocks.0 returned was overwritten by an operator in place"):
            distill()


def test_options_that_are_refused() -> None:
    student, teacher, pairs, _ = small()
    for options, said in (
        ({"loss": "mae"}, "loss: 'mae' is not one of mse, l1, cosine"),
        ({"normalize": "batch"}, "normalize: 'batch' is not one of none, layer, l2"),
        ({"weights": [1.0]}, "weights: 1 factors for 2 pairs"),
    ):
        with pytest.raises(DistillationError, match=said):
            ws.FeatureDistillation(student, teacher, pairs, **options)  # type: ignore[arg-type]
    with pytest.raises(DistillationError, match="pairs: there is nothing to compare"):
        ws.FeatureDistillation(student, teacher, [])


# -- wrappers


@pytest.fixture
def process_group() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def _value(student: nn.Module, teacher: nn.Module, pairs: Any, x: torch.Tensor, steps: int = 3) -> list[float]:
    """The losses of some steps, a gradient each."""
    found = []
    with ws.FeatureDistillation(student, teacher, pairs) as distill:
        for step in range(steps):
            out = student(x[: len(x) - step % 2])
            distill.run_teacher(x[: len(x) - step % 2])
            loss = distill() + out.pow(2).mean()
            loss.backward()
            found.append(loss.item())
    return found


def test_distributed_data_parallel(process_group: None) -> None:
    student, teacher, pairs, x = small()
    expected = _value(copy.deepcopy(student), teacher, pairs, x)
    wrapped = DistributedDataParallel(student)
    assert _value(wrapped, teacher, pairs, x) == expected
    assert student.stem.weight.grad is not None
    assert hooks(student, teacher) == 0


def test_data_parallel_and_plans_of_wrapped_models() -> None:
    student, teacher, pairs, x = small()
    expected = _value(student, teacher, pairs, x)
    assert _value(DataParallel(student), DataParallel(teacher), pairs, x) == expected
    planned = ws.feature_pairs(ws.plan(DataParallel(student), DataParallel(teacher), TOKENS))
    assert planned[0].student.module == "module.blocks.0"
    assert _value(student, DataParallel(teacher), planned, x) == expected


@pytest.fixture
def compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("make", [small, lambda: sharing()], ids=["blocks", "one block, several calls"])
def test_compiled(make: Callable[[], Any], backend: str, compiler: None) -> None:
    student, teacher, pairs, x = make()
    expected = _value(student, teacher, pairs, x)
    compiled = [torch.compile(model, backend=backend) for model in (student, teacher)]
    assert _value(*compiled, pairs, x) == pytest.approx(expected, rel=1e-12)
    assert torch.allclose(compiled[0](x), student(x), rtol=1e-12)


def sharing() -> tuple[nn.Module, nn.Module, tuple[Feature, ...], torch.Tensor]:
    student, teacher = Shared(8, 2), Shared(16, 3)
    return student, teacher, ready(student, teacher, TOKENS), example(TOKENS)


def test_compiled_code_keeps_nothing_after_the_hooks_are_gone(compiler: None) -> None:
    student, teacher, pairs, x = small()
    compiled = torch.compile(student, backend="eager")
    distill = ws.FeatureDistillation(compiled, teacher, pairs)
    compiled(x)
    distill.remove()
    compiled(x)
    assert distill._student._values == {}


def test_compiled_before_the_hooks(compiler: None) -> None:
    student, teacher, pairs, x = small()
    expected = _value(student, teacher, pairs, x, steps=1)
    compiled = torch.compile(student, backend="eager")
    compiled(x)
    with ws.FeatureDistillation(compiled, teacher, pairs) as distill:
        compiled(x), teacher(x)
        with pytest.raises(DistillationError, match=r"student: blocks.0 has not run.*or call torch.compiler.reset"):
            distill()
        torch.compiler.reset()
        out, _ = compiled(x), teacher(x)
        assert [(distill() + out.pow(2).mean()).item()] == pytest.approx(expected, rel=1e-12)


def test_values_of_several_devices_are_compared_device_by_device() -> None:
    """As `DataParallel` leaves them: here all on one device."""
    _, _, (pair, _), _ = small()
    ours, theirs = torch.randn(4, 5, 8), torch.randn(4, 5, 16)
    rows = _gathered(pair, ours.split([1, 3]), theirs.split([1, 3]))
    assert torch.equal(rows[0], ours.flatten(0, 1))
    assert torch.equal(rows[1], theirs.flatten(0, 1))
    with pytest.raises(DistillationError, match="the student ran on 2 devices, the teacher on 1: wrap both in DataPar"):
        _gathered(pair, ours.split([1, 3]), [theirs])


# -- outputs


def test_logits_against_the_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (torch.randn(4, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    labels = torch.tensor([0, 4, 2, 2])
    expected = 0.0
    for s, t in zip(ours.tolist(), theirs.tolist(), strict=True):
        p, q = ([math.exp(v / 3) / sum(math.exp(w / 3) for w in logits) for v in logits] for logits in (t, s))
        expected += 9 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / 4
    loss = ws.LogitDistillation(temperature=3, weight=0.7)
    assert loss(ours, theirs).item() == pytest.approx(0.7 * expected, rel=1e-12)
    task = F.cross_entropy(ours, labels).item()
    assert loss(ours, theirs, labels).item() == pytest.approx(0.7 * expected + 0.3 * task, rel=1e-12)


@pytest.mark.parametrize("temperature", [1e3, 1e4, 1e5])
def test_gradients_at_a_high_temperature(temperature: float) -> None:
    """Hinton et al., equation 4: for zero-meaned logits the gradient nears (student - teacher) / N as T grows."""
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (torch.randn(1, 6, dtype=torch.float64, generator=generator) for _ in range(2))
    ours, theirs = ((logits - logits.mean()) for logits in (ours, theirs))
    ours.requires_grad_()
    theirs.requires_grad_()
    ws.LogitDistillation(temperature=temperature, weight=1)(ours, theirs).backward()
    # What the expansion leaves out is of the order of the squared logits over T.
    bound = (ours.square() + theirs.square()).max().item() / temperature
    assert torch.allclose(ours.grad, (ours - theirs).detach() / 6, rtol=0, atol=bound)  # type: ignore[arg-type]
    assert theirs.grad is None


def test_ignored_positions_and_other_layouts() -> None:
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (torch.randn(2, 5, 3, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    labels = torch.randint(0, 5, (2, 3, 4), generator=generator)
    labels[0] = -100
    segmented = ws.LogitDistillation(dim=1)(ours, theirs, labels)
    alone = ws.LogitDistillation()(ours[1].movedim(0, -1), theirs[1].movedim(0, -1), labels[1])
    assert segmented.item() == pytest.approx(alone.item(), rel=1e-12)


def test_a_teacher_of_other_classes() -> None:
    ours, theirs = torch.randn(3, 2), torch.randn(3, 7)
    with pytest.raises(DistillationError, match=r"logits are \[3, 2\], the teacher's \[3, 7\].*needs classes="):
        ws.LogitDistillation()(ours, theirs)
    loss = ws.LogitDistillation(classes=[6, 1])
    assert torch.equal(loss(ours, theirs), ws.LogitDistillation()(ours, theirs[:, [6, 1]]))
    with pytest.raises(DistillationError, match="classes: they name class 6, the teacher has 4"):
        loss(ours, theirs[:, :4])
    assert loss.state_dict() == {}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param({"temperature": 0}, "temperature: 0 is not above 0", id="temperature"),
        pytest.param({"weight": 1.5}, "weight: 1.5 is not between 0 and 1", id="weight"),
        pytest.param({"classes": [1, 1]}, r"classes: \[1, 1\] are no teacher classes", id="classes"),
    ],
)
def test_logit_options_that_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(DistillationError, match=said):
        ws.LogitDistillation(**options)


def test_labels_of_another_shape() -> None:
    logits = torch.randn(2, 3, 4)
    with pytest.raises(DistillationError, match=r"labels: \[2\], and the logits \[2, 3, 4\] need \[2, 3\]"):
        ws.LogitDistillation()(logits, logits, torch.zeros(2, dtype=torch.long))
