"""Twins that convolve: the same networks in timm, torchvision and transformers."""

from __future__ import annotations

from typing import Any

from .transplant_forms import CLASSES, Renames, hub, plain
from .transplants import Twin, image

import timm  # isort: skip
import torchvision  # isort: skip
from timm.models import resnet as timm_resnet  # isort: skip
from timm.models.convnext import ConvNeXt  # isort: skip
from timm.models.densenet import DenseNet  # isort: skip
from torchvision.models import resnet as torchvision_resnet  # isort: skip
from torchvision.models.convnext import CNBlockConfig  # isort: skip

# fmt: off

_DIMS: dict[str, Any] = {"depths": (1, 2, 1, 1), "dims": (8, 12, 16, 20), "num_classes": CLASSES}
_HUB: dict[str, Any] = {"depths": [1, 2, 1, 1], "hidden_sizes": [8, 12, 16, 20], "num_labels": CLASSES,
                        "layer_norm_eps": 1e-6}

CONVNEXT_TIMM = plain("timm", ConvNeXt, **_DIMS)
CONVNEXT_CONV = plain("timm, 1x1 convolutions", ConvNeXt, **_DIMS, conv_mlp=True)
CONVNEXT_TORCHVISION = plain(
    "torchvision", torchvision.models.ConvNeXt, [CNBlockConfig(8, 12, 1), CNBlockConfig(12, 16, 2),
    CNBlockConfig(16, 20, 1), CNBlockConfig(20, None, 1)], num_classes=CLASSES)
CONVNEXT_HUB = hub("ConvNextForImageClassification", "ConvNextConfig", **_HUB)

_SAME = ((r"^$", ""),)
_CONVNEXT_TO_TIMM = (
    (r"^features\.0\.", "stem."),
    (r"^features\.([246])\.", r"down.\1."),
    (r"^features\.([1357])\.(\d)", r"blocks.\1.\2"),
    *((rf"^down\.{2 * stage}\.", f"stages.{stage}.downsample.") for stage in (1, 2, 3)),
    *((rf"^blocks\.{2 * stage + 1}\.", f"stages.{stage}.blocks.") for stage in (0, 1, 2, 3)),
    (r"\.layer_scale$", ".gamma"),
    *((rf"\.block\.{number}\.", f".{name}.") for number, name in
      ((0, "conv_dw"), (2, "norm"), (3, "mlp.fc1"), (5, "mlp.fc2"))),
    (r"^classifier\.0\.", "head.norm."),
    (r"^classifier\.2\.", "head.fc."),
)


def _convnext_to_hub(base: str) -> tuple[tuple[str, str], ...]:
    return (
        (r"^stem\.0\.", f"{base}.embeddings.patch_embeddings."),
        (r"^stem\.1\.", f"{base}.embeddings.layernorm."),
        (r"\.downsample\.", ".downsampling_layer."),
        (r"\.gamma$", ".layer_scale_parameter"),
        (r"\.conv_dw\.", ".dwconv."),
        (r"\.blocks\.(\d)\.norm\.", r".blocks.\1.layernorm."),
        (r"\.mlp\.fc", ".pwconv"),
        (r"\.mlp\.grn\b", ".grn"),
        (r"^stages\.(\d)\.blocks\.", r"stages.\1.layers."),
        (r"^stages\.", f"{base}.encoder.stages."),
        (r"^head\.norm\.", f"{base}.layernorm."),
        (r"^head\.fc\.", "classifier."),
    )


CONVNEXTS = (
    Twin("ConvNeXt", image(64), CONVNEXT_TORCHVISION, CONVNEXT_TIMM, _CONVNEXT_TO_TIMM),
    Twin("ConvNeXt", image(64), CONVNEXT_CONV, CONVNEXT_TIMM, _SAME),
    Twin("ConvNeXt", image(64), CONVNEXT_TIMM, CONVNEXT_HUB, _convnext_to_hub("convnext")),
    Twin("ConvNeXt", image(64), CONVNEXT_TORCHVISION, CONVNEXT_HUB,
         (*_CONVNEXT_TO_TIMM, *_convnext_to_hub("convnext"))),
    Twin("ConvNeXt", image(64), CONVNEXT_CONV, CONVNEXT_TORCHVISION, None),
    Twin("ConvNeXtV2", image(64), plain("timm", ConvNeXt, **_DIMS, use_grn=True, ls_init_value=None),
         hub("ConvNextV2ForImageClassification", "ConvNextV2Config", **_HUB), _convnext_to_hub("convnextv2")),
)


