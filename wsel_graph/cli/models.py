"""Models by the names that the command line takes.

`timm:NAME`, `torchvision:NAME`, `hf:CONFIG`, `package.module:callable`, `file.py:callable`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from wsel_graph.cli.hf import build_hf, hf_inputs
from wsel_graph.cli.hubs import build_timm, build_torchvision, timm_inputs, torchvision_inputs
from wsel_graph.cli.light import NeedsValuesError, parameters_on_meta
from wsel_graph.cli.load import callable_in
from wsel_graph.errors import ExampleInputsError, WselError


@dataclass(frozen=True, slots=True)
class Hub:
    """A library whose models go by name.

    Attributes:
        build: Makes the model of a name with arguments.
        inputs: Finds inputs for a model of a name with arguments; None when it does not know any.
    """

    build: Callable[[str, Mapping[str, Any]], nn.Module]
    inputs: Callable[[nn.Module, str, Mapping[str, Any]], Any]


HUBS: Mapping[str, Hub] = {
    "timm": Hub(build_timm, lambda model, _, arguments: timm_inputs(model, arguments)),
    "torchvision": Hub(build_torchvision, lambda _, name, arguments: torchvision_inputs(name, arguments)),
    "hf": Hub(build_hf, lambda model, _, __: hf_inputs(model)),
}

PRETRAINED = ("pretrained", "weights", "checkpoint_path")
"""Arguments that make a hub's model come with weights."""


@dataclass(frozen=True, slots=True)
class Named:
    """A model as the command line names it: the text, and the arguments of its callable."""

    spec: str
    arguments: Mapping[str, Any]

    @property
    def hub(self) -> Hub | None:
        """The library that the name belongs to, if any."""
        return HUBS.get(self.spec.partition(":")[0])

    @property
    def random(self) -> bool:
        """Whether the model surely comes with random weights."""
        return self.hub is not None and not any(self.arguments.get(key) for key in PRETRAINED)

    def build_light(self) -> nn.Module:
        """The model with its parameters on the meta device, in evaluation mode.

        Raises:
            NeedsValuesError: If its code needs the values.
        """
        with parameters_on_meta():
            try:
                return self.build()
            except ExampleInputsError as error:
                raise NeedsValuesError from error

    def build(self, seed: int = 0) -> nn.Module:
        """Build the model, in evaluation mode; what is random about it depends on the seed alone.

        Raises:
            ExampleInputsError: If the name cannot be resolved to a callable that gives an `nn.Module`.
        """
        torch.manual_seed(seed)
        source, _, name = self.spec.partition(":") if self.hub else self.spec.rpartition(":")
        if not source or not name:
            raise ExampleInputsError(
                f"{self.spec!r} names no model: write package.module:callable, file.py:callable, timm:NAME, "
                "torchvision:NAME or hf:CONFIG"
            )
        try:
            model = self.hub.build(name, self.arguments) if self.hub else callable_in(source, name)(**self.arguments)
        except WselError:
            raise
        except Exception as error:
            raise ExampleInputsError(f"{self.spec} raised {type(error).__name__}: {error}") from error
        if not isinstance(model, nn.Module):
            raise ExampleInputsError(
                f"{self.spec} gave a {type(model).__name__}, not an nn.Module: name a class or a function that gives "
                "the model"
            )
        return model.eval()

    def inputs(self, model: nn.Module) -> Any:
        """Inputs for the built model, or None when they must be given."""
        return self.hub.inputs(model, self.spec.partition(":")[2], self.arguments) if self.hub else None


def read_arguments(items: Iterable[str]) -> dict[str, Any]:
    """Arguments of a callable from KEY=VALUE texts; a value is JSON where it can be, else a string.

    >>> read_arguments(["depth=2", "name=tiny", "sizes=[1, 2]", "pretrained=true"])
    {'depth': 2, 'name': 'tiny', 'sizes': [1, 2], 'pretrained': True}

    Raises:
        ExampleInputsError: If a text has no `=`, or a key is given twice.
    """
    found: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        if not equals or not key.isidentifier():
            raise ExampleInputsError(f"{item!r} is no argument: write KEY=VALUE, such as depth=2")
        if key in found:
            raise ExampleInputsError(f"the argument {key!r} is given twice: {found[key]!r} and {text!r}")
        try:
            found[key] = json.loads(text)
        except json.JSONDecodeError:
            found[key] = {"True": True, "False": False, "None": None}.get(text, text)
    return found
