"""What may be captured, with which inputs, and what is refused with which words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import fx, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

import wsel_graph as ws
from tests.nets import Transformer, mlp
from wsel_graph.errors import CaptureError, ExampleInputsError


def groups(graph: ws.ModelGraph) -> list[tuple[Any, ...]]:
    """What two graphs of one model have in common: everything but object identity."""
    return [(g.size, g.role, g.status, sorted(g.members)) for g in graph.groups]


class TwoInputs(nn.Module):
    """A sum of two linears."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(3, 6)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.a(x) + self.b(y)


@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param((torch.ones(2, 4), torch.ones(2, 3)), id="tuple"),
        pytest.param([torch.ones(2, 4), torch.ones(2, 3)], id="list"),
        pytest.param({"x": torch.ones(2, 4), "y": torch.ones(2, 3)}, id="keywords"),
    ],
)
def test_forms_of_inputs(inputs: Any) -> None:
    graph = ws.trace(TwoInputs(), inputs)
    assert groups(graph) == groups(ws.trace(TwoInputs(), (torch.ones(1, 4), torch.ones(1, 3))))


def test_a_shape_takes_the_models_dtype() -> None:
    model = mlp(8).double()
    assert groups(ws.trace(model, (2, 4))) == groups(ws.trace(model, torch.ones(2, 4, dtype=torch.float64)))


@pytest.mark.filterwarnings("ignore:.*treespec:FutureWarning")  # torch copies its own exported modules this way
def test_graph_module_and_exported_program_give_the_same_groups() -> None:
    model, x = Transformer(16, 2, 8).eval(), torch.randn(2, 5, 7)
    expected = groups(ws.trace(model, x))
    exported = torch.export.export(model, (x,))
    assert len(expected) > 10
    assert groups(ws.trace(exported, None)) == expected
    assert groups(ws.trace(exported, x)) == expected
    assert groups(ws.trace(exported.module(), x)) == expected  # an fx.GraphModule
    traced = fx.symbolic_trace(mlp(8))
    assert groups(ws.trace(traced, (1, 4))) == groups(ws.trace(mlp(8), (1, 4)))


def test_recorded_graph_can_be_traced_again() -> None:
    graph = ws.trace(Transformer(), (2, 5, 7))
    again = ws.trace(graph.fx, (2, 5, 7))
    assert sorted(groups(again)) == sorted(groups(graph))


def test_meta_model_is_traced_without_weights() -> None:
    with torch.device("meta"):
        model = Transformer(64, 4, 16)
    graph = ws.trace(model, torch.empty(2, 5, 7, device="meta"))
    assert all(state.tensor.device.type == "meta" for state in graph.captured.states)
    assert groups(graph) == groups(ws.trace(Transformer(64, 4, 16), (2, 5, 7)))


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(parametrizations.weight_norm, id="weight_norm"),
        pytest.param(parametrizations.spectral_norm, id="spectral_norm"),
        pytest.param(parametrizations.orthogonal, id="orthogonal"),
        pytest.param(weight_norm, id="old weight_norm"),
        pytest.param(spectral_norm, id="old spectral_norm"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*torch.nn.utils.weight_norm.*:FutureWarning")
def test_reparametrized_weights(wrap: Callable[[nn.Module], nn.Module]) -> None:
    model = nn.Sequential(wrap(nn.Linear(4, 6)), nn.ReLU(), nn.Linear(6, 2))
    model(torch.ones(1, 4))
    hidden = [group for group in ws.trace(model, (3, 4)).groups if ("2.weight", 1) in group.members]
    assert [group.size for group in hidden] == [6]
    assert any(name.startswith("0.") and "bias" not in name for name, _ in hidden[0].members)
    assert ws.verify(model, (3, 4)).ok


def test_lambda_attributes_and_shared_submodules() -> None:
    model = TwoInputs()
    model.act = lambda x: x  # cannot be pickled
    model.again = model.a
    graph = ws.trace(model, (torch.ones(2, 4), torch.ones(2, 3)))
    assert graph.tensors["again.weight"].name == "a.weight"


# -- refusals


class Raises(nn.Module):
    """Fails inside a named submodule, after an operator of its own."""

    class Inner(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise KeyError("no such thing")

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.inner = nn.Linear(4, 4), Raises.Inner()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(self.fc(x))


class NoTensor(nn.Module):
    """Returns a number."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> int:
        return self.fc(x).shape[0]


class Uncopyable(nn.Sequential):
    """Holds what Python cannot copy."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 2))
        self.lines = (line for line in ())


REFUSED = [
    pytest.param(mlp(8), None, ExampleInputsError, r"no example inputs.*must run once.*Pass a tensor", id="none"),
    pytest.param(mlp(8), (), ExampleInputsError, r"example inputs are empty", id="empty"),
    pytest.param(mlp(8), "x", ExampleInputsError, r"of type str are not understood", id="text"),
    pytest.param(mlp(8), (2, 0), ExampleInputsError, r"\(2, 0\) has a size below 1", id="size zero"),
    pytest.param(
        mlp(8), (2, 5), CaptureError,
        r"RuntimeError in module 0 \(Linear\), after operator aten\.linear\.default, with input 0=float32\[2, 5\].*"
        r"Check the example inputs", id="wrong shape",
    ),
    pytest.param(
        mlp(8), (torch.ones(2, 4), torch.ones(1)), ExampleInputsError,
        r"TypeError in module \(top level\) \(Sequential\), after operator none, with input 0=.*input 1=float32\[1\]",
        id="too many",
    ),
    pytest.param(TwoInputs(), {"x": torch.ones(2, 4)}, ExampleInputsError, r"x=float32\[2, 4\].*'y'", id="too few"),
    pytest.param(
        Raises(), (2, 4), CaptureError,
        r"raised KeyError in module inner \(Inner\), after operator aten\.linear\.default.*no such thing", id="raises",
    ),
    pytest.param(NoTensor(), (2, 4), CaptureError, r"NoTensor returned no tensor \(got int\)", id="no tensor"),
    pytest.param(nn.ReLU(), (2, 4), CaptureError, r"ReLU has no parameters and no buffers", id="empty model"),
    pytest.param(
        nn.Sequential(nn.LazyLinear(3)), (2, 4), CaptureError, r"0\.weight is uninitialized \(a lazy mod", id="lazy"
    ),
    pytest.param(Uncopyable(), (2, 4), CaptureError, r"Uncopyable cannot be copied \(TypeError.*generator", id="copy"),
    pytest.param(lambda x: x, (2, 4), CaptureError, r"expected an nn\.Module.*got function", id="function"),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
@pytest.mark.parametrize(("model", "inputs", "error", "text"), REFUSED)
def test_refusals(model: Any, inputs: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=rf"(?s){text}"):
        ws.trace(model, inputs)


def test_the_first_attempt_is_told_too() -> None:
    with pytest.raises(CaptureError) as caught:
        ws.trace(Raises(), (2, 4))
    assert any("attempt on the meta device had failed" in note for note in caught.value.__notes__)
