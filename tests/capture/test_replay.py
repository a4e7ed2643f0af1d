"""Recorded graphs run on other inputs, compared with the models themselves."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.zoo import torchvision_stub

torchvision_stub.install()
import timm  # noqa: E402
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM  # noqa: E402

from wsel_graph.capture.replay import Recordings  # noqa: E402
from wsel_graph.errors import CaptureError  # noqa: E402

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "convnext_atto", "resnet18", "mobilenetv3_small_050"])
def test_images_of_another_batch_size(name):
    torch.manual_seed(0)
    model = timm.create_model(name).double().eval()
    recordings = Recordings(model, torch.randn(2, 3, 224, 224, dtype=torch.float64))
    for batch in (2, 3):
        x = torch.randn(batch, 3, 224, 224, dtype=torch.float64)
        run = recordings.run(x, held=recordings.base.outputs)
        run.advance()
        assert set(run.values) == set(recordings.base.outputs)  # everything else was let go
        with torch.no_grad():
            assert torch.equal(run.results()[0], model(x))


@pytest.mark.parametrize(
    ("model", "configuration"), [(BertModel, BertConfig), (LlamaForCausalLM, LlamaConfig)], ids=["bert", "llama"]
)
def test_tokens_of_any_length_and_mask(model, configuration):
    torch.manual_seed(0)
    network = model(configuration(**SMALL)).double().eval()

    def batch(count, length):
        kept = torch.arange(length)[None] < torch.randint(2, length, (count, 1))
        return {"input_ids": torch.randint(0, 1000, (count, length)), "attention_mask": kept.long()}

    recordings = Recordings(network, batch(3, 12))
    for inputs in (batch(3, 12), batch(3, 12), batch(2, 7)):
        run = recordings.run(inputs, held=recordings.base.outputs)
        run.advance()
        with torch.no_grad():
            assert torch.equal(run.results()[0], network(**inputs)[0])


def test_weights_are_read_when_an_operator_runs():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    x = torch.randn(5, 3)
    recordings = Recordings(model, x)
    run = recordings.run(x, held=recordings.base.outputs)
    run.advance(next(n for n, node in enumerate(recordings.base.nodes) if "relu" in str(node.target)))
    with torch.no_grad():
        model[2].weight.mul_(2)
    run.advance()
    assert torch.equal(run.results()[0], model(x))


class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.register_buffer("calls", torch.zeros(3))

    def forward(self, x):
        self.calls.add_(1)
        return x * self.weight + self.calls


def test_buffers_that_the_graph_writes_stay_as_they_are():
    model, x = Counts(), torch.randn(2, 3)
    recordings = Recordings(model, x)
    run = recordings.run(x, held=recordings.base.outputs)
    run.advance()
    assert torch.equal(run.results()[0], x + 1)
    assert torch.equal(model.calls, torch.zeros(3))


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        return self.one(x) if x.shape[0] < 4 else self.other(x).relu()


def test_an_operator_that_other_inputs_do_not_reach_is_named():
    recordings = Recordings(Branches(), torch.randn(2, 3))
    linear = next(n for n, node in enumerate(recordings.base.nodes) if "linear" in str(node.target))
    run = recordings.run(torch.randn(5, 3))
    with pytest.raises(CaptureError, match=r"on inputs input 0=float32\[5, 3\] the model does not run the operator"):
        run.advance(linear)


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x, mask):
        if not bool(mask.all()):
            x = x * mask.unsqueeze(-1) + 0.0
        return self.other(self.one(x).relu())


def test_nodes_are_found_again_where_other_operators_run_before_them():
    model = Masked()
    whole, cut = torch.ones(2, 4), torch.tensor([[1.0, 1, 0, 0], [1, 1, 1, 1]])
    recordings = Recordings(model, (torch.randn(2, 4, 3), cut))
    linears = [n for n, node in enumerate(recordings.base.nodes) if "linear" in str(node.target)]
    x = torch.randn(2, 4, 3)
    run = recordings.run((x, whole), held=linears)
    run.advance_past(linears[1])
    assert torch.equal(run.value(linears[0]), model.one(x))
    assert torch.equal(run.value(linears[1]), model(x, whole))


def test_a_failing_operator_is_named():
    recordings = Recordings(nn.Sequential(nn.Embedding(4, 2)), torch.tensor([[0, 1]]))
    run = recordings.run(torch.tensor([[0, 9]]))
    with pytest.raises(CaptureError, match=r"graph node embedding\S* \(aten\.embedding\.default\) of module 0 failed"):
        run.advance()
