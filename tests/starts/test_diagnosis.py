"""A look at a start: its numbers against hooks of our own, planted faults against the text of the warnings."""

from __future__ import annotations

import copy
import math
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import wsel_graph as ws
from tests.nets import ConvNet, Transformer, mlp, randomize, same_tensors, snapshot
from wsel_graph.capture.inputs import normalize_inputs
from wsel_graph.errors import DiagnosisError
from wsel_graph.plan import Feature, Plan
from wsel_graph.starts.activations import Activations
from wsel_graph.starts.agreement import Agreement
from wsel_graph.starts.diagnosis import BlockRow, Diagnosis
from wsel_graph.starts.slopes import Slope

from .test_features import Inlined, Shared, bert, llama, resnet, vit

QUICK: dict[str, Any] = {"steps": 0}
Make = Callable[[], nn.Module]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def words(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 50, shape, generator=torch.Generator().manual_seed(seed))


def transformers(depth: int = 2, teacher_depth: int = 2) -> tuple[nn.Module, nn.Module]:
    return Transformer(8, 2, 4, depth=depth), Transformer(16, 2, 8, depth=teacher_depth)


def start(student: nn.Module, teacher: nn.Module, inputs: Any, **options: Any) -> Plan:
    """Both in float64 evaluation mode with random values, the student initialised."""
    for seed, model in enumerate((student, teacher)):
        randomize(model.double().eval(), seed)
    return ws.initialize(student, teacher, inputs, **options).plan


def seen(model: nn.Module, paths: list[str], batches: list[Any]) -> dict[str, torch.Tensor]:
    """What modules return, by hooks of our own, all batches as rows."""
    found: dict[str, list[torch.Tensor]] = {path: [] for path in paths}
    model = copy.deepcopy(model)
    for path in paths:
        model.get_submodule(path).register_forward_hook(lambda m, a, out, path=path: found[path].append(out))
    with torch.no_grad():
        for batch in batches:
            model(batch)
    return {path: torch.cat([one.flatten(0, -2) for one in values]) for path, values in found.items()}


def rms(values: torch.Tensor) -> float:
    return float(values.square().mean().sqrt())


def explained(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return 1 - float((ours - theirs).square().sum() / (theirs - theirs.mean(0)).square().sum())


def row(found: Diagnosis, name: str) -> BlockRow:
    return next(one for one in found.blocks if one.name == name)


def near(value: float | None) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-15)


# -- right


PAIRS: list[Any] = [
    pytest.param(*transformers(), noise(3, 5, 7), noise(4, 5, 7, seed=1), id="own"),
    pytest.param(*transformers(2, 4), noise(3, 5, 7), noise(2, 6, 7, seed=1), id="fewer blocks, another shape"),
    pytest.param(vit(48, 2), vit(96, 3), noise(2, 3, 64, 64), noise(3, 3, 64, 64, seed=1), id="vit"),
    pytest.param(bert(48, 2), bert(96, 2), words(3, 7), words(2, 7, seed=1), id="bert"),
]


@pytest.mark.parametrize(("student", "teacher", "one", "two"), PAIRS)
def test_blocks_are_what_hooks_see(student: nn.Module, teacher: nn.Module, one: Any, two: Any) -> None:
    plan = start(student, teacher, one, method="random")
    fresh = randomize(copy.deepcopy(student), 9)
    found = ws.diagnose(student, [one, two], teacher=teacher, plan=plan, fresh=fresh, **QUICK)
    for pair in ws.feature_pairs(plan):
        ours, anew = (seen(model, [pair.student.module], [one, two])[pair.student.module] for model in (student, fresh))
        theirs = seen(teacher, [pair.teacher.module], [one, two])[pair.teacher.module][:, list(pair.indices)]
        got = row(found, f"{pair.stage} {pair.block}")
        assert (got.student, got.teacher, got.fresh) == (near(rms(ours)), near(rms(theirs)), near(rms(anew)))
        assert got.explained == near(explained(ours, theirs))
    spanned = [pair for pair in ws.feature_pairs(plan, teacher="spanned") if pair.spanned]
    for pair in spanned:
        ours = seen(student, [pair.student.module], [one, two])[pair.student.module]
        theirs = seen(teacher, [pair.teacher.module], [one, two])[pair.teacher.module][:, list(pair.indices)]
        assert row(found, f"{pair.stage} {pair.block}").spanned == near(explained(ours, theirs))
    assert sum(one.spanned is not None for one in found.blocks) == len(spanned)


