"""Blocks on tokens of shape `batch n c`."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from tests.blocks.base import ACTIVATIONS, Block, Options, activation, divisor, flag, half, noise, pick, width


class Mlp(Block):
    """Two linears, with or without norm, residual, dropout and layer scale."""

    def __init__(
        self, c: int, n: int, k: int, *, hidden: int, act: str, residual: bool, norm: bool, scaled: bool
    ) -> None:
        super().__init__(c, n, counts=norm)
        self.norm = nn.LayerNorm(c) if norm else nn.Identity()
        self.fc1, self.fc2 = nn.Linear(c, hidden * k), nn.Linear(hidden * k, c)
        self.gamma = noise(c) if scaled else None
        self.act, self.residual = act, residual

    @staticmethod
    def options(c: int) -> Options:
        return {"hidden": width(), "act": activation(), "residual": flag(), "norm": flag(), "scaled": flag()}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.fc2(F.dropout(ACTIVATIONS[self.act](self.fc1(self.norm(x))), 0.1, self.training))
        y = y if self.gamma is None else y * self.gamma
        return x + y if self.residual else y


class Projection(Block):
    """A linear to another width, and a residual around it where the widths agree."""

    def __init__(self, c: int, n: int, k: int, *, to: int, bias: bool) -> None:
        super().__init__(to * k, n)
        self.fc = nn.Linear(c, to * k, bias=bias)

    @staticmethod
    def options(c: int) -> Options:
        return {"to": width(), "bias": flag()}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.fc(x)
        return x + y if x.shape == y.shape else y


class GatedMlp(Block):
    """SwiGLU: gate and value from two linears, one linear cut in halves (either order), GLU, or interleaved."""

    def __init__(self, c: int, n: int, k: int, *, hidden: int, form: str) -> None:
        super().__init__(c, n)
        self.form, h = form, hidden * k
        self.up = nn.Linear(c, h if form == "separate" else 2 * h, bias=form != "chunk")
        self.gate = nn.Linear(c, h) if form == "separate" else None
        self.down = nn.Linear(h, c)

    @staticmethod
    def options(c: int) -> Options:
        return {
            "hidden": width(),
            "form": pick("separate", "chunk", "swapped", "glu", "interleaved", "unbind", "slice"),
        }

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.up(x)
        if self.form == "glu":
            return x + self.down(F.glu(y, -1))
        h = y.shape[-1] // 2
        match self.form:
            case "separate":
                gate, value = self.gate(x), y
            case "chunk":
                gate, value = y.chunk(2, -1)
            case "swapped":
                value, gate = y.tensor_split(2, dim=-1)
            case "interleaved":
                gate, value = y[..., ::2], y[..., 1::2]
            case "unbind":
                gate, value = y.unflatten(-1, (2, h)).unbind(-2)
            case _:
                gate, value = y[..., :h], y[..., h:]
        return x + self.down(F.silu(gate) * value)


class Norm(Block):
    """Norms over channels: library ones and ones written by hand."""

    def __init__(self, c: int, n: int, k: int, *, form: str, groups: int) -> None:
        super().__init__(c, n, counts=form not in ("batch", "l2"))
        self.form = form
        self.weight, self.bias = noise(c), noise(c)
        self.batch = nn.BatchNorm1d(c) if form == "batch" else None
        self.group = nn.GroupNorm(groups, c) if form == "group" else None

    @staticmethod
    def options(c: int) -> Options:
        return {
            "form": pick("rms", "layer", "hand", "batch", "group", "l2", "scale", "torch_rms", "softmax"),
            "groups": divisor(c),
        }

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        match self.form:
            case "rms":
                return x * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-3).to(x.dtype) * self.weight
            case "layer":
                return F.layer_norm(x, (x.shape[-1],), self.weight, self.bias)
            case "hand":
                return (
                    (x - x.mean(-1, keepdim=True))
                    / (x.var(-1, keepdim=True, unbiased=False) + 1e-3).sqrt()
                    * (1 + self.weight)
                )
            case "batch" | "group":
                return (self.batch or self.group)(x.transpose(1, 2)).transpose(1, 2)
            case "l2":
                return F.normalize(x, dim=-1) * self.weight
            case "scale":
                return x / (x.norm(dim=-1, keepdim=True) + 0.1) * math.sqrt(x.shape[-1]) + self.bias
            case "torch_rms":
                return F.rms_norm(x, (x.shape[-1],), self.weight)
            case _:
                return x * (x + self.bias).softmax(-1)


class Gate(Block):
    """Squeeze and excite over tokens, highway gates, adaptive norms, FiLM from the mean token."""

    def __init__(self, c: int, n: int, k: int, *, form: str, hidden: int) -> None:
        super().__init__(c, n)
        self.form = form
        self.down, self.up = nn.Linear(c, hidden * k), nn.Linear(hidden * k, c)
        self.film = nn.Linear(c, 3 * c)

    @staticmethod
    def options(c: int) -> Options:
        return {"form": pick("excite", "highway", "film", "scalar"), "hidden": width()}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.mean(1, keepdim=True)
        if self.form == "excite":
            return x * torch.sigmoid(self.up(torch.relu(self.down(mean))))
        if self.form == "highway":
            gate = torch.sigmoid(self.up(self.down(x)))
            return torch.lerp(x, torch.tanh(self.up(self.down(mean))).expand_as(x), gate)
        if self.form == "scalar":
            return x * torch.sigmoid(x.sum(-1, keepdim=True)) + (self.down(mean) ** 2).sum(-1, keepdim=True)
        shift, scale, gate = self.film(F.silu(mean)).chunk(3, dim=-1)
        return x + gate * (x * (1 + scale) + shift)


class TokenMixer(Block):
    """Linear over tokens (MLP-Mixer), with a residual."""

    def __init__(self, c: int, n: int, k: int, *, hidden: int, form: str) -> None:
        super().__init__(c, n)
        self.form = form
        self.fc1, self.fc2 = nn.Linear(n, hidden * k), nn.Linear(hidden * k, n)
        self.mix = noise(n, n)

    @staticmethod
    def options(c: int) -> Options:
        return {"hidden": width(), "form": pick("mlp", "matrix", "einsum", "conv")}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.form == "mlp":
            return x + self.fc2(torch.relu(self.fc1(x.transpose(1, 2)))).transpose(1, 2)
        if self.form == "matrix":
            return x + self.mix.softmax(-1) @ x
        if self.form == "conv":
            return x + F.conv1d(x, self.mix[:, :, None])
        return x + torch.einsum("bnc,mn->bmc", x, self.mix)


class Positions(Block):
    """Learned, sine and sliced position codes; interpolated tables; per-token scales."""

    def __init__(self, c: int, n: int, k: int, *, form: str) -> None:
        super().__init__(c, n, counts=form in ("sine", "scratch"))
        self.form = form
        self.table = noise(1, n + 3, c)
        self.register_buffer("code", _sine(n, c) if form == "buffer" else None, persistent=True)
        self.register_buffer("scratch", torch.linspace(0, 1, c) if form == "scratch" else None, persistent=False)

    @staticmethod
    def options(c: int) -> Options:
        return {
            "form": pick("learned", "sine", "embedding", "interpolate", "buffer", "scratch", "alibi", "tokens", "flat")
        }

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, c = x.shape[1:]
        match self.form:
            case "learned":
                return x + self.table[:, :n]
            case "sine":
                return x + _sine(n, c).to(x)
            case "embedding":
                return x + F.embedding(torch.arange(n), self.table[0])
            case "interpolate":
                return x + F.interpolate(self.table.transpose(1, 2), size=n, mode="linear").transpose(1, 2)
            case "buffer":
                return x + self.code
            case "scratch":
                return x * (1 + self.scratch)
            case "alibi":
                return x * torch.tensor([0.5**i for i in range(n)]).to(x)[:, None]
            case "tokens":
                return x * self.table[0, :n, :1]
            case _:
                return (x.flatten(1) + self.table[:, :n].reshape(1, -1)).view(x.shape)


def _sine(n: int, c: int) -> torch.Tensor:
    angles = torch.arange(n)[:, None] * torch.exp(torch.arange(0, c, 2) * (-math.log(100.0) / c))
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :c]


class ExtraTokens(Block):
    """A class token, learned registers, or means, in front or behind."""

    def __init__(self, c: int, n: int, k: int, *, form: str, count: int) -> None:
        super().__init__(c, n + (1 if form == "mean" else count))
        self.form = form
        self.token = noise(1, count, c)

    @staticmethod
    def options(c: int) -> Options:
        return {"form": pick("class", "behind", "mean", "stack", "written"), "count": pick(1, 2)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        extra = self.token.expand(len(x), -1, -1)
        if self.form == "class":
            return torch.cat([extra, x], dim=1)
        if self.form == "mean":
            return torch.cat([x.mean(1, keepdim=True), x], dim=1)
        if self.form == "behind":
            return torch.cat((x, extra + x[:, :1]), dim=1)
        if self.form == "stack":
            rows = [*x.unbind(1), *self.token[0].unbind(0)]
            return torch.stack([row.expand(len(x), -1) for row in rows], 1)
        result = x.new_zeros(len(x), x.shape[1] + extra.shape[1], x.shape[2])
        result[:, : x.shape[1]] = x
        result[:, x.shape[1] :] = extra
        return result


class Recurrent(Block):
    """LSTM, GRU and plain RNN, bidirectional or stacked, and cells called step by step."""

    def __init__(self, c: int, n: int, k: int, *, form: str, hidden: int, both: bool, layers: int, state: str) -> None:
        super().__init__(hidden * k * (2 if both and form != "cell" else 1), n, counts=state == "last")
        self.form, self.state = form, state
        kinds = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
        if form == "cell":
            self.cell = nn.LSTMCell(c, hidden * k)
        else:
            self.rnn = kinds[form](c, hidden * k, num_layers=layers, bidirectional=both, batch_first=True)
            self.first = noise(layers * (2 if both else 1), 1, hidden * k)

    @staticmethod
    def options(c: int) -> Options:
        form, state = pick("lstm", "gru", "rnn", "cell"), pick("none", "zeros", "learned", "written", "last")
        return {"form": form, "hidden": pick(4, 6, 5), "both": flag(), "layers": pick(1, 2), "state": state}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.form == "cell":
            return self._steps(x)
        state = self._initial(x)
        output, final = self.rnn(x, state)
        if self.state == "last":
            last = final[0] if isinstance(final, tuple) else final
            output = output + output.mean() * last.sum(0).mean() + (last**2).sum(-1).sum()
        return output

    def _initial(self, x: torch.Tensor) -> object:
        shape = (self.first.shape[0], len(x), self.first.shape[2])
        if self.state in ("none", "last"):
            return None
        first = torch.zeros(shape).to(x) if self.state != "learned" else self.first.expand(shape).contiguous()
        if self.state == "written":
            first[:, :, :2] += 0.5
        return (first, torch.zeros_like(first)) if self.form == "lstm" else first

    def _steps(self, x: torch.Tensor) -> torch.Tensor:
        h = c = x.new_zeros(len(x), self.out)
        outputs = []
        for token in x.unbind(1):
            h, c = self.cell(token, (h, c))
            outputs.append(h)
        return torch.stack(outputs, dim=1)


class Experts(Block):
    """A mixture of linears: top-k gating, dense computation; experts as modules or stacked in one parameter."""

    def __init__(self, c: int, n: int, k: int, *, form: str, experts: int, top: int, hidden: int) -> None:
        super().__init__(c, n)
        self.form, self.top = form, top
        self.gate = nn.Linear(c, experts, bias=False)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(c, hidden * k), nn.ReLU(), nn.Linear(hidden * k, c)) for _ in range(experts)
        )
        self.up, self.down = noise(experts, c, hidden * k), noise(experts, hidden * k, c)

    @staticmethod
    def options(c: int) -> Options:
        return {
            "form": pick("modules", "stacked", "soft", "gather", "scatter"),
            "experts": pick(3, 4),
            "top": pick(1, 2),
            "hidden": width(),
        }

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = self.gate(x).softmax(-1)
        if self.form != "soft":
            values, places = weights.topk(self.top, dim=-1)
            weights = torch.zeros_like(weights).scatter(-1, places, values)
        if self.form == "gather":
            up, down = self.up[places[..., 0]], self.down[places[..., 0]]
            return x + (torch.relu(x[..., None, :] @ up) @ down).squeeze(-2)
        if self.form in ("modules", "soft"):
            outputs = torch.stack([expert(x) for expert in self.experts], dim=-1)
            return x + (outputs * weights[..., None, :]).sum(-1)
        hidden = torch.relu(torch.einsum("bnc,ech->bneh", x, self.up))
        return x + torch.einsum("bneh,ehc,bne->bnc", hidden, self.down, weights)


class Cut(Block):
    """Channels cut into parts, parts changed by themselves, and put together again in some order."""

    def __init__(self, c: int, n: int, k: int, *, at: int, form: str) -> None:
        at = max(1, min(at * k, c - 1)) if form != "half" else half(c, k)
        super().__init__(c, n)
        self.at, self.form = at, form
        self.left, self.right = nn.Linear(at, at), nn.Linear(c - at, c - at)
        self.cross = nn.Linear(at, c - at)

    @staticmethod
    def options(c: int) -> Options:
        return {
            "at": pick(*range(1, c)),
            "form": pick("split", "half", "swap", "slice", "add", "write", "inplace", "narrow", "copy"),
        }

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.split([self.at, x.shape[-1] - self.at], dim=-1)
        match self.form:
            case "split" | "half":
                return torch.cat([self.left(a), torch.relu(b)], dim=-1)
            case "swap":
                return torch.cat([torch.relu(b), self.left(a)], dim=-1)
            case "slice":
                return torch.cat([x[..., : self.at], self.right(x[..., self.at :])], dim=-1)
            case "add":
                return torch.cat([a, b + self.cross(a)], -1)
            case "narrow":
                return torch.cat([x.narrow(-1, 0, self.at) * 2, self.right(b)], -1)
        y = x.clone()
        if self.form == "write":
            y[..., : self.at] = self.left(a)
        elif self.form == "inplace":
            y[..., self.at :] += self.cross(a)
            y[..., : self.at].mul_(2).tanh_()
        else:
            y[:, :, self.at :].copy_(self.cross(a))
            y[:, 0] = 0.25
        return y


class Strided(Block):
    """Strided slices of channels or tokens, joined again."""

    def __init__(self, c: int, n: int, k: int, *, form: str, step: int) -> None:
        super().__init__(c, n)
        self.form, self.step = form, step
        self.fc = nn.Linear(len(range(0, c, step)), c)

    @staticmethod
    def options(c: int) -> Options:
        return {"form": pick("project", "cat", "rotate", "tokens", "write", "stack"), "step": pick(2, 3)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s = self.step
        match self.form:
            case "project":
                return x + self.fc(x[..., ::s])
            case "cat":
                return torch.cat([x[..., i::s] for i in range(s)], dim=-1)
            case "rotate" if x.shape[-1] % 2 == 0:
                return torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)
            case "tokens":
                return x + F.pad(x[:, ::s], (0, 0, 0, x.shape[1] - len(range(0, x.shape[1], s))))
            case "stack":
                return x + torch.stack([x[..., i::s].sum(-1) for i in range(s)], -1).mean(-1, keepdim=True)
        y = x.clone()
        y[..., 1::s] = 0.0
        y[..., 0::s] *= 2
        return y


class Shuffle(Block):
    """Rearrangements of channels: legal shuffles, fixed permutations, mixing reshapes, and orders that pin."""

    def __init__(self, c: int, n: int, k: int, *, form: str, groups: int) -> None:
        super().__init__(c, n, counts=form == "merge")
        self.form, self.groups = form, groups
        self.register_buffer("order", torch.arange(c).flip(0), persistent=True)
        self.weight = noise(c)

    @staticmethod
    def options(c: int) -> Options:
        legal = ("shuffle", "einshuffle", "twice", "merge", "mix", "transposed", "back")
        pinned = ("flip", "roll", "index", "select", "cumsum", "sort", "argsort", "fft", "conv", "window", "reverse")
        return {"form": pick(*legal, *pinned), "groups": divisor(c)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, c = x.shape
        g = self.groups
        match self.form:
            case "shuffle":
                return x.view(b, n, g, c // g).transpose(2, 3).reshape(b, n, c)
            case "einshuffle":
                return F.channel_shuffle(x.transpose(1, 2), g).transpose(1, 2)
            case "twice":
                y = x.unflatten(-1, (g, -1)).mT.flatten(-2) * self.weight
                return y.unflatten(-1, (-1, g)).mT.flatten(-2)
            case "merge":
                return x + x.reshape(b, n, g, c // g).mean(-1, keepdim=True).expand(-1, -1, -1, c // g).reshape(x.shape)
            case "mix":
                return x + x.reshape(b, c, n).mean(-1)[:, None]
            case "transposed":
                return x.transpose(1, 2).reshape(b, n, c)
            case "back":
                return x.permute(2, 0, 1).contiguous().view(c, b * n).t().reshape(b, n, c) * self.weight
            case "flip":
                return x + x.flip(-1)
            case "roll":
                return x + x.roll(1, -1)
            case "index":
                return x + x[..., self.order]
            case "select":
                return x + x.index_select(-1, self.order)
            case "cumsum":
                return x.cumsum(-1)
            case "sort":
                return x + x.sort(-1).values
            case "argsort":
                return x.gather(-1, x.argsort(-1))
            case "fft":
                return torch.fft.rfft(x, dim=-1).abs().mean(-1, keepdim=True) + x
            case "conv":
                return x + F.conv1d(x.flatten(0, 1)[:, None], self.weight[None, None, :3], padding=1)[:, 0].view(
                    x.shape
                )
            case "window":
                return x + F.pad(x, (1, 1)).unfold(-1, 3, 1).amax(-1)
        return x + torch.stack(x.unbind(-1)[::-1], -1)


class Grouped(Block):
    """Group-wise structure: block-diagonal linears, maxout, group norms by reshape, talking groups."""

    def __init__(self, c: int, n: int, k: int, *, form: str, groups: int) -> None:
        super().__init__(c, n, counts=form in ("norm", "softmax"))
        self.form, self.groups = form, groups
        self.blocks = noise(groups, c // groups, c // groups)
        self.mix = noise(groups, groups)
        self.fc = nn.Linear(c // groups, c)
        self.conv = nn.Conv1d(c, c, 3, padding=1, groups=groups)

    @staticmethod
    def options(c: int) -> Options:
        return {
            "form": pick("diagonal", "bmm", "maxout", "norm", "talk", "conv", "sum", "softmax"),
            "groups": divisor(c),
        }

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x.unflatten(-1, (self.groups, -1))
        match self.form:
            case "diagonal":
                return x + torch.einsum("bngi,gij->bngj", y, self.blocks).flatten(-2)
            case "bmm":
                rows = y.permute(2, 0, 1, 3).flatten(1, 2)
                return x + torch.bmm(rows, self.blocks).transpose(0, 1).reshape(x.shape)
            case "maxout":
                return x + self.fc(y.amax(-2))
            case "norm":
                return ((y - y.mean(-1, keepdim=True)) / (y.std(-1, keepdim=True, unbiased=False) + 0.1)).reshape(
                    x.shape
                )
            case "talk":
                return torch.einsum("bngc,gh->bnhc", y, self.mix).reshape(x.shape)
            case "conv":
                return x + self.conv(x.mT).mT
            case "sum":
                return x + self.fc(y.sum(2))
        return (y.softmax(-2) * y).flatten(2)


class Constants(Block):
    """Constants made in the forward pass meet channels."""

    VALUED = ("arange", "linspace", "eye", "mask", "tensor", "cumsum", "random")

    def __init__(self, c: int, n: int, k: int, *, form: str, pad: int) -> None:
        super().__init__(
            c + pad * k if form in ("pad", "zeros", "ones") else c,
            n,
            counts=form in self.VALUED,
        )
        self.form, self.pad, self.border = form, pad * k, half(c, k)
        self.fc = nn.Linear(c, c)

    @staticmethod
    def options(c: int) -> Options:
        free = ("pad", "zeros", "ones", "full", "empty", "outer")
        return {"form": pick(*free, *Constants.VALUED), "pad": pick(1, 2, 3)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, c = x.shape
        match self.form:
            case "pad":
                return F.pad(x, (self.pad // 2, self.pad - self.pad // 2))
            case "zeros":
                return torch.cat([x, x.new_zeros(b, n, self.pad)], dim=-1)
            case "ones":
                return torch.cat([torch.ones(b, n, self.pad).to(x), x], dim=-1)
            case "full":
                return self.fc(x) + torch.full((c,), 0.5) + torch.zeros_like(x)
            case "arange":
                return self.fc(x) * torch.arange(c)
            case "linspace":
                return x + self.fc(torch.linspace(0, 1, c).to(x))
            case "eye":
                return x @ (torch.eye(c).to(x) * 0.5 + self.fc.weight)
            case "empty":
                y = torch.empty_like(x)
                y[..., : self.border] = x[..., : self.border]
                y[..., self.border :].fill_(0.5)
                return y + x
            case "mask":
                return x.masked_fill(torch.ones(n, c, dtype=torch.bool).tril(), 0.0) + self.fc(x)
            case "outer":
                return x + torch.outer(torch.ones(n), torch.ones(c)).to(x) * 0.3
            case "tensor":
                return x * torch.tensor([1.0 + i for i in range(c)]).to(x)
            case "cumsum":
                return x + torch.ones(c).cumsum(0).to(x)
        return x + torch.rand(c, generator=torch.Generator().manual_seed(0)).to(x)


class Resampler(Block):
    """Learned queries attend to the tokens; their number is the new number of tokens."""

    def __init__(self, c: int, n: int, k: int, *, queries: int, form: str) -> None:
        super().__init__(c, queries, counts=form == "softmax")
        self.queries = noise(queries, c)
        self.key, self.value = nn.Linear(c, c), nn.Linear(c, c)
        self.form = form

    @staticmethod
    def options(c: int) -> Options:
        return {"queries": pick(3, 4, 2), "form": pick("softmax", "linear", "tokens", "outer", "cdist")}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        key, value = self.key(x), self.value(x)
        match self.form:
            case "softmax":
                return F.scaled_dot_product_attention(self.queries.expand(len(x), -1, -1), key, value)
            case "linear":
                return self.queries.relu() @ (key.relu().transpose(1, 2) @ value)
            case "tokens":
                return (self.queries @ key.mT).softmax(-1) @ value
            case "cdist":
                return (-torch.cdist(self.queries.expand(len(x), -1, -1), key)).exp() @ value
        return torch.einsum("qc,bnc,bnd->bqd", self.queries, key, value)


class Patches(Block):
    """Neighbouring tokens merged into channels, or channels spread over tokens."""

    def __init__(self, c: int, n: int, k: int, *, form: str, factor: int) -> None:
        factor = factor if (n if form != "spread" else c) % factor == 0 else 1
        merged, tokens = (c * factor, n // factor) if form != "spread" else (c // factor, n * factor)
        super().__init__(merged, tokens)
        self.form, self.factor = form, factor

    @staticmethod
    def options(c: int) -> Options:
        return {"form": pick("view", "cat", "spread", "transposed"), "factor": pick(2, 3)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, c = x.shape
        f = self.factor
        match self.form:
            case "view":
                return x.reshape(b, n // f, f * c)
            case "cat":
                return torch.cat([x[:, i::f] for i in range(f)], dim=-1)
            case "transposed":
                return x.view(b, n // f, f, c).transpose(2, 3).reshape(b, n // f, f * c)
        return x.view(b, n, f, c // f).flatten(1, 2)


class Repeat(Block):
    """The same submodule applied more than once, or a list of them."""

    def __init__(self, c: int, n: int, k: int, *, form: str, hidden: int) -> None:
        super().__init__(c, n)
        self.form = form
        self.shared = nn.Sequential(nn.Linear(c, hidden * k), nn.Tanh(), nn.Linear(hidden * k, c))
        self.list = nn.ModuleList([nn.ModuleDict({"fc": nn.Linear(c, c)}), nn.ModuleDict({"fc": nn.Linear(c, c)})])
        if form == "tied":
            self.list[1]["fc"].weight = self.list[0]["fc"].weight

    @staticmethod
    def options(c: int) -> Options:
        return {"form": pick("twice", "list", "tied", "transpose", "dense", "reverse"), "hidden": width()}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.form == "twice":
            return x + self.shared(self.shared(x))
        if self.form == "transpose":
            return F.linear(torch.relu(F.linear(x, self.shared[0].weight)), self.shared[0].weight.t())
        if self.form == "reverse":
            for module in reversed(self.list):
                x = x + module["fc"](x)
            return x
        outputs = [x]
        for module in self.list:
            outputs.append(torch.relu(module["fc"](outputs[-1])) + (sum(outputs) if self.form == "dense" else 0))
        return outputs[-1]


class Product(Block):
    """Products of activations: bilinear forms, outer products, einsum attention, generated weights."""

    def __init__(self, c: int, n: int, k: int, *, form: str, hidden: int) -> None:
        super().__init__(c, n, counts=form in ("outer", "kronecker"))
        h = hidden * k
        self.form, self.hidden = form, h
        self.one, self.two = nn.Linear(c, h), nn.Linear(c, h)
        self.back = nn.Linear(h, c)
        self.bilinear = nn.Bilinear(h, h, c)
        self.generate = nn.Linear(c, h * 3)
        self.last = nn.Linear(3, c)

    @staticmethod
    def options(c: int) -> Options:
        return {
            "form": pick("bilinear", "outer", "einsum", "generated", "gram", "cosine", "square", "kronecker"),
            "hidden": pick(4, 3, 5),
        }

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = self.one(x), self.two(x)
        match self.form:
            case "bilinear":
                return x + self.bilinear(a, b)
            case "outer":
                return x + self.back((a[..., :, None] * b[..., None, :]).mean(-1))
            case "einsum":
                scores = torch.einsum("bnh,bmh->bnm", a, b).softmax(-1)
                return x + torch.einsum("bnm,bmc->bnc", scores, x)
            case "generated":
                weight = self.generate(x.mean(1)).view(len(x), 3, self.hidden)
                return x + self.last(a @ weight.mT)
            case "gram":
                gram = a.mT @ b
                return x + self.back(a @ (gram / (1 + gram.abs().sum(-1, keepdim=True))))
            case "cosine":
                return x * F.cosine_similarity(a, b, dim=-1)[..., None]
            case "square":
                return x + self.back((a + b) ** 2 - a * b)
        pairs = torch.einsum("bni,bnj->bnij", a, b).flatten(-2)
        return x + pairs.logsumexp(-1, keepdim=True)


TOKEN_BLOCKS: tuple[type[Block], ...] = (
    Mlp, Projection, GatedMlp, Norm, Gate, TokenMixer, Positions, ExtraTokens, Recurrent, Experts, Cut, Strided,
    Shuffle, Grouped, Constants, Resampler, Patches, Repeat, Product,
)  # fmt: skip
