"""Statistics of activations: against the models themselves, for any split into batches, as files, and refused."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import Tensor, nn

from tests.zoo import torchvision_stub

torchvision_stub.install()
import timm  # noqa: E402
from transformers import BertConfig, BertModel  # noqa: E402

import wsel_graph as ws  # noqa: E402
from tests.nets import INPUT, Transformer, mlp, randomize, same_tensors, snapshot  # noqa: E402
from wsel_graph.coupling.statistics import GroupStatistics  # noqa: E402
from wsel_graph.errors import CaptureError, ExampleInputsError, PlanError  # noqa: E402

EXACT = {"rtol": 1e-12, "atol": 1e-14}


# -- against forward hooks


@contextmanager
def inputs_of(model: nn.Module, names: Iterable[str]) -> Iterator[dict[str, list[Tensor]]]:
    """What goes into some modules, call by call."""
    seen: dict[str, list[Tensor]] = {name: [] for name in names}

    def hook(name: str) -> Callable[..., None]:
        return lambda module, args: seen[name].append(args[0].detach().clone())

    handles = [model.get_submodule(name).register_forward_pre_hook(hook(name)) for name in seen]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def check(found: GroupStatistics, expected: list[Tensor]) -> None:
    """Moments of one group, against all rows `[positions, size]` of every place."""
    assert found.count.tolist() == [len(rows) for rows in expected]
    assert found.second_moments is not None
    for i, rows in enumerate(expected):
        torch.testing.assert_close(found.mean[i], rows.mean(0), **EXACT)
        torch.testing.assert_close(found.magnitude[i], rows.abs().mean(0), **EXACT)
        torch.testing.assert_close(found.variance[i], rows.var(0, correction=0), **EXACT)
        torch.testing.assert_close(found.second_moments[i], rows.T @ rows / len(rows), rtol=1e-11, atol=1e-13)


def last(values: list[Tensor]) -> Tensor:
    """Rows of features that are the last dim."""
    return torch.cat([value.flatten(0, -2) for value in values])


def channels(values: list[Tensor]) -> Tensor:
    """Rows of features that are dim 1, or the last of two."""
    return torch.cat([value.movedim(1, -1).flatten(0, -2) for value in values])


def factors(rows: Tensor, outer: int) -> tuple[Tensor, Tensor]:
    """Rows of each factor of features that are `(outer inner)`, the other one counted as positions."""
    both = rows.unflatten(1, (outer, -1))
    return both.movedim(1, 2).flatten(0, 1), both.flatten(0, 1)


def test_vision_transformer_by_hooks() -> None:
    torch.manual_seed(0)
    model = randomize(timm.create_model("vit_tiny_patch16_224", depth=2, img_size=48)).double().eval()
    batches = [torch.randn(count, 3, 48, 48, dtype=torch.float64) for count in (3, 2, 3)]
    read = [f"blocks.{i}.{name}" for i in (0, 1) for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")]
    with inputs_of(model, [*read, "head"]) as seen, torch.no_grad():
        for batch in batches:
            model(batch)
    found = ws.statistics(model, batches, second_moments=True).groups
    stream = [last(seen[f"blocks.{i}.{name}"]) for i in (0, 1) for name in ("attn.qkv", "mlp.fc1")]
    check(found["cls_token:2#0"], [*stream, last(seen["head"])])
    check(found["blocks.1.mlp.fc1.weight:0#0"], [last(seen["blocks.1.mlp.fc2"])])
    heads, head_dim = factors(last(seen["blocks.0.attn.proj"]), 3)
    check(found["blocks.0.attn.qkv.weight:0#0"], [heads])
    check(found["blocks.0.attn.qkv.weight:0#1"], [head_dim])


def test_residual_network_by_hooks() -> None:
    torch.manual_seed(0)
    model = randomize(timm.create_model("resnet18")).double().eval()
    batches = [torch.randn(count, 3, 64, 64, dtype=torch.float64) for count in (2, 1)]
    names = ["layer1.0.conv1", "layer1.0.conv2", "layer1.1.conv1", "layer2.0.conv1", "layer4.1.conv2", "fc"]
    with inputs_of(model, names) as seen, torch.no_grad():
        for batch in batches:
            model(batch)
    found = ws.statistics(model, batches, second_moments=True).groups
    check(found["layer1.0.conv1.weight:0#0"], [channels(seen["layer1.0.conv2"])])
    stream = [channels(seen[name]) for name in ("layer1.0.conv1", "layer1.1.conv1", "layer2.0.conv1")]
    check(found["conv1.weight:0#0"], stream)
    check(found["layer4.1.conv1.weight:0#0"], [channels(seen["layer4.1.conv2"])])
    assert found["fc.weight:0#0"].places == ("out of fc",)


def test_bert_by_hooks_with_padding_and_other_lengths() -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40}
    model = randomize(BertModel(BertConfig(**sizes, vocab_size=50))).double().eval()
    batches = []
    for count, length in ((3, 9), (2, 6), (3, 9)):
        kept = (torch.arange(length)[None] < torch.randint(2, length, (count, 1))).long()
        batches.append({"input_ids": torch.randint(0, 50, (count, length)), "attention_mask": kept})
    read = [f"encoder.layer.{i}." for i in (0, 1)]
    names = [one + name for one in read for name in ("attention.self.query", "intermediate.dense", "output.dense")]
    with inputs_of(model, [*names, "encoder.layer.1.attention.output.dense", "pooler.dense"]) as seen, torch.no_grad():
        for batch in batches:
            model(**batch)
    found = ws.statistics(model, batches, second_moments=True).groups
    stream = [last(seen[one + name]) for one in read for name in ("attention.self.query", "intermediate.dense")]
    check(found["embeddings.word_embeddings.weight:1#0"], [*stream, last(seen["pooler.dense"])])
    check(found["encoder.layer.1.intermediate.dense.weight:0#0"], [last(seen["encoder.layer.1.output.dense"])])
    heads, head_dim = factors(last(seen["encoder.layer.1.attention.output.dense"]), 3)
    check(found["encoder.layer.1.attention.self.query.weight:0#0"], [heads])
    check(found["encoder.layer.1.attention.self.value.weight:0#1"], [head_dim])


def test_heads_that_share_an_axis_with_the_batch() -> None:
    """torch's own attention lays batch and heads in one axis: its positions depend on the size of the batch."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(12, 3, 20, batch_first=True, dropout=0.0)
    model = randomize(nn.Sequential(nn.Linear(4, 12), layer, nn.Linear(12, 2))).double().eval()
    batches = [torch.randn(count, 5, 4, dtype=torch.float64) for count in (2, 3)]
    found = ws.statistics(model, batches, second_moments=True)
    other = ws.statistics(model, [batches[1], batches[0]], second_moments=True)
    stream = torch.cat([model[0](batch).flatten(0, 1) for batch in batches])
    check(GroupStatistics(**{f: getattr(found.groups["0.weight:0#0"], f)[:1] for f in FIELDS}), [stream.detach()])
    q, k, v = (
        (stream @ layer.self_attn.in_proj_weight.T + layer.self_attn.in_proj_bias).unflatten(1, (3, 3, 4)).unbind(1)
    )
    heads = []
    for start, count in ((0, 2), (10, 3)):
        a, b, c = (x[start : start + 5 * count].unflatten(0, (count, 5)).transpose(1, 2) for x in (q, k, v))
        heads.append((a @ b.mT / 2).softmax(-1) @ c)
    mixed = torch.cat([each.transpose(1, 2).flatten(0, 1) for each in heads]).detach()
    check(found.groups["1.self_attn.in_proj_weight:0#0"], [mixed.movedim(1, 2).flatten(0, 1)])
    same(found, other)