@pytest.mark.parametrize(("student", "teacher", "one", "two"), PAIRS)
def test_operators_are_what_hooks_see(student: nn.Module, teacher: nn.Module, one: Any, two: Any) -> None:
    plan = start(student, teacher, one, method="random")
    found = ws.diagnose(student, [one, two], teacher=teacher, plan=plan, **QUICK)
    got = {own.name: own for block in found.blocks for own in block.operators}
    checked = 0
    for made in plan.copies:
        name = made.student.removesuffix(".weight")
        if made.student not in got or not isinstance(student.get_submodule(name), (nn.Linear, nn.LayerNorm)):
            continue
        if name == made.student or len(made.target_shape) != len(made.student_shape):
            continue
        ours = seen(student, [name], [one, two])[name]
        path = made.teacher.removesuffix(".weight")
        theirs = seen(teacher, [path], [one, two])[path][:, list(made.indices[0])]
        own = got[made.student]
        assert (own.student, own.teacher) == (near(rms(ours)), near(rms(theirs)))
        assert own.explained == near(explained(ours, theirs))
        checked += 1
    assert checked >= 10
    for block in found.blocks:
        values = sorted(own.explained for own in block.operators if own.explained is not None)
        middle = (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2 if values else None
        assert (block.least, block.median) == (values[0] if values else None, near(middle) if values else None)


def gradients(
    student: nn.Module, teacher: nn.Module, pairs: tuple[Feature, ...], x: torch.Tensor
) -> tuple[float, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The default loss written by hand: its value, gradients by block outputs, and by parameters."""
    kept: dict[str, torch.Tensor] = {}
    model, other = copy.deepcopy(student), copy.deepcopy(teacher)

    def keep(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: Any, output: torch.Tensor) -> None:
            output.retain_grad()
            kept[path] = output

        return hook

    goals: dict[str, torch.Tensor] = {}
    for pair in pairs:
        model.get_submodule(pair.student.module).register_forward_hook(keep(pair.student.module))
        other.get_submodule(pair.teacher.module).register_forward_hook(
            lambda m, a, out, pair=pair: goals.update({pair.student.module: out.detach()[..., list(pair.indices)]})
        )
    result, wanted = model(x), other(x)
    terms = [(kept[path] - goal).square().mean() / goal.square().mean() for path, goal in goals.items()]
    if isinstance(result, torch.Tensor):
        terms.append((result - wanted.detach()).square().mean() / wanted.detach().square().mean())
    loss = torch.stack(terms).mean()
    loss.backward()
    parameters = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    return (
        float(loss.detach()),
        {path: value.grad for path, value in kept.items() if value.grad is not None},
        parameters,
    )


@pytest.mark.parametrize(("student", "teacher", "one", "two"), PAIRS)
def test_gradients_are_what_autograd_says(student: nn.Module, teacher: nn.Module, one: Any, two: Any) -> None:
    plan = start(student, teacher, one)
    found = ws.diagnose(student, [one, two], teacher=teacher, plan=plan, **QUICK)
    pairs = ws.feature_pairs(plan)
    loss, by_output, by_weight = gradients(student, teacher, pairs, one)
    assert found.student_loss == near(loss)
    results = 0 if isinstance(student(one), dict) else 1
    assert found.loss.startswith(f"the squared difference to the teacher's {len(pairs)} block outputs")
    assert ("and 1 results" in found.loss) == bool(results)
    values = dict(student.named_parameters())
    for pair in pairs:
        slope = row(found, f"{pair.stage} {pair.block}").slope
        assert slope is not None
        assert slope.output == near(rms(by_output[pair.student.module]))
        own = {name: g for name, g in by_weight.items() if name.startswith(f"{pair.student.module}.")}
        norm = math.sqrt(sum(float(g.square().sum()) for g in own.values()))
        size = math.sqrt(sum(float(values[name].detach().square().sum()) for name in own))
        assert slope.weights == near(norm / math.sqrt(sum(g.numel() for g in own.values())))
        assert slope.ratio == near(norm / size)


def test_every_parameter_is_in_one_section() -> None:
    student, teacher = vit(48, 2), vit(96, 2)
    plan = start(student, teacher, noise(2, 3, 64, 64))
    inputs = [normalize_inputs(noise(2, 3, 64, 64))]
    cut = Activations(student, teacher, plan, inputs, inputs).sections
    assert [section.name for section in cut] == ["before blocks", "blocks 0", "blocks 1", "after blocks"]
    names = [name for section in cut for name in section.parameters]
    assert sorted(names) == sorted(name for name, _ in student.named_parameters())
    blocks = [[name for name in s.parameters if not name.startswith(s.name.replace(" ", ".") + ".")] for s in cut[1:3]]
    assert blocks == [[], []]


def test_tables_belong_to_a_section() -> None:
    student, teacher = llama(48, 2), llama(96, 2)
    plan = start(student, teacher, words(2, 7))
    inputs = [normalize_inputs(words(2, 7))]
    cut = Activations(student, teacher, plan, inputs, inputs).sections
    assert [section.name for section in cut] == [
        "before model.layers", "model.layers 0", "model.layers 1", "after model.layers",
    ]  # fmt: skip
    assert cut[0].parameters == ("model.embed_tokens.weight",)
    names = [name for section in cut for name in section.parameters]
    assert sorted(names) == sorted(name for name, _ in student.named_parameters())
    found = ws.diagnose(student, words(2, 7), teacher=teacher, plan=plan, **QUICK)
    assert found.blocks[0].student == near(rms(student.model.embed_tokens(words(2, 7)).detach()))
    assert found.blocks[0].slope is not None
    assert found.blocks[0].slope.output


def test_results_that_are_all_zero_are_not_compared() -> None:
    """A fresh classifier may be zero, and no error is relative to zero."""
    student, teacher = transformers()
    plan = start(student, teacher, noise(2, 5, 7))
    for model in (student, teacher):
        nn.init.zeros_(model.head.weight), nn.init.zeros_(model.head.bias)
    nn.init.ones_(student.head.bias)
    found = ws.diagnose(student, noise(2, 5, 7), teacher=teacher, plan=plan, **QUICK)
    assert found.loss == "the squared difference to the teacher's 2 block outputs, over their mean square"
    assert not any("gradient" in text for text in found.warnings)
    assert (found.student_loss or 0) < 10


def test_given_loss_and_labels_for_every_batch() -> None:
    model = mlp(8).double()
    x = [noise(64, 4), noise(64, 4, seed=1)]
    labels = [(one[:, 0] > 0).long() for one in x]
    losses = [lambda out, y=y: nn.functional.cross_entropy(out, y) for y in labels]
    found = ws.diagnose(model, x, loss=losses)
    assert found.loss == "the given loss"
    assert found.student_loss == near(float(nn.functional.cross_entropy(model(x[0]), labels[0]).detach()))
    assert found.rate is not None
    assert found.rate.rate is not None
    assert found.rate.batches == 2
    assert [one.name for one in found.blocks] == ["0.weight", "2.weight", "4.weight"]


def test_student_that_is_its_teacher() -> None:
    teacher = randomize(Transformer(8, 2, 4).double().eval())
    student = copy.deepcopy(teacher)
    plan = ws.initialize(student, teacher, noise(2, 5, 7)).plan
    found = ws.diagnose(student, [noise(2, 5, 7)], teacher=teacher, plan=plan)
    for block in found.blocks:
        assert block.student == near(block.teacher)
        assert block.explained == near(1)
        assert all(own.explained == near(1) for own in block.operators)
    assert found.warnings == ()
    assert found.rate is not None
    assert found.rate.rate is None
    assert "the student computes what the teacher does" in str(found)


def test_dead_units_are_counted() -> None:
    model = mlp(8).double()
    with torch.no_grad():
        model[0].bias[:3] = -1e3
    found = ws.diagnose(model, [noise(64, 4)], **QUICK)
    units = [int((one > 0).any(0).logical_not().sum()) for one in seen(model, ["1", "3"], [noise(64, 4)]).values()]
    assert [(one.dead, one.units) for one in found.blocks[:2]] == [(units[0], 8), (units[1], 16)]
    assert units[0] >= 3
    assert found.warnings[0].startswith(f"0.weight: {units[0]} of 8 rectified units are zero on all inputs given.")


def test_values_that_are_overwritten_are_seen_before() -> None:
    """Batch norms of this network are rectified in place."""
    student, teacher = resnet(8, 2, 2, 2, 2), resnet(16, 2, 2, 2, 2)
    plan = start(student, teacher, noise(2, 3, 64, 64))
    found = ws.diagnose(student, noise(2, 3, 64, 64), teacher=teacher, plan=plan, **QUICK)
    kept: list[torch.Tensor] = []
    for model in (copy.deepcopy(student), copy.deepcopy(teacher)):
        model.layer1[0].bn1.register_forward_hook(lambda m, a, out: kept.append(out.detach().clone()))
        model(noise(2, 3, 64, 64))
    made = next(one for one in plan.copies if one.student == "layer1.0.bn1.weight")
    ours, theirs = (one.movedim(1, -1).flatten(0, -2) for one in kept)
    own = next(one for block in found.blocks for one in block.operators if one.name == "layer1.0.bn1.weight")
    assert own.explained == near(explained(ours, theirs[:, list(made.indices[0])]))
    slope = row(found, "layer1 0").slope
    assert slope is not None
    assert slope.output


def test_agreement_of_many_batches_is_that_of_one() -> None:
    """Large means and small spreads: sums of squares would cancel, merged moments do not."""
    theirs = [noise(n, 3, seed=n) + 1e6 for n in (4, 9, 2)]
    ours = [one + 0.5 * noise(*one.shape, seed=9) for one in theirs]
    found = Agreement()
    for one, other in zip(ours, theirs, strict=True):
        found.add(one, other)
    assert found.explained == pytest.approx(explained(torch.cat(ours), torch.cat(theirs)), rel=1e-7)
    assert (found.scale, found.teacher_scale) == (near(rms(torch.cat(ours))), near(rms(torch.cat(theirs))))
    with pytest.raises(
        DiagnosisError, match=r"the student shows \[2, 3\] rows and channels where the teacher shows \[4, 3"
    ):
        found.add(ours[2], theirs[0])


# -- faults


def faulty(harm: Callable[[nn.Module], None]) -> Diagnosis:
    student, teacher = Transformer(8, 2, 4, depth=4).double(), randomize(Transformer(8, 2, 4, depth=4).double(), 1)
    plan = ws.initialize(student, teacher, noise(2, 5, 7)).plan
    with torch.no_grad():
        harm(student)
    return ws.diagnose(
        student,
        noise(8, 5, 7),
        teacher=teacher,
        plan=plan,
        fresh=lambda: Transformer(8, 2, 4, depth=4).double(),
        **QUICK,
    )


def beginnings(found: Diagnosis) -> list[str]:
    return [text.split(":")[0] for text in found.warnings]


def test_no_fault() -> None:
    assert faulty(lambda model: None).warnings == ()


def test_a_block_that_blows_up() -> None:
    found = faulty(lambda model: model.blocks[1].fc2.weight.mul_(1e4))
    ours, theirs = row(found, "blocks 1").student, row(found, "blocks 1").teacher
    assert found.warnings[0] == (
        f"blocks 1 and the 3 after it: activations are far larger than the teacher's in the same channels: scale "
        f"{ours:.3g}, the teacher's {theirs:.3g}. Look at what was changed there after the initialisation, or fit the "
        "weights to the teacher's activations: ws.compensate(plan, student, teacher, batches)"
    )
    assert ours > 1e3 * (theirs or 0)
    worse = sum((own.explained or 0) < 0 for block in found.blocks for own in block.operators)
    assert beginnings(found)[1:] == [f"{worse} of 34 matched activations have an explained variance below 0"]
    assert "at blocks.1.fc2.weight (blocks 1; scale" in found.warnings[-1]


def test_a_block_that_vanishes() -> None:
    def harm(model: nn.Module) -> None:
        for value in model.blocks[2].parameters():
            value.zero_()

    found = faulty(harm)
    own = {one.name: one for one in row(found, "blocks 2").operators}
    first = own["blocks.2.norm1.weight"]
    assert found.warnings[0] == (
        f"blocks 2: blocks.2.norm1.weight computes values far smaller than the teacher's: scale 0, the teacher's "
        f"{first.teacher:.3g}; so do blocks.2.attn.q.weight, blocks.2.attn.k.weight, blocks.2.attn.v.weight and 4 "
        "more. Look at these weights, or fit the weights to the teacher's activations: ws.compensate(plan, student, "
        "teacher, batches)"
    )
    assert len(found.warnings) == 2
    assert "have an explained variance below 0" in found.warnings[1]


def test_no_gradient() -> None:
    def harm(model: nn.Module) -> None:
        model.head.weight.zero_()

    model = Transformer(8, 2, 4, depth=3).double()
    with torch.no_grad():
        harm(model)
    fresh = Transformer(8, 2, 4, depth=3).double()
    found = ws.diagnose(model, noise(4, 5, 7), fresh=fresh, loss=lambda out: (out - 1).square().mean(), **QUICK)
    other = row(found, "before blocks").fresh_slope
    assert other is not None
    assert found.warnings == (
        f"before blocks and 3 more: the gradient by its parameters is 0, a fresh start's is {other.weights:.3g}: it "
        "cannot learn. Look for zero weights after it, dead units, and detached tensors",
    )


def test_a_gradient_that_is_not_finite() -> None:
    found = ws.diagnose(mlp(8), (64, 4), loss=lambda out: (0 * out).sum().sqrt(), **QUICK)
    assert next(text for text in found.warnings if "gradient" in text).startswith(
        "0.weight and 2 more: the gradient is not finite though the output is. Look for roots, logarithms"
    )


def test_values_that_are_not_finite() -> None:
    def harm(model: nn.Module) -> None:
        model.blocks[1].fc1.weight[0, 0] = math.nan

    found = faulty(harm)
    teacher = row(found, "blocks 1").teacher
    assert found.warnings == (
        "blocks 1: 1 of 128 elements of blocks.1.fc1.weight are not finite. Initialise the student anew; where they "
        "come from the teacher, load its weights again",
        f"blocks 1 and the 3 after it: the output is not finite (scale nan, the teacher's is {teacher:.3g}). Look at "
        "the parameters of this block and at the inputs, then initialise anew",
    )
    assert math.isfinite(row(found, "blocks 0").student)


def test_a_stream_that_grows() -> None:
    model = Transformer(8, 2, 4, depth=6, norm=False).double()
    with torch.no_grad():
        for block in model.blocks:
            block.fc2.weight.mul_(40)
    found = ws.diagnose(model, noise(4, 5, 7), **QUICK)
    first, last = row(found, "blocks 0").student, row(found, "blocks 5").student
    assert last > 100 * first
    assert found.warnings[0].startswith(
        f"blocks: activations grow over depth, from {first:.3g} in blocks 0 to {last:.3g} in blocks 5. Scale the last"
    )


# -- a fresh start


def test_fresh_start_by_reset_parameters() -> None:
    student = randomize(ConvNet(4)).eval()
    found = ws.diagnose(student, noise(2, 3, 8, 8).float(), **QUICK)
    assert all(one.fresh is not None and isinstance(one.fresh_slope, Slope) for one in found.blocks)
    assert [note.split(":")[0] for note in found.notes] == ["fresh"]
    again = ws.diagnose(student, noise(2, 3, 8, 8).float(), **QUICK)
    assert [one.fresh for one in again.blocks] == [one.fresh for one in found.blocks]
    other = ws.diagnose(student, noise(2, 3, 8, 8).float(), seed=1, **QUICK)
    assert [one.fresh for one in other.blocks] != [one.fresh for one in found.blocks]
    twin = copy.deepcopy(student)
    torch.manual_seed(0)
    for module in twin.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    handed = ws.diagnose(student, noise(2, 3, 8, 8).float(), fresh=twin, **QUICK)
    assert [one.fresh for one in handed.blocks] == [one.fresh for one in found.blocks]


def test_no_fresh_start() -> None:
    found = ws.diagnose(vit(48, 2), (2, 3, 64, 64), **QUICK)
    assert all(one.fresh is None and one.fresh_slope is None for one in found.blocks)
    assert found.notes == (
        "no fresh start beside it: the model itself (VisionTransformer) holds cls_token and has no reset_parameters; "
        "pass fresh=, a function that makes the student anew",
    )


# -- odd models


def test_blocks_without_modules_and_shared_blocks() -> None:
    student, teacher = Inlined(8, 2), Inlined(16, 3)
    plan = start(student, teacher, noise(2, 5, 7))
    found = ws.diagnose(student, noise(2, 5, 7), teacher=teacher, plan=plan, **QUICK)
    block = next(one for one in found.blocks if one.stage)
    assert block.teacher is None
    assert block.slope is not None
    assert (block.slope.output, block.slope.weights is not None) == (None, True)
    assert any("not compared with the teacher" in note and "no module returns" in note for note in found.notes)
    one, two = Shared(8, 2), Shared(16, 3)
    plan = start(one, two, noise(2, 5, 7))
    assert row(ws.diagnose(one, noise(2, 5, 7), teacher=two, plan=plan, **QUICK), "block 1").explained is not None


def test_frozen_parameters() -> None:
    model = mlp(8)
    model[0].requires_grad_(False)
    found = ws.diagnose(model, (64, 4), loss=lambda out: out.square().mean())
    assert found.blocks[0].slope is not None
    assert found.blocks[0].slope.weights is None
    assert found.warnings == ()
    with pytest.raises(DiagnosisError, match=r"the loss depends on no parameter that requires gradients: set requires"):
        ws.diagnose(model.requires_grad_(False), (3, 4))


# -- nothing is changed


@pytest.mark.parametrize("around", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_models_and_random_states_are_untouched(around: Any) -> None:
    student, teacher = transformers()
    plan = ws.initialize(student, teacher, (2, 5, 7)).plan
    fresh = Transformer(8, 2, 4)
    student.train(), teacher.train()
    student.blocks[0].eval()
    student.head.weight.grad = torch.ones_like(student.head.weight)
    models = {"student": student, "teacher": teacher, "fresh": fresh}
    before = {name: snapshot(model) for name, model in models.items()}
    modes = [[module.training for module in model.modules()] for model in models.values()]
    hooks = [[(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()] for model in models.values()]
    x = noise(4, 5, 7).float()
    kept, state = x.clone(), torch.get_rng_state()
    with around():
        ws.diagnose(student, [x, x[:2]], teacher=teacher, plan=plan, fresh=fresh, steps=2)
    assert all(same_tensors(model, before[name]) for name, model in models.items())
    assert modes == [[module.training for module in model.modules()] for model in models.values()]
    assert hooks == [
        [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()] for model in models.values()
    ]
    grads = [name for model in models.values() for name, value in model.named_parameters() if value.grad is not None]
    assert grads == ["head.weight"]
    assert torch.equal(student.head.weight.grad, torch.ones_like(student.head.weight))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, kept)


# -- refused


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param(
            lambda s, t, p: {"teacher": t},
            r"teacher= is given without plan=: the plan says which.*ws\.initialize returns it", id="no plan",
        ),
        pytest.param(lambda s, t, p: {"plan": p}, r"plan= is given without teacher=", id="no teacher"),
        pytest.param(
            lambda s, t, p: {"teacher": s, "plan": p},
            r"the plan is for another teacher: stem\.weight is \[16, 7\] in the plan, \[8, 7\] here\. Give the models",
            id="another teacher",
        ),
        pytest.param(
            lambda s, t, p: {"fresh": t},
            r"fresh is of another architecture: stem\.weight is \[16, 7\] there, \[8, 7\] in the student", id="fresh",
        ),
        pytest.param(lambda s, t, p: {"fresh": s}, r"fresh is the student itself", id="fresh is the student"),
        pytest.param(lambda s, t, p: {"fresh": lambda: 3}, r"fresh: the function returned int, not a module", id="int"),
        pytest.param(
            lambda s, t, p: {"loss": [lambda out: out.mean()] * 3}, r"loss: 3 functions for 2 batches", id="losses"
        ),
        pytest.param(
            lambda s, t, p: {"loss": lambda out: out}, r"loss must return one number as a tensor, got \[2, 3\]",
            id="no number",
        ),
        pytest.param(lambda s, t, p: {"steps": -1}, r"steps must be at least 0, got steps=-1", id="steps"),
        pytest.param(
            lambda s, t, p: {"loss": lambda out: out.square().mean(), "rates": (1e-2, 1e-3)},
            r"rates must ascend and be positive, got \[0\.01, 0\.001\]", id="rates",
        ),
        pytest.param(
            lambda s, t, p: {"teacher": t, "plan": p, "teacher_inputs": [(2, 5, 7)]},
            r"2 batches for the student, 1 for the teacher", id="batches",
        ),
    ],
)  # fmt: skip
def test_refused(given: Callable[..., dict[str, Any]], said: str) -> None:
    student, teacher = transformers()
    plan = ws.initialize(student, teacher, (2, 5, 7)).plan
    with pytest.raises(DiagnosisError, match=said):
        ws.diagnose(student, [(2, 5, 7), (2, 5, 7)], **given(student, teacher, plan))


def test_no_batches() -> None:
    with pytest.raises(DiagnosisError, match="inputs holds no batch: pass inputs, or a list of them"):
        ws.diagnose(mlp(8), [])


# -- shown


def test_text() -> None:
    student, teacher = transformers()
    plan = start(student, teacher, noise(2, 5, 7))
    found = ws.diagnose(student, [noise(4, 5, 7), noise(4, 5, 7, seed=1)], teacher=teacher, plan=plan)
    text = str(found)
    for part in ("before blocks", "blocks 1", "after blocks", "Gradients, of the squared difference", "Warnings"):
        assert part in text
    assert found.rate is not None
    assert str(found.rate).splitlines()[0] in " ".join(text.split())


def test_picture(tmp_path: Path) -> None:
    student, teacher = transformers(3, 3)
    plan = start(student, teacher, noise(2, 5, 7))
    found = ws.diagnose(
        student, noise(4, 5, 7), teacher=teacher, plan=plan, fresh=Transformer(8, 2, 4, depth=3).double(), **QUICK
    )
    found.plot(tmp_path / "start.svg")
    root = ET.parse(tmp_path / "start.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{space}svg"
    dots = [one.get("class") for one in root.iter(f"{space}circle")]
    assert [dots.count(name) for name in ("student", "teacher", "fresh")] == [5, 5, 5]
    bars = [one for one in root.iter(f"{space}rect") if one.get("class") == "explained"]
    assert len(bars) == sum(v is not None for one in found.blocks for v in (one.explained, one.median))
    names = [one.text for one in root.iter(f"{space}text") if one.get("class") == "block"]
    assert names == [one.name for one in found.blocks]
    assert "http" not in (tmp_path / "start.svg").read_text().replace("http://www.w3.org/2000/svg", "")
    heights = {
        name: [float(one.get("cy", 0)) for one in root.iter(f"{space}circle") if one.get("class") == name]
        for name in ("student", "teacher")
    }
    for ours, theirs, block in zip(heights["student"], heights["teacher"], found.blocks, strict=True):
        assert (ours < theirs) == (block.student > (block.teacher or 0)) or ours == theirs
    with pytest.raises(DiagnosisError, match=r"start\.png: the picture is an SVG; give a name that ends in \.svg"):
        found.plot(tmp_path / "start.png")


def test_picture_of_odd_numbers(tmp_path: Path) -> None:
    rows = (BlockRow("a<b", "", math.nan), BlockRow("&", "", 0.0, 1e4, explained=-1e7), BlockRow("c", "", math.inf))
    Diagnosis(rows).plot(tmp_path / "odd.svg")
    root = ET.parse(tmp_path / "odd.svg").getroot()
    assert len([one for one in root.iter() if one.tag.endswith("circle")]) == 1
    assert [one.text for one in root.iter() if one.get("class") == "block"] == ["a<b", "&", "c"]
