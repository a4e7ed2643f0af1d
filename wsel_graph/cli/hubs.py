"""timm and torchvision: models by name, and inputs that they take. Nothing is downloaded unless asked for."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from wsel_graph.cli.load import import_named, near
from wsel_graph.errors import ExampleInputsError

BATCH = 2
"""Not 1: an axis of size 1 broadcasts, and hides what it is."""


def build_timm(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """A timm model, with random weights unless `pretrained=true` is among the arguments."""
    timm = import_named("timm")
    if ":" not in name and not timm.is_model(name.partition(".")[0]):  # timm's own local-dir:PATH, hf-hub:NAME pass
        raise ExampleInputsError(
            f"timm has no model named {name!r}{near(name, timm.list_models())} (timm.list_models() names all)"
        )
    return timm.create_model(name, **{"pretrained": False, **arguments})  # type: ignore[no-any-return]


def timm_inputs(model: nn.Module, arguments: Mapping[str, Any]) -> Any:
    """Images of the size the model was made for."""
    settings = getattr(model, "pretrained_cfg", None) or {}
    channels, height, width = settings.get("input_size", (3, 224, 224))
    size = arguments.get("img_size", (height, width))
    height, width = (size, size) if isinstance(size, int) else size
    return (noise(BATCH, arguments.get("in_chans", channels), height, width),)


def build_torchvision(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """A torchvision model, with random weights unless `pretrained=true` or `weights=...` is among the arguments."""
    models = import_named("torchvision.models")
    if name not in models.list_models():
        raise ExampleInputsError(
            f"torchvision has no model named {name!r}{near(name, models.list_models())} "
            "(torchvision.models.list_models() names all)"
        )
    options = dict(arguments)
    options.setdefault("weights", "DEFAULT" if options.pop("pretrained", False) else None)
    if "weights_backbone" in inspect.signature(models.get_model_builder(name)).parameters:
        options.setdefault("weights_backbone", None)  # the builder's own default downloads one
    return models.get_model(name, **options)  # type: ignore[no-any-return]


def torchvision_inputs(name: str, arguments: Mapping[str, Any]) -> Any:
    """Inputs by the family that the model belongs to: images, clips, image pairs, or a list of images."""
    models = import_named("torchvision.models")
    family = str(models.get_model_builder(name).__module__).removeprefix("torchvision.models.")
    if family.startswith("detection."):
        return ([torch.rand(3, 224, 224, generator=_generator()) for _ in range(BATCH)],)
    if family.startswith("optical_flow."):
        return noise(BATCH, 3, 128, 128), noise(BATCH, 3, 128, 128)
    if family == "video.resnet":
        return (noise(BATCH, 3, 16, 112, 112),)
    if family.startswith("video."):
        return (noise(1, 3, 16, 224, 224),)
    size = arguments.get("image_size", 299 if name == "inception_v3" else 224)
    return (noise(BATCH, 3, size, size),)


def noise(*shape: int) -> torch.Tensor:
    """Normal noise, the same at every call."""
    return torch.randn(shape, generator=_generator())


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