class Repeated(nn.Module):
    """A table whose rows stand in one axis with the samples: `(batch slots)`."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Parameter(torch.randn(3, 4)), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.repeat_interleave(3, 0) * self.table.repeat(x.shape[0], 1)
        return self.head(rows.tanh()).reshape(x.shape[0], 3, 2).sum(1)


def test_elements_in_one_axis_with_the_samples() -> None:
    model = randomize(Repeated()).double()
    batches = [torch.randn(count, 4, dtype=torch.float64) for count in (2, 5)]
    found = ws.statistics(model, batches, second_moments=True).groups
    rows = torch.cat([batch[:, None] * model.table for batch in batches]).detach()
    assert found["table:0#0"].places == ("out of (top level)",)
    check(found["table:0#0"], [rows.movedim(1, 2).flatten(0, 1)])


# -- for any split


FIELDS = ("places", "count", "mean", "magnitude", "variance", "second_moments")


def same(one: ws.Statistics, other: ws.Statistics, tolerance: float = 1e-12) -> None:
    assert one.groups.keys() == other.groups.keys()
    for key, group in one.groups.items():
        assert group.places == other.groups[key].places
        assert torch.equal(group.count, other.groups[key].count)
        for name in FIELDS[2:]:
            values = getattr(group, name), getattr(other.groups[key], name)
            if values == (None, None):
                continue
            scale = float(values[0].abs().max())
            torch.testing.assert_close(*values, rtol=tolerance, atol=tolerance * scale, msg=f"{key} {name}")
    assert one.influence.keys() == other.influence.keys()
    for stage, lengths in one.influence.items():
        for length, values in lengths.items():
            assert list(other.influence[stage][length]) == pytest.approx(list(values), rel=tolerance, abs=1e-14)


SAMPLES = torch.randn(9, 5, INPUT, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
NET = randomize(Transformer(12, 3, 4, depth=3, kv=3, sine=True)).double()
WHOLE = ws.statistics(NET, [SAMPLES], second_moments=True)


@settings(max_examples=15, deadline=None)
@given(order=some.permutations(range(9)), cuts=some.sets(some.integers(1, 8)))
def test_any_partition_of_the_samples_gives_the_same(order: list[int], cuts: set[int]) -> None:
    bounds = [0, *sorted(cuts), 9]
    batches = [SAMPLES[order[start:stop]] for start, stop in itertools.pairwise(bounds)]
    same(WHOLE, ws.statistics(NET, iter(batches), second_moments=True))


def test_small_variance_beside_a_large_mean() -> None:
    """Sums of squares would lose all digits."""
    x = 1e9 + torch.randn(64, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = nn.Linear(4, 2).double()
    found = ws.statistics(model, [x[:7], x[7:40], x[40:]]).groups["weight:1#0"]
    exact = (x - 1e9).var(0, correction=0)
    torch.testing.assert_close(found.variance[0], exact, rtol=1e-6, atol=0)


def test_single_precision_is_summed_in_double() -> None:
    model, x = nn.Linear(3, 2), torch.randn(1000, 3)
    found = ws.statistics(model, [x]).groups["weight:1#0"]
    assert found.mean.dtype == torch.float64
    torch.testing.assert_close(found.magnitude[0], x.double().abs().mean(0), **EXACT)


# -- the model, and what is refused


def test_the_model_stays_as_it_is() -> None:
    model = timm.create_model("resnet18").train()
    before, generator = snapshot(model), torch.get_rng_state()
    ws.statistics(model, [torch.zeros(2, 3, 64, 64)])
    assert same_tensors(model, before)
    assert model.training
    assert torch.equal(generator, torch.get_rng_state())
    assert not any(module._forward_hooks for module in model.modules())


class Noisy(nn.Module):
    """Draws random numbers in evaluation mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x) + torch.rand(4))


