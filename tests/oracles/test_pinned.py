"""Counterexamples that the hunt behind oracle O7 has found, each as small as it gets.

What was wrong is said at each; more that fit in one line are in `odd_forms.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import wsel_graph as ws
from tests.oracles.judge import right_or_refused

Forward = Callable[["Model", torch.Tensor], torch.Tensor]


class Model(nn.Module):
    """Parameters of a few shapes, and one way to use them."""

    def __init__(self, forward: Forward) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inlet, self.outlet, self.middle = nn.Linear(5, 6), nn.Linear(6, 3), nn.Linear(6, 6)
        self.scale = nn.Parameter(torch.randn(6))
        self.square = nn.Parameter(torch.randn(6, 6))
        self.probabilities = nn.Parameter(torch.rand(6) * 0.98 + 0.01)
        self.lstm, self.gru = nn.LSTM(6, 6, batch_first=True), nn.GRU(6, 6, batch_first=True)
        self.run = forward
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.run(self, x)


X = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))


def verdict(forward: Forward) -> str:
    return right_or_refused(Model(forward), (X,))


def test_a_rotation_of_two_dims_keeps_the_others() -> None:
    """The channels of a non-square `rot90` were neither passed on nor pinned."""
    assert verdict(lambda m, x: torch.rot90(m.inlet(x), 1, (0, 1))) == "exact"


def test_a_float64_run_makes_float64_constants() -> None:
    """`torch.zeros` without dtype gave float32 in the float64 run of `verify`: a crash."""

    def forward(m: Model, x: torch.Tensor) -> torch.Tensor:
        weight = torch.zeros(6, 6)
        weight[:, torch.tensor([0, 2])] = m.square[:, :2]
        return m.outlet(F.linear(m.inlet(x), weight))

    assert verdict(forward) == "exact"


def test_outputs_that_cancel_are_no_proof_of_a_fault() -> None:
    """Zero but for rounding: a relative error of it says nothing."""

    def forward(m: Model, x: torch.Tensor) -> torch.Tensor:
        y = m.inlet(x)
        return (y - y.mean(1, keepdim=True)).sum(1)

    assert verdict(forward) in {"exact", "inconclusive"}


def test_values_that_leave_pytorch_are_pinned() -> None:
    """`tolist` and `numpy` hand values to Python: the parameter looked unused, and so free."""
    assert verdict(lambda m, x: m.outlet(m.inlet(x) * torch.tensor(m.scale.tolist()))) == "exact"
    assert verdict(lambda m, x: m.outlet(m.inlet(x) * torch.from_numpy(m.scale.detach().numpy()))) == "exact"


def written_before(m: Model, x: torch.Tensor) -> torch.Tensor:
    first = torch.zeros(1, 2, 6)
    first[:, :, :3] = 1
    return m.lstm(m.inlet(x), (first, torch.zeros(1, 2, 6)))[0]


def written_through_a_view(m: Model, x: torch.Tensor) -> torch.Tensor:
    first = torch.zeros(1, 2, 6)
    first.view(2, 6)[1] += m.scale
    return m.gru(m.inlet(x), first)[0]


def written_between_two_uses(m: Model, x: torch.Tensor) -> torch.Tensor:
    first = torch.zeros(1, 2, 6)
    before = m.gru(m.inlet(x), first)[0]
    first[..., :2] = 3
    return before + m.gru(m.inlet(x), first)[0]


@pytest.mark.parametrize("forward", [written_before, written_through_a_view, written_between_two_uses])
def test_a_constant_is_constant_until_it_is_written_to(forward: Forward) -> None:
    """Whether all elements of a state were equal was decided when it was made, not when it was used."""
    assert verdict(lambda m, x: m.outlet(forward(m, x))) == "exact"


def test_tensors_saved_by_autograd_are_recognised() -> None:
    """A gradient taken in the forward pass uses copies of the weights that came from nowhere."""

    def forward(m: Model, x: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            z = m.inlet(x).detach().requires_grad_()
            (gradient,) = torch.autograd.grad((m.middle(z) ** 2).sum(), z)
        return m.outlet(gradient)

    assert verdict(forward) == "refused"


def test_data_that_is_replaced_is_followed() -> None:
    """After `y.data = z`, the axes of `y` were still the old ones."""

    def forward(m: Model, x: torch.Tensor) -> torch.Tensor:
        y = m.scale.clone()
        y.data = m.square[0].clone()
        return m.outlet(m.inlet(x) * y)

    assert verdict(forward) == "exact"


def test_random_numbers_inside_an_operator_are_anchored() -> None:
    """Random slopes and a random attention mask per element were taken for elementwise."""
    assert verdict(lambda m, x: m.outlet(F.rrelu(m.inlet(x), training=True))) == "exact"

    def attention(m: Model, x: torch.Tensor) -> torch.Tensor:
        q = m.inlet(x).view(2, 4, 2, 3).transpose(1, 2)
        return m.outlet(F.scaled_dot_product_attention(q, q, q, dropout_p=0.3).transpose(1, 2).flatten(2))

    assert verdict(attention) == "exact"


def test_noise_that_leaves_the_domain_of_an_operator_is_no_crash() -> None:
    """`verify` disturbs parameters first, probabilities too."""
    assert verdict(lambda m, x: m.inlet(x) * F.binary_cross_entropy(m.probabilities, m.probabilities)) == "exact"


def test_a_thousand_slices_nest_no_recursion() -> None:
    """Every cut nests a binding: resolving the axis recursed once per part."""

    class Unbound(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inlet, self.outlet = nn.Linear(5, 1000), nn.Linear(1000, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.outlet(torch.stack(self.inlet(x).unbind(-1), -1))

    assert right_or_refused(Unbound(), (torch.randn(2, 5),)) == "exact"


def test_axes_of_size_zero_end_nothing() -> None:
    """An axis of size 0 was bound to a product that held it: no end."""

    def forward(m: Model, x: torch.Tensor) -> torch.Tensor:
        nothing = m.square[:, :0]
        y = m.inlet(x)
        return m.outlet(torch.cat([y @ nothing, y], -1) + (nothing @ nothing.T).sum())

    assert verdict(forward) == "exact"


def test_a_model_that_cannot_run_in_float64_is_refused_by_name() -> None:
    def forward(m: Model, x: torch.Tensor) -> torch.Tensor:
        points = torch.zeros(6, dtype=torch.int32)
        weight = torch.fake_quantize_per_channel_affine(m.square, m.probabilities, points, 0, -8, 7)
        return m.outlet(F.linear(m.inlet(x), weight))

    with pytest.raises(ws.WselError, match="does not run in float64"):
        ws.verify(Model(forward), (X,))
