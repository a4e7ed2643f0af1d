"""An operator that nobody has described: pinned, listed, and taught by its own stub."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

import wsel_graph as ws
from wsel_graph.errors import DuplicateRuleError
from wsel_graph.ops.registry import RULES


@torch.library.custom_op("wsel_test::mix", mutates_args=())
def mix(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Multiplies; PyTorch knows nothing more about it."""
    return x * scale


@mix.register_fake
def _(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


class Mixes(nn.Module):
    """The operator between two linears."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.scale, self.b = nn.Linear(4, 6), nn.Parameter(torch.ones(6)), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(mix(self.a(x), self.scale))


@pytest.fixture
def _unregister() -> Iterator[None]:
    yield
    RULES.pop("wsel_test::mix", None)


def test_axes_that_meet_it_are_pinned() -> None:
    graph = ws.trace(Mixes(), (3, 4))
    pinned = {place for group in graph.groups if group.pinned == "opaque" for place in group.members}
    assert pinned == {("a.weight", 0), ("a.bias", 0), ("scale", 0), ("b.weight", 1)}
    assert not any(group.free for group in graph.groups)
    certificate = ws.verify(Mixes(), (3, 4))
    assert certificate.ok
    assert certificate.unknown_ops == ("wsel_test::mix.default",)
    assert "operators without a propagation rule (their axes are pinned): wsel_test::mix.default" in str(certificate)


def test_stub_tells_what_was_seen() -> None:
    ((name, stub),) = ws.trace(Mixes(), (3, 4)).unknown_ops.items()
    assert name == "wsel_test::mix.default"
    assert "@ws.propagates(torch.ops.wsel_test.mix)" in stub
    assert "float32[3, 6], float32[6] -> float32[3, 6]" in stub
    assert "no propagation rule; seen in module (top level), graph node mix_default" in stub


@pytest.mark.usefixtures("_unregister")
def test_completed_stub_teaches_the_operator() -> None:
    ((_, stub),) = ws.trace(Mixes(), (3, 4)).unknown_ops.items()
    exec(stub.replace("    return x", "    call.unify(x[-1], scale[-1])\n    return x"), {"ws": ws, "torch": torch})
    graph = ws.trace(Mixes(), (3, 4))
    assert not graph.unknown_ops
    (hidden,) = (group for group in graph.groups if group.free)
    assert set(hidden.members) == {("a.weight", 0), ("a.bias", 0), ("scale", 0), ("b.weight", 1)}
    assert ws.verify(Mixes(), (3, 4)).permuted == 1


@pytest.mark.usefixtures("_unregister")
def test_a_wrong_rule_is_caught_by_verify() -> None:
    ((_, stub),) = ws.trace(Mixes(), (3, 4)).unknown_ops.items()
    exec(stub, {"ws": ws, "torch": torch})  # as it stands, the stub forgets the scale
    certificate = ws.verify(Mixes(), (3, 4))
    assert not certificate.ok
    assert str(certificate).startswith("NOT verified: ")


@pytest.mark.usefixtures("_unregister")
def test_two_rules_for_one_operator_are_refused() -> None:
    ws.propagates("wsel_test::mix")(lambda call: call["x"].axes)
    with pytest.raises(DuplicateRuleError, match=r"wsel_test::mix already has the propagation rule .*replace=True"):
        ws.propagates("wsel_test::mix")(lambda call: call["x"].axes)
    ws.propagates("wsel_test::mix", replace=True)(lambda call: call["x"].axes)