def test_random_models_give_the_same_every_time_and_leave_the_generator() -> None:
    model, batches = Noisy(), [torch.randn(5, 3), torch.randn(5, 3)]
    state = torch.get_rng_state()
    first = ws.statistics(model, batches)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(7)
    same(first, ws.statistics(model, batches), 0.0)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "statistics need at least one batch, and there is none"),
        (torch.randn(2, 4), "statistics take an iterable of batches, got one Tensor: put it in a list"),
        ({"x": torch.randn(2, 4)}, "statistics take an iterable of batches, got one dict: put it in a list"),
    ],
)
def test_what_are_no_batches(batches: Any, message: str) -> None:
    with pytest.raises(ExampleInputsError) as caught:
        ws.statistics(mlp(8), batches)
    assert str(caught.value) == message


def test_a_model_without_values() -> None:
    with torch.device("meta"):
        model = mlp(8)
    with pytest.raises(PlanError, match=r"^statistics need the model's values, and 0\.weight is on the meta device"):
        ws.statistics(model, [torch.randn(2, 4)])


def test_activations_that_are_not_finite() -> None:
    x = torch.tensor([[1.0, 2.0, float("nan"), 0.0]])
    with pytest.raises(PlanError, match=r"^activations into 0 are not finite on these batches: no statistics can be"):
        ws.statistics(mlp(8), [x])


