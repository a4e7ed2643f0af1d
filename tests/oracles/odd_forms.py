"""Odd ways of computing: one line each, or a few. Every one is exact, or refused with a reason.

They act on tokens `x` of shape (2, 4, 6), between two linears, with a few parameters at hand. Most come from real
models; some only from the documentation of PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

Form = Callable[[Any, torch.Tensor], Any]


class Odd(nn.Module):
    """A form between two linears."""

    def __init__(self, form: Form, extra: dict[str, Callable[[], Any]]) -> None:
        super().__init__()
        self.inlet, self.outlet, self.linear = nn.Linear(5, 6), nn.Linear(6, 3), nn.Linear(6, 6)
        self.scale, self.square = nn.Parameter(torch.randn(6)), nn.Parameter(torch.randn(6, 6))
        self.table, self.tall = nn.Parameter(torch.randn(7, 6)), nn.Parameter(torch.randn(6, 4))
        self.cube = nn.Parameter(torch.randn(6, 6, 6))
        for name, make in extra.items():
            self._add(name, make())
        self.form = form

    def _add(self, name: str, made: Any) -> None:
        if isinstance(made, torch.Tensor) and not isinstance(made, nn.Parameter):
            self.register_buffer(name, made)
        else:
            setattr(self, name, made)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.outlet(self.form(self, self.inlet(x)))
        return y


EXTRA: dict[str, dict[str, Callable[[], Any]]] = {}


def odd(**extra: Callable[[], Any]) -> Callable[[Form], Form]:
    """Add a form that needs several lines, or modules, parameters and buffers of its own."""

    def register(form: Form) -> Form:
        name = form.__name__.replace("_", " ")
        ODD[name], EXTRA[name] = form, extra
        return form

    return register


def build(name: str) -> Odd:
    """The module around one form."""
    torch.manual_seed(0)
    return Odd(ODD[name], EXTRA.get(name, {})).eval()


ODD: dict[str, Form] = {
    "tolist": lambda m, x: x * torch.tensor(m.scale.tolist()),
    "numpy": lambda m, x: x * torch.from_numpy(m.scale.detach().numpy() * 2),
    "iter float": lambda m, x: x * torch.tensor([float(v) for v in m.scale]),
    "item at": lambda m, x: x * m.scale[2].item(),
    "py stack": lambda m, x: torch.stack([x[..., i] * m.scale[i] for i in range(6)], -1),
    "dlpack": lambda m, x: x * torch.from_dlpack(m.scale.detach()),
    "vmap": lambda m, x: torch.vmap(lambda v: F.linear(v, m.square))(x),
    "vmap w": lambda m, x: torch.vmap(lambda w: x @ w, out_dims=0)(m.cube).mean(0),
    "functional": lambda m, x: torch.func.functional_call(m.linear, {"weight": m.square, "bias": m.scale}, (x,)),
    "mc dropout": lambda m, x: F.dropout(x, 0.5, True),
    "mc dropout1d": lambda m, x: F.dropout1d(x.mT, 0.5, True).mT,
    "alpha dropout": lambda m, x: F.alpha_dropout(x, 0.5, True),
    "rrelu": lambda m, x: F.rrelu(x, training=True),
    "gumbel": lambda m, x: x * F.gumbel_softmax(x, hard=True),
    "rand like": lambda m, x: x + torch.randn_like(x),
    "rand batch": lambda m, x: x + torch.randn(x.shape[0], 1, 1),
    "log normal": lambda m, x: x * torch.zeros(6).log_normal_(),
    "cauchy": lambda m, x: x * torch.zeros_like(x).geometric_(0.5),
    "emb norm": lambda m, x: x + F.embedding(torch.tensor([1, 2, 3, 1]), m.table, max_norm=0.5),
    "emb bag": lambda m, x: (
        x
        + F.embedding_bag(
            torch.tensor([1, 2, 3, 1]), m.table, torch.tensor([0, 2]), mode="mean", per_sample_weights=None
        )[:, None]
    ),
    "emb bag w": lambda m, x: (
        x
        + F.embedding_bag(
            torch.tensor([1, 2, 3, 1, 0, 5]), m.table, torch.tensor([0, 2]), mode="sum", per_sample_weights=m.scale
        )[:, None]
    ),
    "emb bag max": lambda m, x: x + F.embedding_bag(torch.tensor([[1, 2], [3, 1]]), m.table, mode="max")[:, None],
    "searchsorted": lambda m, x: x * torch.searchsorted(m.square.sort(-1).values, m.tall.contiguous()).float().sum(-1),
    "index both": lambda m, x: x + m.cube[torch.arange(4), :, torch.arange(4)],
    "index mid": lambda m, x: x + m.cube[:, torch.tensor([0, 1, 2, 3])].mean(0),
    "index mask": lambda m, x: x + m.square[torch.tensor([True, False, True, True, False, True])],
    "index mask cols": lambda m, x: F.linear(
        x, F.pad(m.square[:, torch.tensor([True, False, True, True, False, True])], (0, 2))
    ),
    "scatter param": lambda m, x: x.scatter_add(-1, torch.zeros(2, 4, 6, dtype=torch.long), m.scale.expand(2, 4, 6)),
    "scatter rows": lambda m, x: torch.zeros(2, 3, 6).scatter_add(
        1, torch.tensor([0, 1, 2, 0])[None, :, None].expand(2, 4, 6), x
    ),
    "index add": lambda m, x: x.index_add(1, torch.tensor([0, 2]), m.square[:2].expand(2, 2, 6)),
    "index fill": lambda m, x: x.index_fill(-1, torch.tensor([0, 2]), 1.0),
    "take": lambda m, x: x + m.square.take(torch.arange(6)),
    "gather rows": lambda m, x: x.gather(1, torch.tensor([0, 1])[None, :, None].expand(2, 2, 6)),
    "gather part": lambda m, x: F.pad(x.gather(1, torch.tensor([0, 1])[None, :, None].expand(2, 2, 4)), (0, 2)),
    "take along": lambda m, x: torch.take_along_dim(x, x.argsort(1), 1),
    "sort rows": lambda m, x: x.sort(1).values,
    "kron": lambda m, x: F.linear(x, torch.kron(m.square[:2, :3], m.square[:3, :2])),
    "tensordot": lambda m, x: torch.tensordot(x, m.cube, dims=([2], [1])).mean(-2),
    "block diag": lambda m, x: F.linear(x, torch.block_diag(m.square[:2, :2], m.square[:4, :4])),
    "cartesian": lambda m, x: x + torch.cartesian_prod(m.scale, m.scale).sum(),
    "solve": lambda m, x: torch.linalg.solve(m.square, x.mT).mT,
    "svd": lambda m, x: x * torch.linalg.svdvals(m.square),
    "mat exp": lambda m, x: x @ torch.matrix_exp(m.square - m.square.T),
    "det": lambda m, x: x * torch.det(m.square),
    "trace": lambda m, x: x * torch.trace(m.square),
    "einsum2": lambda m, x: torch.einsum("bnc,cd,de->bne", x, m.square, m.linear.weight),
    "einsum diag": lambda m, x: x * torch.einsum("ii->i", m.square),
    "einsum trace": lambda m, x: x * torch.einsum("ii", m.square),
    "einsum same": lambda m, x: torch.einsum("bnc,bmc,bmd->bnd", x, x, x),
    "einsum sub": lambda m, x: torch.einsum(x, [0, 1, 2], m.square, [3, 2], [0, 1, 3]),
    "einsum dots": lambda m, x: torch.einsum("...c,...c,cd->...d", x, m.scale, m.square),
    "einsum implicit": lambda m, x: torch.einsum("zyc,ca", x, m.square).permute(1, 2, 0),
    "multidot": lambda m, x: x @ torch.linalg.multi_dot([m.square, m.tall, m.tall.T, m.square]),
    "householder": lambda m, x: x @ torch.linalg.householder_product(m.square.tril(), m.scale),
    "cross": lambda m, x: torch.cross(x.view(2, 4, 2, 3), m.linear(x).view(2, 4, 2, 3), dim=-1).flatten(2),
    "renorm": lambda m, x: F.linear(x, m.square.renorm(2, 0, 0.5)),
    "cov": lambda m, x: x @ torch.cov(x[0].T),
    "vander": lambda m, x: x + torch.vander(m.scale, 4).T,
    "histc": lambda m, x: x + torch.histc(m.scale, 6),
    "unique": lambda m, x: x + torch.unique(m.scale),
    "trapz": lambda m, x: x + torch.trapezoid(x, dim=-1)[..., None],
    "cumtrapz": lambda m, x: F.pad(torch.cumulative_trapezoid(x, dim=-1), (0, 1)),
    "gradient": lambda m, x: torch.gradient(x, dim=-1)[0],
    "combos": lambda m, x: x + torch.combinations(m.scale).prod(-1).sum(),
    "pdist": lambda m, x: x + torch.pdist(m.square).mean(),
    "pdist seq": lambda m, x: x + torch.pdist(m.square)[:6],
    "fft2": lambda m, x: torch.fft.fft2(x).real,
    "polar": lambda m, x: torch.view_as_real(torch.polar(x[..., :3].abs(), x[..., 3:])).flatten(-2),
    "view dtype": lambda m, x: (
        x.contiguous().view(torch.int32).view(torch.float32)
        if x.dtype == torch.float32
        else x.contiguous().view(torch.int64).view(torch.float64)
    ),
    "strided": lambda m, x: torch.as_strided(x.contiguous(), (2, 4, 6), (24, 1, 4)),
    "strided w": lambda m, x: F.linear(x, m.square.as_strided((6, 6), (1, 6))),
    "unfold sym": lambda m, x: x.unfold(1, 2, 2).reshape(2, 2, 12)[..., :6],
    "rot": lambda m, x: torch.rot90(x, 1, (0, 1)).transpose(0, 1),
    "conv groups batch": lambda m, x: (
        F.conv1d(x.mT.reshape(1, 12, 4), m.square[:, :6].repeat(2, 1)[:, :, None], groups=2).view(2, 6, 4).mT
    ),
    "fold": lambda m, x: F.fold(F.unfold(x.mT.reshape(2, 6, 2, 2), 2, padding=1), (2, 2), 2, padding=1).flatten(2).mT,
    "lrn": lambda m, x: F.local_response_norm(x.mT, 2).mT,
    "softmax2": lambda m, x: F.softmax(x, 1) * F.softmin(x, -1),
    "cos sim": lambda m, x: F.cosine_similarity(x[:, :, None], m.table, dim=-1)[..., :6],
    "losses": lambda m, x: (
        x + F.cross_entropy(x.flatten(0, 1), torch.zeros(8, dtype=torch.long)) + F.mse_loss(x, m.scale.expand_as(x))
    ),
    "nll": lambda m, x: x + F.nll_loss(x.flatten(0, 1).log_softmax(-1), torch.ones(8, dtype=torch.long)),
    "kl": lambda m, x: x + F.kl_div(x.log_softmax(-1), m.scale.softmax(0).expand_as(x)),
    "triplet": lambda m, x: (
        x
        + F.triplet_margin_loss(x, m.linear(x), x * m.scale)
        + F.cosine_embedding_loss(x.flatten(0, 1), m.linear(x).flatten(0, 1), torch.ones(8))
    ),
    "ctc": lambda m, x: (
        x
        + F.ctc_loss(
            x.transpose(0, 1).log_softmax(-1),
            torch.ones(2, 2, dtype=torch.long),
            torch.tensor([4, 4]),
            torch.tensor([2, 2]),
        )
    ),
    "smoothing": lambda m, x: x + F.cross_entropy(x.flatten(0, 1), x.flatten(0, 1).softmax(-1)),
    "sparse": lambda m, x: torch.sparse.mm(m.square.to_sparse(), x[0].T).T[None].expand(2, 4, 6),
    "sparse coo": lambda m, x: (
        torch.sparse.mm(
            torch.sparse_coo_tensor(torch.tensor([[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0]]), m.scale, (6, 6)), x[0].T
        )
        .T[None]
        .expand(2, 4, 6)
    ),
    "cond": lambda m, x: m.linear(x) if x.sum() > 0 else x * 2,
    "cond w": lambda m, x: m.linear(x) if m.scale.sum() > 0 else x * 2,
    "argmax index w": lambda m, x: x * m.scale[m.scale.argmax()],
    "argmax row": lambda m, x: x * m.square[m.scale.argmax()],
    "adaptive pool c": lambda m, x: F.adaptive_avg_pool1d(x, 6) * F.adaptive_max_pool1d(x, 1),
    "avg pool c": lambda m, x: F.avg_pool1d(x, 3, 1, 1),
    "interp c": lambda m, x: F.interpolate(x, scale_factor=2, mode="nearest")[..., ::2],
    "pad refl c": lambda m, x: F.pad(x, (1, 1), mode="reflect")[..., 1:-1] * m.scale,
    "lp pool": lambda m, x: x + F.lp_pool1d(x.mT, 2, 4).mT,
    "nan to num": lambda m, x: torch.nan_to_num(x / m.scale, 1.0),
    "where1": lambda m, x: torch.where(torch.arange(6) < 3, x, m.scale),
    "where tensor": lambda m, x: torch.where(m.square[:4] > 0, x, m.scale),
    "clamp": lambda m, x: torch.clamp(x, min=m.scale - 1, max=m.scale + 1),
    "cum log": lambda m, x: x.logcumsumexp(1),
    "flatten3": lambda m, x: (x.flatten() * m.square.flatten().repeat(2)[:48]).view(2, 4, 6),
    "reshape mix": lambda m, x: x.reshape(2, 6, 4).mT * m.scale,
    "two views": lambda m, x: x.view(2, 4, 3, 2).flatten(2) * m.scale + x.view(2, 4, 2, 3).mT.flatten(2),
    "sum chunks": lambda m, x: torch.cat([x[..., :2] + x[..., 2:4], x[..., 4:], x[..., :2]], -1),
    "overlap": lambda m, x: F.pad(x[..., 1:] - x[..., :-1], (0, 1)),
    "overlap sum": lambda m, x: (x[..., :4] * x[..., 2:]).sum(-1, keepdim=True) + x,
    "stop grad": lambda m, x: x.detach() * m.scale + x.data,
    "func grad": lambda m, x: torch.func.grad(lambda z: (F.linear(z, m.square) ** 2).sum())(x),
    "jvp": lambda m, x: torch.func.jvp(m.linear, (x,), (x * m.scale,))[1],
    "bool any": lambda m, x: x * 2 if bool((m.scale > 0).any()) else x,
    "int index": lambda m, x: x * m.scale[int(m.scale.argmax())],
    "sort w": lambda m, x: x * m.scale.sort().values,
    "non zero w": lambda m, x: x * torch.zeros(6).index_fill(0, (m.scale > 0).nonzero()[:, 0], 1.0),
    "masked w": lambda m, x: x * m.scale[m.scale > 0].sum(),
    "quant w": lambda m, x: x * torch.fake_quantize_per_tensor_affine(m.scale, 0.1, 0, -8, 7),
    "quant c": lambda m, x: F.linear(
        x, torch.fake_quantize_per_channel_affine(m.square, m.scale.abs(), torch.zeros(6, dtype=torch.int32), 0, -8, 7)
    ),
    "quant c1": lambda m, x: F.linear(
        x, torch.fake_quantize_per_channel_affine(m.square, m.scale.abs(), torch.zeros(6, dtype=torch.int32), 1, -8, 7)
    ),
    "bernoulli": lambda m, x: x * torch.bernoulli(torch.sigmoid(m.scale)),
    "normal t": lambda m, x: x * torch.normal(m.scale, 1.0),
    "multinom": lambda m, x: x + m.square[torch.multinomial(m.scale.softmax(0), 1)],
    "poisson t": lambda m, x: x * torch.poisson(m.scale.abs()),
    "shuffle p": lambda m, x: x[:, torch.randperm(4)] * m.scale,
    "prelu": lambda m, x: F.prelu(x.mT, m.scale).mT,
    "prelu2": lambda m, x: F.prelu(x.flatten(0, 1), m.scale).view_as(x),
    "bilinear": lambda m, x: F.bilinear(x, m.linear(x), m.cube),
    "addr": lambda m, x: F.linear(x, torch.addr(m.square, m.scale, m.scale)),
    "chain": lambda m, x: x @ torch.chain_matmul(m.square, m.square),
    "inner": lambda m, x: torch.inner(x, m.square),
    "baddbmm": lambda m, x: torch.baddbmm(x, m.cube[:2, :4], m.cube[2:4]),
    "addbmm": lambda m, x: torch.addbmm(m.square[:4], x, m.cube[:2]) + x,
    "mv": lambda m, x: x + torch.mv(m.square, m.scale) + torch.addmv(m.scale, m.square, m.scale),
    "dot": lambda m, x: x * torch.dot(m.scale, m.square[0]) * torch.vdot(m.scale, m.scale),
    "row dim": lambda m, x: x @ m.square.diagonal_scatter(m.scale),
    "sel scatter": lambda m, x: torch.select_scatter(x, m.scale.expand(2, 6), 1, 2),
    "sli scatter": lambda m, x: torch.slice_scatter(x, m.scale[:3].expand(2, 4, 3), -1, 0, 6, 2),
    "as strided scatter": lambda m, x: x * torch.as_strided_scatter(m.scale, m.square[0, :3], (3,), (2,)),
    "lerp": lambda m, x: torch.lerp(x, m.scale, m.square[0]),
    "logsoft": lambda m, x: torch.logaddexp(x, m.scale) + torch.hypot(x, m.scale) + torch.copysign(x, m.scale),
    "bincount": lambda m, x: x * torch.bincount(torch.tensor([0, 1, 1]), weights=m.scale[:3], minlength=6),
    "seg reduce": lambda m, x: x + torch.segment_reduce(m.square, "sum", lengths=torch.tensor([2, 3, 1]))[:1],
    "hinge": lambda m, x: x + F.multi_margin_loss(x.flatten(0, 1), torch.zeros(8, dtype=torch.long)),
    "glu tok": lambda m, x: F.glu(x.repeat(1, 2, 1), 1),
    "threshold idx": lambda m, x: x * (torch.arange(4)[:, None] >= torch.arange(6)[None, :]),
    "sdp3": lambda m, x: F.scaled_dot_product_attention(x, m.linear(x), x * m.scale),
    "mask sum": lambda m, x: x[torch.tensor([[1, 0, 1, 0], [0, 1, 1, 1]]).bool()].sum(0) * x,
    "repeat int tensor": lambda m, x: x[:, :2].repeat_interleave(torch.tensor([1, 3]), dim=1),
    "repeat int chan": lambda m, x: x[..., :3].repeat_interleave(2, -1) * m.scale,
    "repeat int chan t": lambda m, x: x[..., :3].repeat_interleave(torch.tensor([1, 2, 3]), dim=-1) * m.scale,
    "tile2": lambda m, x: torch.tile(x[..., :2], (3,)) * m.scale,
    "expand self": lambda m, x: x[..., :3, None].expand(2, 4, 3, 2).flatten(2) + m.scale,
    "sum over expanded": lambda m, x: (x[..., None] * m.square.expand(2, 4, 6, 6)).sum(-2),
    "sym gram": lambda m, x: x @ (x.mT @ x),
    "twice tied": lambda m, x: F.linear(F.linear(x, m.square), m.square),
    "tied t": lambda m, x: F.linear(x, m.square) + F.linear(x, m.square.T),
    "part tied": lambda m, x: F.linear(F.linear(x, m.square[:3]), m.square[:, :3]),
    "overlapped": lambda m, x: F.linear(x[..., :4], m.square[:, :4]) + F.linear(x[..., 2:], m.square[:, 1:5]),
    "overlap w": lambda m, x: x * m.table[:6, 0] + x * m.table[1:, 0],
    "sliding": lambda m, x: sum(x * m.table[i : i + 4] for i in range(3)),
    "sliding c": lambda m, x: F.pad(sum(x[..., i : i + 4] * m.scale[i] for i in range(3)), (0, 2)),
    "stride3": lambda m, x: x[..., ::3].repeat(1, 1, 3) * m.scale,
    "stride4": lambda m, x: F.pad(x[..., ::4], (0, 4)) + x,
    "stride odd": lambda m, x: F.pad(x[..., 1::2], (0, 3)) + x[..., [0]],
    "neg step": lambda m, x: x[..., torch.arange(5, -1, -1)] * m.scale,
    "perm const": lambda m, x: x[..., [1, 0, 3, 2, 5, 4]] + x,
    "perm const list": lambda m, x: x[..., [1, 0, 3, 2, 5, 4]] * m.scale,
    "cat many": lambda m, x: F.linear(
        torch.cat([x, x * 2, x[..., :2]], -1), torch.cat([m.square, m.square.T, m.square[:, 2:4]], 1)
    ),
    "stack ch": lambda m, x: torch.stack([x[..., :3], x[..., 3:]], -1).flatten(-2) * m.scale,
    "stack linear": lambda m, x: torch.stack([x @ m.cube[i] for i in range(6)], -2).mean(-2),
    "bn train func": lambda m, x: F.batch_norm(x.mT, None, None, m.scale, m.scale, training=True).mT,
    "pnorm": lambda m, x: x / x.norm(p=3, dim=-1, keepdim=True),
    "clamp norm": lambda m, x: F.normalize(x, p=1, dim=1) * m.square.norm(dim=1),
    "frob w": lambda m, x: x / m.square.norm() * torch.linalg.norm(m.square, ord=2),
    "nuc w": lambda m, x: x * torch.linalg.matrix_norm(m.square, "nuc") * torch.linalg.cond(m.square),
    "pinv": lambda m, x: x @ torch.linalg.pinv(m.square),
    "lstsq": lambda m, x: x @ torch.linalg.lstsq(m.square, m.square.T).solution,
    "eigh": lambda m, x: x * torch.linalg.eigvalsh(m.square + m.square.T),
    "qr": lambda m, x: x @ torch.linalg.qr(m.square)[0],
    "inv": lambda m, x: x @ torch.linalg.inv(m.square),
    "mat pow": lambda m, x: x @ torch.matrix_power(m.square, 3),
    "chol": lambda m, x: torch.cholesky_solve(x.mT, torch.linalg.cholesky(m.square @ m.square.T + torch.eye(6))).mT,
    "tri solve": lambda m, x: torch.linalg.solve_triangular(m.square.tril() + 3 * torch.eye(6), x.mT, upper=False).mT,
    "maxpool1d": lambda m, x: F.interpolate(F.max_pool1d(x.mT, 2), scale_factor=2).mT,
    "token pool": lambda m, x: x.view(2, 2, 2, 6).mean(2).repeat_interleave(2, 1),
    "chan pool": lambda m, x: x.view(2, 4, 3, 2).mean(-1).repeat_interleave(2, -1) + x,
    "chan pool mod": lambda m, x: F.avg_pool1d(x, 2).repeat_interleave(2, -1) + x,
    "tucker": lambda m, x: torch.einsum("bni,bnj,ijk->bnk", x, m.linear(x), m.cube),
    "swish": lambda m, x: x * torch.sigmoid(x * m.scale),
    "batch std": lambda m, x: x + x.std(0).mean(),
    "batch std chan": lambda m, x: torch.cat([x[..., :5], x.std(0).mean().expand(2, 4, 1)], -1) * m.scale,
    "mix const": lambda m, x: x * torch.cat([torch.ones(2), torch.zeros(2), torch.ones(2)]),
    "mix const2": lambda m, x: x * torch.cat([torch.ones(2), torch.arange(4.0)]),
    "const arith": lambda m, x: x * (torch.ones(6) * 2 + torch.zeros(6)),
    "const where": lambda m, x: x * torch.where(torch.ones(6) > 0, 2.0, 3.0),
    "const scatter": lambda m, x: x * torch.zeros(6).scatter(0, torch.tensor([1, 4]), 1.0),
    "const triu": lambda m, x: x @ torch.ones(6, 6).triu(),
    "const one hot": lambda m, x: x + F.one_hot(torch.tensor(2), 6),
    "const one hot arange": lambda m, x: x @ F.one_hot(torch.arange(6), 6).to(x),
    "const pad": lambda m, x: x * F.pad(torch.ones(4), (1, 1)),
    "const cumprod": lambda m, x: x * torch.full((6,), 0.5).cumprod(0),
    "const ones sort idx": lambda m, x: x * (1 + torch.ones(6).argsort()),
    "const nonzero": lambda m, x: x * (1 + torch.ones(6).nonzero()[:, 0]),
    "const unique": lambda m, x: x[..., torch.tensor([0, 0, 1, 1, 2, 2])] * m.scale,
    "const block": lambda m, x: x @ torch.block_diag(torch.ones(2, 2), torch.ones(4, 4)),
    "param triu": lambda m, x: x @ m.square.triu(),
    "param diag embed": lambda m, x: x @ torch.diag_embed(m.scale),
    "param skew": lambda m, x: x @ (m.square - m.square.T),
    "param softmax all": lambda m, x: x @ m.square.flatten().softmax(0).view(6, 6),
    "param flatten sort": lambda m, x: x @ m.square.flatten().sort().values.view(6, 6),
    "param straight": lambda m, x: F.linear(x, m.square + (m.square.sign() - m.square).detach()),
    "zip chunks": lambda m, x: torch.cat([a * b for a, b in zip(x.split(2, -1), m.scale.split(2), strict=False)], -1),
    "shared bias": lambda m, x: x + m.scale[0] * m.scale,
    "weird batch": lambda m, x: torch.cat([x, x], 0).view(2, 2, 4, 6).sum(0),
    "batch merge": lambda m, x: m.linear(x.view(8, 6)).view(4, 2, 6).transpose(0, 1),
    "batch shuffle": lambda m, x: x.view(8, 6)[torch.arange(8).flip(0)].view(2, 4, 6),
}


@odd()
def numpy_array(m: Any, x: torch.Tensor) -> Any:
    return x * torch.as_tensor(np.asarray(m.scale.detach()) * 2)


@odd()
def custom(m: Any, x: torch.Tensor) -> Any:
    class D(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            return x * w.flip(0)

        @staticmethod
        def backward(ctx, g):
            return (g, g)

    return D.apply(x, m.scale)


@odd()
def checkpoint(m: Any, x: torch.Tensor) -> Any:
    from torch.utils.checkpoint import checkpoint

    return checkpoint(m.linear, x, use_reentrant=False)


@odd(sc=lambda: torch.jit.script(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6))))
def scripted(m: Any, x: torch.Tensor) -> Any:
    return m.sc(x)


@odd(ms=lambda: nn.ModuleList([nn.Linear(6, 6) for _ in range(3)]))
def stacked_ensemble(m: Any, x: torch.Tensor) -> Any:
    p, _ = torch.func.stack_module_state(list(m.ms))
    return torch.vmap(lambda p: torch.func.functional_call(m.ms[0], p, (x,)))(p).mean(0)


@odd(l=lambda: nn.LSTM(6, 6, batch_first=True))
def packed(m: Any, x: torch.Tensor) -> Any:
    p = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([4, 3]), batch_first=True)
    return nn.utils.rnn.pad_packed_sequence(m.l(p)[0], batch_first=True)[0]


@odd(l=lambda: nn.LSTM(6, 8, num_layers=2, bidirectional=True, batch_first=True, proj_size=3))
def lstm_proj(m: Any, x: torch.Tensor) -> Any:
    y, (h, c) = m.l(x)
    return y + h.mean() + c.sum(-1).sum()


@odd(l=lambda: nn.LSTM(6, 6, bias=False))
def lstm_no_bias(m: Any, x: torch.Tensor) -> Any:
    return m.l(x)[0]


@odd(l=lambda: nn.GRU(6, 6))
def lstm_unbatched(m: Any, x: torch.Tensor) -> Any:
    return m.l(x[0])[0]


@odd(l=lambda: nn.LSTM(6, 6, batch_first=True), l2=lambda: nn.LSTM(6, 6, batch_first=True))
def lstm_carry(m: Any, x: torch.Tensor) -> Any:
    y, hc = m.l(x)
    return m.l2(y, hc)[0]


@odd(l=lambda: nn.LSTM(6, 3, batch_first=True, bidirectional=True))
def lstm_state_out(m: Any, x: torch.Tensor) -> Any:
    _y, (h, _c) = m.l(x)
    return torch.cat([h[0], h[1]], -1)[:, None]


@odd(l=lambda: nn.GRU(6, 6, batch_first=True, num_layers=2))
def lstm_state_out2(m: Any, x: torch.Tensor) -> Any:
    _y, h = m.l(x)
    return h.transpose(0, 1) * m.scale


@odd(l=lambda: nn.LSTM(6, 6, batch_first=True))
def lstm_h0written(m: Any, x: torch.Tensor) -> Any:
    h = torch.zeros(1, 2, 6)
    h[:, :, :3] = 1
    return m.l(x, (h, torch.zeros(1, 2, 6)))[0]


@odd(l=lambda: nn.LSTM(6, 6, batch_first=True), h0=lambda: nn.Parameter(torch.randn(1, 1, 6)))
def lstm_h0param(m: Any, x: torch.Tensor) -> Any:
    h = torch.zeros(1, 2, 6)
    h.copy_(m.h0)
    return m.l(x, (h, torch.zeros(1, 2, 6)))[0]


@odd(l=lambda: nn.GRU(6, 6, batch_first=True), h0=lambda: nn.Parameter(torch.randn(6)))
def lstm_h0view(m: Any, x: torch.Tensor) -> Any:
    h = torch.zeros(1, 2, 6)
    h.view(2, 6)[1] += m.h0
    return m.l(x, h)[0]


@odd(l=lambda: nn.GRU(6, 6, batch_first=True))
def lstm_h0arith(m: Any, x: torch.Tensor) -> Any:
    h = torch.zeros(1, 2, 6)
    h = h + torch.arange(6)
    return m.l(x, h)[0]


@odd(l=lambda: nn.GRU(6, 6, batch_first=True))
def lstm_h0late(m: Any, x: torch.Tensor) -> Any:
    h = torch.zeros(1, 2, 6)
    y = m.l(x, h)[0]
    h[..., :2] = 3
    return y + m.l(x, h)[0]


@odd(l=lambda: nn.MultiheadAttention(6, 2, batch_first=True, add_bias_kv=True, add_zero_attn=True))
def mha(m: Any, x: torch.Tensor) -> Any:
    return m.l(x, x, x)[0]


@odd(l=lambda: nn.MultiheadAttention(6, 3, batch_first=True, kdim=4, vdim=4), k=lambda: nn.Linear(6, 4))
def mha_kdim(m: Any, x: torch.Tensor) -> Any:
    return m.l(x, m.k(x), m.k(x), key_padding_mask=torch.tensor([[False] * 3 + [True]] * 2))[0]


@odd()
def sdpa_drop(m: Any, x: torch.Tensor) -> Any:
    q = m.linear(x).view(2, 4, 2, 3).transpose(1, 2)
    return F.scaled_dot_product_attention(q, q, q, dropout_p=0.3).transpose(1, 2).flatten(2)


@odd()
def sdpa_head_mask(m: Any, x: torch.Tensor) -> Any:
    q = m.linear(x).view(2, 4, 2, 3).transpose(1, 2)
    return (
        F.scaled_dot_product_attention(q, q, q, attn_mask=torch.arange(2)[:, None, None] * torch.ones(4, 4))
        .transpose(1, 2)
        .flatten(2)
    )


@odd()
def index_put2(m: Any, x: torch.Tensor) -> Any:
    k = torch.zeros(6, 3, 3)
    k[:, torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 1, 2])] = m.tall
    return x * k.sum((1, 2))


@odd()
def index_put_cols(m: Any, x: torch.Tensor) -> Any:
    k = torch.zeros(6, 4)
    k[:, torch.tensor([0, 3])] = m.tall[:, :2]
    return x * k.sum(1)


@odd()
def index_put_acc(m: Any, x: torch.Tensor) -> Any:
    k = torch.zeros(4, 6)
    k.index_put_((torch.tensor([0, 3, 0]),), m.square[:3], accumulate=True)
    return x + k


@odd()
def index_put_same(m: Any, x: torch.Tensor) -> Any:
    k = torch.zeros(6, 6, 6)
    k[:, torch.arange(6), torch.arange(6)] = m.square
    return x @ k.sum(0) + x @ k.sum(2)


@odd()
def topk_tokens(m: Any, x: torch.Tensor) -> Any:
    sc = (x**2).sum(-1)
    i = sc.topk(2, 1).indices
    return x.gather(1, i[..., None].expand(-1, -1, 6))


@odd(cw=lambda: nn.Parameter(torch.randn(3, 6, 2)))
def rfft_tokens(m: Any, x: torch.Tensor) -> Any:
    y = torch.fft.rfft(x, dim=1) * torch.view_as_complex(m.cw)
    return torch.fft.irfft(y, n=4, dim=1)


@odd(cw=lambda: nn.Parameter(torch.randn(6, 6, dtype=torch.cfloat)))
def complex_param(m: Any, x: torch.Tensor) -> Any:
    return (x.to(torch.cfloat) @ m.cw).real + (x.to(torch.cfloat) @ m.cw).abs()


@odd()
def transpose_inplace(m: Any, x: torch.Tensor) -> Any:
    y = m.square.clone()
    y.t_()
    return F.linear(x, y)


@odd()
def resize_inplace(m: Any, x: torch.Tensor) -> Any:
    y = m.scale.clone()
    y.unsqueeze_(0)
    y.squeeze_(0)
    return x * y


@odd()
def set_data(m: Any, x: torch.Tensor) -> Any:
    y = m.scale.clone()
    y.data = m.square[0].clone()
    return x * y


@odd()
def set_inplace(m: Any, x: torch.Tensor) -> Any:
    y = torch.empty(0)
    y.set_(m.scale.data)
    return x * y


@odd()
def out_arg(m: Any, x: torch.Tensor) -> Any:
    y = torch.empty(2, 4, 6, dtype=x.dtype, device=x.device)
    torch.mul(x, m.scale, out=y)
    return y


@odd()
def out_arg_mat(m: Any, x: torch.Tensor) -> Any:
    y = torch.zeros(2, 4, 6, dtype=x.dtype, device=x.device)
    torch.matmul(x, m.square, out=y)
    return y


@odd()
def out_slice(m: Any, x: torch.Tensor) -> Any:
    y = torch.zeros(2, 4, 12, dtype=x.dtype, device=x.device)
    torch.mul(x, m.scale, out=y[..., 6:])
    return y[..., 6:] + y[..., :6]


@odd()
def alias_then_write(m: Any, x: torch.Tensor) -> Any:
    y = x.clone()
    v = y[..., :3]
    y += m.scale
    v *= 2
    return y


@odd()
def write_via_transpose(m: Any, x: torch.Tensor) -> Any:
    y = torch.zeros(6, 6)
    y.t()[:3] += m.square[:3]
    return F.linear(x, y)


@odd()
def write_via_reshape(m: Any, x: torch.Tensor) -> Any:
    y = torch.zeros(6, 6)
    y.view(2, 3, 6)[0] = m.square[:3]
    return F.linear(x, y)


@odd()
def write_via_diag(m: Any, x: torch.Tensor) -> Any:
    y = m.square.clone()
    y.diagonal().copy_(m.scale)
    return F.linear(x, y)


@odd()
def fill_diag(m: Any, x: torch.Tensor) -> Any:
    y = m.square.clone()
    y.fill_diagonal_(0)
    return F.linear(x, y)


@odd()
def write_chunk(m: Any, x: torch.Tensor) -> Any:
    y = x.clone()
    a, b = y.chunk(2, -1)
    a += b
    return y


@odd()
def write_unbind(m: Any, x: torch.Tensor) -> Any:
    y = x.clone()
    for i, r in enumerate(y.unbind(1)):
        r *= m.table[i]
    return y


@odd()
def swap_halves(m: Any, x: torch.Tensor) -> Any:
    y = x.clone()
    y[..., :3], y[..., 3:] = (x[..., 3:], x[..., :3])
    return y * m.scale


@odd()
def foreach_add(m: Any, x: torch.Tensor) -> Any:
    a, b = torch._foreach_mul([x, m.square], [m.scale, m.scale])
    return F.linear(a, b)


@odd(cache=lambda: torch.zeros(2, 4, 6))
def param_write(m: Any, x: torch.Tensor) -> Any:
    m.cache[:, :4] = x
    return m.cache * m.scale


@odd(ema=lambda: torch.ones(6))
def buffer_ema(m: Any, x: torch.Tensor) -> Any:
    m.ema.mul_(0.9).add_(x.mean((0, 1)), alpha=0.1)
    return x * m.ema


@odd(ema=lambda: torch.ones(6))
def buffer_replace(m: Any, x: torch.Tensor) -> Any:
    m.ema = m.ema * 0.9 + m.scale
    return x * m.ema


@odd()
def lazy(m: Any, x: torch.Tensor) -> Any:
    if not hasattr(m, "c"):
        m.c = m.square.detach() @ m.square.detach()
    return F.linear(x, m.c)


@odd(g2=lambda: nn.Linear(6, 2))
def grid_sample(m: Any, x: torch.Tensor) -> Any:
    y = x.mT.reshape(2, 6, 2, 2)
    return F.grid_sample(y, torch.tanh(m.g2(x))[:, None], align_corners=False)[:, :, 0].mT


@odd(c=lambda: nn.Conv1d(6, 6, 3, padding=1, groups=3))
def conv_unbatched(m: Any, x: torch.Tensor) -> Any:
    return torch.stack([m.c(r.T).T for r in x])


@odd(c=lambda: nn.ConvTranspose1d(6, 4, 2, stride=2, groups=2, output_padding=1), l=lambda: nn.Linear(4, 6))
def conv_t(m: Any, x: torch.Tensor) -> Any:
    return m.l(m.c(x.mT).mT)


@odd(c=lambda: nn.Conv1d(6, 6, 3, padding=1, padding_mode="circular", dilation=1))
def conv_circular(m: Any, x: torch.Tensor) -> Any:
    return m.c(x.mT).mT


@odd(c=lambda: nn.Conv1d(6, 6, 4, padding="same", groups=6))
def conv_same(m: Any, x: torch.Tensor) -> Any:
    return m.c(x.mT).mT


@odd()
def max_unpool(m: Any, x: torch.Tensor) -> Any:
    y, i = F.max_pool1d(x.mT, 2, return_indices=True)
    return F.max_unpool1d(y, i, 2).mT


@odd(b=lambda: nn.Parameter(torch.randn(3, 2)))
def bias2(m: Any, x: torch.Tensor) -> Any:
    return (x.view(2, 4, 3, 2) * m.b).flatten(2)


@odd()
def grad(m: Any, x: torch.Tensor) -> Any:
    with torch.enable_grad():
        z = x.detach().requires_grad_()
        return torch.autograd.grad((m.linear(z) ** 2).sum(), z)[0]


@odd()
def meshgrid(m: Any, x: torch.Tensor) -> Any:
    a, b = torch.meshgrid(m.scale, m.scale, indexing="ij")
    return F.linear(x, a * m.square + b)


@odd()
def mesh_xy(m: Any, x: torch.Tensor) -> Any:
    a, _b = torch.meshgrid(m.scale, m.tall[0], indexing="xy")
    return x + a * m.square[:4]


@odd()
def aminmax(m: Any, x: torch.Tensor) -> Any:
    a, b = torch.aminmax(x, dim=-1, keepdim=True)
    return (x - a) / (b - a + 1)


@odd()
def max_idx(m: Any, x: torch.Tensor) -> Any:
    v, i = x.max(-1, keepdim=True)
    return x + v + i


@odd()
def max_idx_tok(m: Any, x: torch.Tensor) -> Any:
    _v, i = x.max(1)
    return x + m.table[i].mean(1, keepdim=True)


@odd(r=lambda: nn.Parameter(torch.randn(7, 2)))
def token_table(m: Any, x: torch.Tensor) -> Any:
    q = m.linear(x).view(2, 4, 2, 3).transpose(1, 2)
    sc = q @ q.mT
    rel = F.pad(torch.einsum("bhnd,rd->bhnr", q, F.pad(m.r, (0, 1))), (0, 1))
    rel = rel.reshape(2, 2, -1)[:, :, :16].reshape(2, 2, 4, 4)
    return ((sc + rel).softmax(-1) @ q).transpose(1, 2).flatten(2)


@odd(r=lambda: nn.Parameter(torch.randn(4, 6)))
def rel_shift(m: Any, x: torch.Tensor) -> Any:
    r = x @ m.r.T
    r = F.pad(r, (1, 0)).view(2, 5, 4)[:, 1:].reshape(2, 4, 4)
    return (x @ x.mT + r).softmax(-1) @ x


@odd()
def masked_out(m: Any, x: torch.Tensor) -> Any:
    mask = x[:, :, 0] > 0
    y = x.clone()
    y[mask] = m.scale
    return y


@odd()
def masked_out2(m: Any, x: torch.Tensor) -> Any:
    y = x.clone()
    y[y > 0] = 0.5
    return y


@odd()
def masked_rows(m: Any, x: torch.Tensor) -> Any:
    y = torch.zeros(8, 6)
    r = x.flatten(0, 1)
    mask = r[:, 0] > 0
    y[mask] = m.linear(r[mask])
    return y.view(2, 4, 6)


@odd()
def mask_chan(m: Any, x: torch.Tensor) -> Any:
    mask = m.scale > 0
    y = x.clone()
    y[..., mask] *= 2
    return y


@odd()
def bool_const_chan(m: Any, x: torch.Tensor) -> Any:
    mask = torch.tensor([True, False, True, True, False, False])
    y = x.clone()
    y[..., mask] *= m.scale[:3]
    return y


@odd()
def mask_expand(m: Any, x: torch.Tensor) -> Any:
    mask = torch.rand(2, 4, generator=torch.Generator().manual_seed(0)) > 0.5
    return torch.where(mask[..., None], x, m.scale)


@odd()
def mask_token_bert(m: Any, x: torch.Tensor) -> Any:
    mask = torch.tensor([[1, 0, 1, 0], [0, 1, 1, 1]]).bool()
    y = x.clone()
    y[mask] = m.scale
    return y


@odd()
def nonzero_expert(m: Any, x: torch.Tensor) -> Any:
    r = x.flatten(0, 1)
    out = torch.zeros_like(r)
    p = (r @ m.table.T[:, :2]).softmax(-1)
    top = p.argmax(-1)
    for e in range(2):
        i = torch.where(top == e)[0]
        out.index_add_(0, i, r[i] @ m.cube[e] * p[i, e, None])
    return out.view_as(x)


@odd()
def mixtral_like(m: Any, x: torch.Tensor) -> Any:
    r = x.flatten(0, 1)
    out = torch.zeros_like(r)
    w, i = torch.topk((r @ m.table.T[:, :3]).softmax(-1), 2, -1)
    mask = F.one_hot(i, 3).permute(2, 1, 0)
    for e in range(3):
        idx, top = torch.where(mask[e])
        cur = r[None, top].reshape(-1, 6)
        h = cur @ m.cube[e] * w[top, idx, None]
        out.index_add_(0, top, h)
    return out.view_as(x)


@odd(c=lambda: nn.Conv2d(6, 6, (4, 1)))
def conv_as_linear(m: Any, x: torch.Tensor) -> Any:
    return x + m.c(x.permute(0, 2, 1)[..., None]).squeeze(-1).permute(0, 2, 1)


@odd(l=lambda: nn.Linear(24, 6))
def flatten_linear(m: Any, x: torch.Tensor) -> Any:
    return x + m.l(x.flatten(1))[:, None]


@odd(l=lambda: nn.Linear(24, 6))
def flatten_linear_t(m: Any, x: torch.Tensor) -> Any:
    return x + m.l(x.mT.flatten(1))[:, None]


@odd(l=lambda: nn.Linear(6, 24))
def unflatten_out(m: Any, x: torch.Tensor) -> Any:
    return x + m.l(x.mean(1)).view(2, 4, 6)


@odd(l=lambda: nn.Linear(6, 24))
def unflatten_out_t(m: Any, x: torch.Tensor) -> Any:
    return x + m.l(x.mean(1)).view(2, 6, 4).mT


@odd()
def interleave(m: Any, x: torch.Tensor) -> Any:
    y = torch.empty_like(x)
    y[..., 0::2] = x[..., :3]
    y[..., 1::2] = x[..., 3:]
    return y * m.scale


@odd()
def interleave_add(m: Any, x: torch.Tensor) -> Any:
    y = torch.empty_like(x)
    y[..., 0::2] = x[..., :3]
    y[..., 1::2] = x[..., 3:]
    return y * m.scale + x


@odd()
def hsplit(m: Any, x: torch.Tensor) -> Any:
    a, b, c = x.tensor_split([1, 4], -1)
    return torch.cat([c, a, b], -1) * m.scale


@odd()
def depth_split(m: Any, x: torch.Tensor) -> Any:
    a = x.split(4, -1)
    return torch.cat([a[1], a[0]], -1) * m.scale


@odd(n=lambda: nn.GroupNorm(2, 4))
def gn_on_tokens(m: Any, x: torch.Tensor) -> Any:
    return m.n(x)


@odd(n=lambda: nn.GroupNorm(3, 6), n2=lambda: nn.GroupNorm(2, 6))
def gn33(m: Any, x: torch.Tensor) -> Any:
    return m.n2(m.n(x.mT)).mT


@odd(n=lambda: nn.InstanceNorm1d(6, affine=True, track_running_stats=True))
def in_norm_train(m: Any, x: torch.Tensor) -> Any:
    return m.n(x.mT).mT


@odd(n=lambda: nn.BatchNorm1d(6, track_running_stats=False))
def bn_buffer_train(m: Any, x: torch.Tensor) -> Any:
    return m.n(x.mT).mT


@odd(n=lambda: nn.LayerNorm((4, 6)))
def ln_whole(m: Any, x: torch.Tensor) -> Any:
    return m.n(x)


@odd(n=lambda: nn.RMSNorm(6))
def rms_mod(m: Any, x: torch.Tensor) -> Any:
    return m.n(x)


@odd()
def inv1x1(m: Any, x: torch.Tensor) -> Any:
    L = m.square.tril(-1) + torch.eye(6)
    U = m.cube[0].triu()
    return x @ (L @ U).T


@odd(c=lambda: nn.Linear(3, 6))
def realnvp(m: Any, x: torch.Tensor) -> Any:
    a, b = x.chunk(2, -1)
    sh, sc = m.c(a).chunk(2, -1)
    b = b * sc.exp() + sh
    return torch.cat([b, a], -1)


@odd()
def realnvp_mask(m: Any, x: torch.Tensor) -> Any:
    mask = torch.tensor([1.0, 0, 1, 0, 1, 0])
    return x * mask + (1 - mask) * (x * m.linear(x * mask))


@odd()
def householder2(m: Any, x: torch.Tensor) -> Any:
    v = m.scale / m.scale.norm()
    return x - 2 * (x @ v)[..., None] * v


@odd(fr=lambda: torch.randn(6, 3))
def fourier(m: Any, x: torch.Tensor) -> Any:
    return torch.cat([(x @ m.fr).sin(), (x @ m.fr).cos()], -1)


@odd()
def fourier_pe(m: Any, x: torch.Tensor) -> Any:
    f = 2 ** torch.arange(3.0)
    p = torch.linspace(0, 1, 4)[:, None] * f
    return x + m.linear(torch.cat([p.sin(), p.cos()], -1))


@odd()
def time_emb(m: Any, x: torch.Tensor) -> Any:
    t = torch.tensor([3.0, 7.0])
    fr = torch.exp(-torch.arange(3) / 3)
    e = t[:, None] * fr
    return x + m.linear(torch.cat([e.sin(), e.cos()], -1))[:, None]


@odd()
def haar(m: Any, x: torch.Tensor) -> Any:
    a, b = (x[:, ::2], x[:, 1::2])
    return torch.cat([a + b, a - b], 1)


@odd()
def haar_c(m: Any, x: torch.Tensor) -> Any:
    a, b = (x[..., ::2], x[..., 1::2])
    return torch.stack([a + b, a - b], -1).flatten(-2)


@odd()
def butterfly(m: Any, x: torch.Tensor) -> Any:
    y = x.view(2, 4, 3, 2)
    return torch.stack([y[..., 0] + y[..., 1], y[..., 0] - y[..., 1]], -1).reshape(2, 4, 6) * m.scale


@odd(l=lambda: nn.Linear(6, 8), r=lambda: nn.Linear(8, 6))
def hadamard4(m: Any, x: torch.Tensor) -> Any:
    y = m.l(x)
    for i in range(3):
        y = y.view(2, 4, 2**i, 2, 8 // 2 ** (i + 1))
        y = torch.stack([y[..., 0, :] + y[..., 1, :], y[..., 0, :] - y[..., 1, :]], -2).reshape(2, 4, 8)
    return m.r(y)


@odd(A=lambda: nn.Parameter(torch.randn(2, 2)), Bm=lambda: nn.Parameter(torch.randn(3, 3)))
def kron_linear(m: Any, x: torch.Tensor) -> Any:
    return torch.einsum("bnij,ik,jl->bnkl", x.view(2, 4, 2, 3), m.A, m.Bm).reshape(2, 4, 6)


@odd(A=lambda: nn.Parameter(torch.randn(3, 2, 2)), Bm=lambda: nn.Parameter(torch.randn(2, 3, 3)))
def monarch(m: Any, x: torch.Tensor) -> Any:
    y = torch.einsum("bngi,gij->bngj", x.view(2, 4, 3, 2), m.A)
    return torch.einsum("bnjg,jgh->bnhj", y.mT, m.Bm).flatten(2)


@odd(h=lambda: nn.Linear(6, 36))
def hyper_net(m: Any, x: torch.Tensor) -> Any:
    return torch.bmm(x, m.h(x.mean(1)).view(2, 6, 6))


@odd(h=lambda: nn.Linear(6, 36))
def hyper_net_t(m: Any, x: torch.Tensor) -> Any:
    return torch.bmm(x, m.h(x.mean(1)).view(2, 6, 6).mT)


@odd(h=lambda: nn.Linear(6, 18))
def hyper_conv(m: Any, x: torch.Tensor) -> Any:
    k = m.h(x.mean(1)).view(12, 1, 3)
    return F.conv1d(x.mT.reshape(1, 12, 4), k, padding=1, groups=12).view(2, 6, 4).mT


@odd(
    inp=lambda: nn.Linear(6, 16, bias=False),
    cv=lambda: nn.Conv1d(8, 8, 3, groups=8, padding=2),
    xp=lambda: nn.Linear(8, 2 + 3 + 3, bias=False),
    dt=lambda: nn.Linear(2, 8),
    A=lambda: nn.Parameter(torch.randn(8, 3)),
    D=lambda: nn.Parameter(torch.randn(8)),
    out=lambda: nn.Linear(8, 6, bias=False),
)
def mamba(m: Any, x: torch.Tensor) -> Any:
    x, z = m.inp(x).chunk(2, -1)
    x = F.silu(m.cv(x.mT)[..., :4].mT)
    d, Bm, C = m.xp(x).split([2, 3, 3], -1)
    d = F.softplus(m.dt(d))
    A = -m.A.exp()
    h = torch.zeros(2, 8, 3)
    ys = []
    for t in range(4):
        h = h * torch.exp(d[:, t, :, None] * A) + (d[:, t] * x[:, t])[..., None] * Bm[:, t, None]
        ys.append((h * C[:, t, None]).sum(-1))
    return m.out((torch.stack(ys, 1) + x * m.D) * F.silu(z))


@odd(mk=lambda: nn.Parameter(torch.randn(1, 1, 6)), dec=lambda: nn.Parameter(torch.randn(6)))
def rwkv(m: Any, x: torch.Tensor) -> Any:
    xx = F.pad(x, (0, 0, 1, -1))
    k = m.linear(x * m.mk + xx * (1 - m.mk))
    num = torch.zeros(2, 6)
    den = torch.zeros(2, 6)
    o = []
    for t in range(4):
        num = num * torch.exp(-m.dec.exp()) + k[:, t].exp() * x[:, t]
        den = den * torch.exp(-m.dec.exp()) + k[:, t].exp()
        o.append(num / den)
    return torch.stack(o, 1)


@odd(Lr=lambda: nn.Parameter(torch.randn(6, 3)), C=lambda: nn.Parameter(torch.randn(6, 3)))
def s4(m: Any, x: torch.Tensor) -> Any:
    k = (m.C[..., None] * torch.exp(-m.Lr.exp()[..., None] * torch.arange(4))).sum(1)
    y = torch.fft.irfft(torch.fft.rfft(x.mT, n=8) * torch.fft.rfft(k, n=8), n=8)[..., :4]
    return y.mT


@odd(c1=lambda: nn.Parameter(torch.randn(2, 2, 3)), c2=lambda: nn.Parameter(torch.randn(3, 3, 3)))
def tensortrain(m: Any, x: torch.Tensor) -> Any:
    w = torch.einsum("iar,rjb->ijab", m.c1, m.c2).reshape(6, 6)
    return x @ w


@odd()
def gated_lin_attn(m: Any, x: torch.Tensor) -> Any:
    q = m.linear(x).view(2, 4, 2, 3)
    S = torch.zeros(2, 2, 3, 3)
    o = []
    for t in range(4):
        S = S * 0.9 + q[:, t, :, :, None] * x.view(2, 4, 2, 3)[:, t, :, None]
        o.append((q[:, t, :, None] @ S)[:, :, 0])
    return torch.stack(o, 1).flatten(2)


@odd(l=lambda: nn.Linear(6, 18))
def maxout2(m: Any, x: torch.Tensor) -> Any:
    return m.l(x).view(2, 4, 6, 3).max(-1)[0]


@odd(l=lambda: nn.Linear(6, 18))
def maxout3(m: Any, x: torch.Tensor) -> Any:
    return m.l(x).view(2, 4, 3, 6).max(2)[0]


@odd()
def caps_route(m: Any, x: torch.Tensor) -> Any:
    u = torch.einsum("bni,nio->bno", x, m.cube[:4])
    b = torch.zeros(2, 4)
    for _ in range(2):
        c = b.softmax(1)
        v = (c[..., None] * u).sum(1)
        b = b + (u * v[:, None]).sum(-1)
    return x + v[:, None]


@odd()
def non_local(m: Any, x: torch.Tensor) -> Any:
    y = x.flatten(1)
    return x * (y @ y.T).softmax(-1).sum()


@odd()
def vqvae_reshape(m: Any, x: torch.Tensor) -> Any:
    d = torch.cdist(x.reshape(-1, 6), m.table)
    i = d.argmin(1)
    return F.embedding(i, m.table).view_as(x) + x


@odd()
def product_quant(m: Any, x: torch.Tensor) -> Any:
    y = x.view(2, 4, 2, 3)
    i = torch.cdist(y.reshape(-1, 3), m.square[:, :3]).argmin(-1)
    return m.square[:, :3][i].view(2, 4, 6) + x


@odd()
def heads_diff(m: Any, x: torch.Tensor) -> Any:
    q = m.linear(x).view(2, 4, 2, 3).transpose(1, 2)
    a = (q @ q.mT).softmax(-1)
    d = a[:, 0] - 0.5 * a[:, 1]
    return d @ x


@odd()
def heads_roll(m: Any, x: torch.Tensor) -> Any:
    q = m.linear(x).view(2, 4, 2, 3)
    return (q + q.roll(1, 2)).flatten(2)


@odd()
def head_cat(m: Any, x: torch.Tensor) -> Any:
    q = m.linear(x).view(2, 4, 2, 3)
    return torch.cat([q[:, :, i] for i in range(2)], -1) * m.scale


@odd()
def head_cat_rev(m: Any, x: torch.Tensor) -> Any:
    q = m.linear(x).view(2, 4, 2, 3)
    return torch.cat([q[:, :, i] for i in reversed(range(2))], -1) + x


@odd()
def head_scale_const(m: Any, x: torch.Tensor) -> Any:
    q = m.linear(x).view(2, 4, 2, 3)
    return (q * torch.tensor([1.0, 2.0])[:, None]).flatten(2)


@odd()
def dim_scale_const(m: Any, x: torch.Tensor) -> Any:
    q = m.linear(x).view(2, 4, 2, 3)
    return (q * torch.tensor([1.0, 2.0, 3.0])).flatten(2) + x


@odd()
def const_written(m: Any, x: torch.Tensor) -> Any:
    c = torch.ones(6)
    c[2] = 5
    return x * c


@odd()
def const_written_list(m: Any, x: torch.Tensor) -> Any:
    c = torch.ones(6)
    c[[1, 4]] = 5
    return x * c


@odd()
def const_late(m: Any, x: torch.Tensor) -> Any:
    c = torch.ones(6)
    y = x * c
    c[2] = 5
    return y * c


@odd()
def const_numpy(m: Any, x: torch.Tensor) -> Any:
    return x * torch.from_numpy(np.arange(6.0)).to(x)


@odd()
def const_toeplitz(m: Any, x: torch.Tensor) -> Any:
    i = torch.arange(6)
    return x @ 0.5 ** (i[:, None] - i).abs()


@odd(r=lambda: nn.Parameter(torch.randn(11)))
def param_toeplitz(m: Any, x: torch.Tensor) -> Any:
    i = torch.arange(6)
    return x @ m.r[i[:, None] - i + 5]


@odd()
def param_toeplitz_tok(m: Any, x: torch.Tensor) -> Any:
    i = torch.arange(4)
    return m.table[:, 0][i[:, None] - i + 3] @ x


@odd()
def param_cayley(m: Any, x: torch.Tensor) -> Any:
    A = m.square - m.square.T
    return x @ torch.linalg.solve(torch.eye(6) + A, torch.eye(6) - A)


@odd()
def param_top_mask(m: Any, x: torch.Tensor) -> Any:
    t = m.square.abs().flatten().kthvalue(10).values
    return F.linear(x, m.square * (m.square.abs() > t))


@odd()
def param_gate(m: Any, x: torch.Tensor) -> Any:
    g = m.scale.sigmoid()
    return g * x + (1 - g) * m.linear(x)


@odd(
    pl=lambda: nn.ParameterList([nn.Parameter(torch.randn(6)) for _ in range(3)]),
    sc=lambda: nn.Parameter(torch.randn(3)),
)
def param_list_sum(m: Any, x: torch.Tensor) -> Any:
    w = m.sc.softmax(0)
    return x + sum((w[i] * p for i, p in enumerate(m.pl)))


@odd(sc=lambda: nn.Parameter(torch.randn(3)))
def scalar_mix(m: Any, x: torch.Tensor) -> Any:
    h = torch.stack([x, m.linear(x), x * 2])
    return torch.einsum("l,lbnc->bnc", m.sc.softmax(0), h)


@odd()
def layer_idx(m: Any, x: torch.Tensor) -> Any:
    for i in range(3):
        x = x + x @ m.cube[i]
    return x


@odd()
def layer_idx_dyn(m: Any, x: torch.Tensor) -> Any:
    for i in torch.arange(3):
        x = x + x @ m.cube[i]
    return x


@odd()
def layer_unbind(m: Any, x: torch.Tensor) -> Any:
    for w in m.cube:
        x = x + x @ w
    return x
