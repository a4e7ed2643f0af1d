"""Models without values: parameters on the meta device, for commands that need only their shapes.

Random values for a model of seven billion parameters take minutes and all of the memory. Buffers keep their values:
they are small, and code computes with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from wsel_graph.cli.weights import alike
from wsel_graph.stores import open_source


class NeedsValuesError(Exception):
    """What is wanted cannot be had without the values of a model; caught here, and never shown."""


@contextmanager
def parameters_on_meta() -> Iterator[None]:
    """While open, every parameter that a module registers goes to the meta device, tied ones to one tensor.

    >>> with parameters_on_meta():
    ...     layer = nn.BatchNorm1d(2)
    >>> layer.weight.device, layer.running_mean.device
    (device(type='meta'), device(type='cpu'))
    """
    plain = nn.Module.register_parameter
    moved: dict[int, tuple[nn.Parameter, nn.Parameter]] = {}  # the first keeps its number taken

    def register(module: nn.Module, name: str, param: nn.Parameter | None) -> None:
        if param is not None and not param.is_meta:
            if id(param) not in moved:
                moved[id(param)] = (param, nn.Parameter(param.detach().to("meta"), param.requires_grad))
            param = moved[id(param)][1]
        plain(module, name, param)

    nn.Module.register_parameter = register  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        nn.Module.register_parameter = plain  # type: ignore[method-assign]


def load_buffers(model: nn.Module, path: str | Path) -> None:
    """See, from its header, that a checkpoint holds just the tensors of a model, and read those that are no parameters.

    Raises:
        NeedsValuesError: If it does not. Loading it into the whole model says why, or finds that it fits after all.
        PlanError: If there is no such file, or it is damaged.
    """
    state = model.state_dict(keep_vars=True)
    if not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise NeedsValuesError
    source = open_source(path, alike(state))
    try:
        held = {name: (tuple(info.shape), info.dtype.is_floating_point) for name, info in source.infos().items()}
        if held != {name: (tuple(tensor.shape), tensor.is_floating_point()) for name, tensor in state.items()}:
            raise NeedsValuesError
        for name, tensor in state.items():
            if not tensor.is_meta:
                tensor.copy_(source.read(name, tuple(map(range, tensor.shape))))
    finally:
        source.close()