def _resnet_to_hub(last: int) -> tuple[tuple[str, str], ...]:
    """`last` is the number of convolutions of a block."""
    layers = [(rf"\.(conv|bn){n}\.", rf".layer.{n - 1}.\1.") for n in range(1, last + 1)]
    return (
        (r"^(conv|bn)1\.", r"resnet.embedder.embedder.\1."),
        *layers,
        *((rf"^layer{stage}\.", f"resnet.encoder.stages.{stage - 1}.layers.") for stage in (1, 2, 3, 4)),
        (r"\.downsample\.0\.", ".shortcut.conv."),
        (r"\.downsample\.1\.", ".shortcut.bn."),
        (r"\.conv\.", ".convolution."),
        (r"\.bn\.", ".normalization."),
        (r"^fc\.", "classifier.1."),
    )


_DEPTHS = [2, 1, 1, 1]
BASIC_TIMM = plain("timm", timm_resnet.ResNet, timm_resnet.BasicBlock, _DEPTHS, num_classes=CLASSES)
BASIC_TORCHVISION = plain("torchvision", torchvision_resnet.ResNet, torchvision_resnet.BasicBlock, _DEPTHS,
                          num_classes=CLASSES)
BASIC_HUB = hub("ResNetForImageClassification", "ResNetConfig", layer_type="basic", depths=_DEPTHS,
                hidden_sizes=[64, 128, 256, 512], num_labels=CLASSES)
NECK_TIMM = plain("timm", timm_resnet.ResNet, timm_resnet.Bottleneck, _DEPTHS, num_classes=CLASSES)
NECK_TORCHVISION = plain("torchvision", torchvision_resnet.ResNet, torchvision_resnet.Bottleneck, _DEPTHS,
                         num_classes=CLASSES)
NECK_HUB = hub("ResNetForImageClassification", "ResNetConfig", layer_type="bottleneck", depths=_DEPTHS,
               hidden_sizes=[256, 512, 1024, 2048], num_labels=CLASSES)

RESNETS = (
    Twin("ResNet, basic", image(32), BASIC_TIMM, BASIC_TORCHVISION, _SAME),
    Twin("ResNet, basic", image(32), BASIC_TIMM, BASIC_HUB, _resnet_to_hub(2)),
    Twin("ResNet, bottleneck", image(32), NECK_TIMM, NECK_TORCHVISION, _SAME),
    Twin("ResNet, bottleneck", image(32), NECK_TORCHVISION, NECK_HUB, _resnet_to_hub(3)),
)


def _both(network: str, name: str, other: str, renames: Renames | None = None, **options: Any) -> Twin:
    """One network under its names in torchvision and timm."""
    ours = plain("torchvision", getattr(torchvision.models, name), num_classes=CLASSES)
    return Twin(network, image(32), ours, plain("timm", timm.create_model, other, num_classes=CLASSES, **options),
                renames)


_REGNET = (
    (r"^trunk_output\.block(\d)\.block\d-(\d+)\.", r"s\1.\2."),
    *((rf"^s(\d)\.{number}\.", rf"s\1.b{number + 1}.") for number in reversed(range(12))),
    *((rf"\.f\.{letter}\.", f".conv{number}.") for number, letter in ((1, "a"), (2, "b"), (3, "c"))),
    (r"\.f\.se\.", ".se."),
    (r"\.proj\.", ".downsample."),
    (r"^(stem|s\d\.b\d+\.(?:conv\d|downsample))\.0\.", r"\1.conv."),
    (r"^(stem|s\d\.b\d+\.(?:conv\d|downsample))\.1\.", r"\1.bn."),
    (r"^fc\.", "head.fc."),
)
_GROWTH: dict[str, Any] = {"growth_rate": 4, "block_config": (2, 3, 2), "num_classes": CLASSES}

OTHERS = (
    _both("MobileNetV2", "mobilenet_v2", "mobilenetv2_100"),
    _both("MobileNetV3", "mobilenet_v3_small", "mobilenetv3_small_100", bn_eps=1e-3),
    _both("EfficientNet", "efficientnet_b0", "efficientnet_b0"),
    _both("RegNetY", "regnet_y_400mf", "regnety_004", _REGNET),
    _both("RegNetX", "regnet_x_400mf", "regnetx_004_tv", _REGNET),
    _both("MNASNet", "mnasnet0_5", "mnasnet_050"),
    Twin("DenseNet", image(32), plain("torchvision", torchvision.models.DenseNet, num_init_features=8, **_GROWTH),
         plain("timm", DenseNet, **_GROWTH), None),
)

TWINS = (*CONVNEXTS, *RESNETS, *OTHERS)