def test_batches_that_take_another_way() -> None:
    with pytest.raises(CaptureError, match=r"^the model raised|^graph node"):
        ws.statistics(mlp(8), [torch.randn(2, 4), torch.randn(2, 5)])


# -- files


def test_a_file_gives_the_same_statistics(tmp_path: Path) -> None:
    WHOLE.save(tmp_path / "a.safetensors")
    read = ws.load_statistics(tmp_path / "a.safetensors")
    same(WHOLE, read, 0.0)
    assert read.shapes == WHOLE.shapes
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]
    plain = ws.statistics(mlp(4), [torch.randn(3, 4)])
    plain.save(tmp_path / "b.safetensors")
    assert ws.load_statistics(tmp_path / "b.safetensors").groups["0.weight:0#0"].second_moments is None


def test_files_that_hold_no_statistics(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "a.safetensors"
    with pytest.raises(PlanError, match=r"^the statistics .*a\.safetensors cannot be read: "):
        ws.load_statistics(path)
    WHOLE.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PlanError, match=r"^the statistics .*a\.safetensors cannot be read: "):
        ws.load_statistics(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(PlanError, match=r"a\.safetensors holds no statistics: write them with ws\.statistics\("):
        ws.load_statistics(path)
    save_file({}, path, {"format": "wsel-statistics", "version": "7"})
    with pytest.raises(PlanError, match=r"holds statistics of version '7', this wsel_graph reads version 1: collect"):
        ws.load_statistics(path)
    header = {"shapes": {}, "groups": {"a:0#0": ["into a"]}, "influence": {}}
    metadata = {"format": "wsel-statistics", "version": "1", "statistics": json.dumps(header)}
    save_file({}, path, metadata)
    with pytest.raises(PlanError, match=r"the statistics in it are incomplete \('a:0#0 count'\); collect them anew"):
        ws.load_statistics(path)
    rows = {f"a:0#0 {name}": torch.zeros(1, 3, dtype=torch.float64) for name in FIELDS[2:5]}
    save_file({**rows, "a:0#0 count": torch.ones(2, dtype=torch.int64)}, path, metadata)
    with pytest.raises(PlanError, match=r"a:0#0 has moments of another shape than \[1, 3\]"):
        ws.load_statistics(path)
    save_file({**rows, "a:0#0 count": torch.ones(1, dtype=torch.int64), "b": torch.ones(1)}, path, metadata)
    with pytest.raises(PlanError, match=r"'b' is no part of statistics"):
        ws.load_statistics(path)


def test_another_model_is_refused() -> None:
    statistics = ws.statistics(mlp(8), [torch.randn(3, 4)])
    with pytest.raises(
        PlanError,
        match=r"^the statistics were collected on another model than this teacher: there 0\.weight is of shape "
        r"\[8, 4\], here of shape \[12, 4\]\. Collect them anew: ws\.statistics\(teacher, batches\)$",
    ):
        ws.plan(mlp(4), mlp(12), (1, 4), statistics=statistics)
    with pytest.raises(PlanError, match=r"there 0\.weight is of shape \[8, 4\], here missing"):
        ws.plan(Transformer(8, 2, 4), Transformer(16, 4, 4), (2, 5, INPUT), statistics=statistics)
