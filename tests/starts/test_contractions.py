"""Contractions as rows: `rows @ matrix + bias` is the operator's own output, whatever the operator is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D

from wsel_graph.capture.replay import Recordings, Run
from wsel_graph.starts.contractions import Contraction, contraction


class Call(nn.Module):
    """A function of an input, a parameter `w` and a parameter `b`."""

    def __init__(self, function: Callable[[Tensor, Tensor, Tensor], Tensor], *shape: int, bias: int = 7) -> None:
        super().__init__()
        self.function = function
        self.w, self.b = nn.Parameter(torch.randn(*shape)), nn.Parameter(torch.randn(bias))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.w, self.b)


def of(function: Callable[[Tensor, Tensor, Tensor], Tensor], *shape: int) -> Callable[[], nn.Module]:
    return lambda: Call(function, *shape)


FORMS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(5, 7), (2, 3, 5)),
    "linear of one row": (lambda: nn.Linear(5, 7), (5,)),
    "linear without bias": (lambda: nn.Linear(5, 7, bias=False), (4, 5)),
    "Conv1D": (lambda: Conv1D(7, 5), (2, 3, 5)),
    "matmul, weight right": (of(lambda x, w, b: x @ w, 5, 7), (2, 3, 5)),
    "matmul, weight left": (of(lambda x, w, b: w @ x, 4, 3), (2, 3, 5)),
    "matmul, weight with a batch dim": (of(lambda x, w, b: x @ w, 2, 5, 7), (2, 3, 5)),
    "matmul with a vector": (of(lambda x, w, b: x @ w, 5), (2, 3, 5)),
    "mm": (of(lambda x, w, b: torch.mm(x, w), 5, 7), (3, 5)),
    "mm, weight left": (of(lambda x, w, b: torch.mm(w, x), 7, 3), (3, 5)),
    "bmm": (of(lambda x, w, b: torch.bmm(x, w), 2, 5, 7), (2, 3, 5)),
    "bmm, weight left": (of(lambda x, w, b: torch.bmm(w, x), 2, 4, 3), (2, 3, 5)),
    "addmm": (of(lambda x, w, b: torch.addmm(b, x.flatten(0, 1), w), 5, 7), (2, 3, 5)),
    "einsum, two output dims": (of(lambda x, w, b: torch.einsum("bnd,dhk->bhnk", x, w), 5, 2, 4), (2, 3, 5)),
    "einsum, two summed dims": (of(lambda x, w, b: torch.einsum("bhnk,hko->bno", x, w), 2, 4, 5), (3, 2, 6, 4)),
    "einsum, one matrix per position": (of(lambda x, w, b: torch.einsum("bnd,ndk->bnk", x, w), 3, 5, 4), (2, 3, 5)),
    "einsum, weight first": (of(lambda x, w, b: torch.einsum("dk,bnd->nkb", w, x), 5, 4), (2, 3, 5)),
    "einsum, ellipsis": (of(lambda x, w, b: torch.einsum("b...d,kd->b...k", x, w), 4, 5), (2, 3, 5)),
    "rows of a parameter": (of(lambda x, w, b: F.linear(x, w[2:5]), 7, 5), (2, 3, 5)),
    "rows of a parameter and its bias": (of(lambda x, w, b: F.linear(x, w[2:5], b[2:5]), 7, 5), (2, 3, 5)),
    "columns of a parameter": (of(lambda x, w, b: F.linear(x, w[:, 1:6], b), 7, 8), (2, 3, 5)),
    "reshaped parameter": (of(lambda x, w, b: F.linear(x, w.reshape(7, -1), b), 7, 5, 1), (2, 3, 5)),
    "turned and copied parameter": (of(lambda x, w, b: F.linear(x, w.t().contiguous(), b), 5, 7), (2, 3, 5)),
    "parameter with heads": (of(lambda x, w, b: F.linear(x, w.permute(1, 2, 0).flatten(0, 1)), 5, 2, 4), (2, 3, 5)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 5, stride=3, padding=2), (2, 4, 19)),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1), (2, 4, 9, 8)),
    "conv2d 1x1": (lambda: nn.Conv2d(4, 6, 1), (2, 4, 9, 8)),
    "conv2d, grouped, dilated": (lambda: nn.Conv2d(4, 6, (3, 2), padding=(1, 0), dilation=2, groups=2), (2, 4, 9, 8)),
    "conv2d, depthwise": (lambda: nn.Conv2d(4, 4, 3, groups=4), (2, 4, 9, 8)),
    "conv2d, two per channel": (lambda: nn.Conv2d(4, 8, 3, groups=4, bias=False), (2, 4, 9, 8)),
    "conv2d, padding same": (lambda: nn.Conv2d(4, 6, 3, padding="same"), (2, 4, 9, 8)),
    "conv2d, even, padding same": (lambda: nn.Conv2d(4, 6, (4, 3), padding="same", dilation=(1, 2)), (2, 4, 9, 8)),
    "conv2d, padding valid": (lambda: nn.Conv2d(4, 6, 3, padding="valid"), (2, 4, 9, 8)),
    "conv2d, circular": (lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), (2, 4, 9, 8)),
    "conv2d, reflected": (lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (2, 4, 9, 8)),
    "conv2d, stride beyond the kernel": (lambda: nn.Conv2d(4, 6, 2, stride=4), (2, 4, 11, 9)),
    "conv1d without a batch dim": (of(lambda x, w, b: F.conv1d(x, w, b), 7, 5, 2), (5, 6)),
    "conv3d": (lambda: nn.Conv3d(4, 6, (2, 3, 1), stride=(1, 2, 1), groups=2), (2, 4, 4, 5, 6)),
    "transposed 1d": (lambda: nn.ConvTranspose1d(4, 6, 2, stride=3, padding=1, output_padding=2), (2, 4, 5)),
    "transposed 1d, cut beyond the kernel": (lambda: nn.ConvTranspose1d(4, 6, 1, padding=1), (2, 4, 5)),
    "transposed 2d": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1), (2, 4, 5, 6)),
    "transposed 2d, grouped": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, dilation=2), (2, 4, 5, 6)),
    "transposed 2d, depthwise": (lambda: nn.ConvTranspose2d(4, 4, (2, 3), stride=(2, 1), groups=4), (2, 4, 5, 6)),
    "transposed 3d": (lambda: nn.ConvTranspose3d(2, 3, 2, stride=2, padding=1), (2, 2, 3, 4, 3)),
}  # fmt: skip


def found_in(model: nn.Module, shape: tuple[int, ...]) -> tuple[Run, list[Contraction | str]]:
    model = model.double().eval()
    x = torch.randn(*shape, dtype=torch.float64)
    recordings = Recordings(model, x)
    seen = [contraction(recordings.base, number) for number in range(len(recordings.base.nodes))]
    last = max((one.number for one in seen if isinstance(one, Contraction)), default=None)
    run = recordings.run(x, held=[] if last is None else [last])
    run.advance(last)  # right before it: what it reads is still there
    return run, [one for one in seen if one is not None]


@pytest.mark.parametrize("name", FORMS)
def test_rows_times_matrix_is_the_operator(name: str) -> None:
    torch.manual_seed(0)
    make, shape = FORMS[name]
    run, found = found_in(make(), shape)
    (one,) = found
    assert isinstance(one, Contraction)
    tensors = {state.name: state.tensor.detach() for state in run.program.captured.states}
    rows = one.form.rows(run.value(one.data))
    picked = torch.randperm(rows.shape[1])[:5]
    assert torch.equal(one.form.rows(run.value(one.data), picked), rows[:, picked])
    matrix = one.form.matrix(one.weight.read(tensors[one.weight.name]))
    assert rows.shape[::2] == (one.form.groups, one.form.inputs)
    assert matrix.shape == (one.form.groups, one.form.outputs, one.form.inputs)
    output = torch.einsum("gni,goi->ngo", rows, matrix).flatten(1)
    if one.bias is not None:
        output = output + one.bias.read(tensors[one.bias.name])
    run.advance_past(one.number)
    torch.testing.assert_close(output, one.form.channels(run.value(one.number)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", FORMS)
def test_what_is_written_is_what_the_operator_sees(name: str) -> None:
    make, shape = FORMS[name]
    run, (one,) = found_in(make(), shape)
    assert isinstance(one, Contraction)
    own = next(state.tensor for state in run.program.captured.states if state.name == one.weight.name)
    seen = torch.randn(one.weight.numbers.shape, dtype=torch.float64)
    changed = one.weight.write(own, seen)
    assert torch.equal(one.weight.read(changed), seen)
    unseen = torch.ones(own.numel(), dtype=torch.bool)
    unseen[one.weight.numbers.reshape(-1)] = False
    assert torch.equal(changed.reshape(-1)[unseen], own.detach().reshape(-1)[unseen])


@pytest.mark.parametrize(
    ("function", "shape", "data", "reason"),
    [
        (lambda x, w, b: torch.addmm(b, x, w, beta=2), (5, 7), (3, 5), "it scales what it adds"),
        (lambda x, w, b: F.linear(x, 2 * w), (7, 5), (3, 5), "its weight is computed from parameters"),
        (lambda x, w, b: torch.einsum("nd,de,e->n", x, w, b), (5, 7), (3, 5), "it has more than two operands"),
        (lambda x, w, b: F.linear(x, w, 2 * b), (7, 5), (3, 5), "its bias is no parameter with one value per channel"),
        (lambda x, w, b: F.linear(x, w), (5,), (3, 5), "its weight is a vector"),
        (lambda x, w, b: torch.einsum("nd,dk->n", x, w), (5, 7), (3, 5), "its equation is no product of rows"),
    ],
)
def test_what_cannot_be_put_in_rows_is_said(
    function: Callable[[Tensor, Tensor, Tensor], Tensor], shape: tuple[int, ...], data: tuple[int, ...], reason: str
) -> None:
    _, found = found_in(Call(function, *shape), data)
    assert any(isinstance(one, str) and reason in one for one in found), found
