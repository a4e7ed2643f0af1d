"""torchvision models: every builder that is not quantized, from classification to optical flow.

Builders take few options, so depths and widths are as published; images, clips and numbers of candidate boxes
are cut to what an architecture bears. `vit_h_14` and `regnet_y_128gf` stay over 600 million parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from . import torchvision_stub

BATCH = 2
CLASSES = 10

Inputs = tuple[Any, ...] | dict[str, Any]

FAMILIES: dict[str, tuple[str, ...]] = {
    "alexnet": ("alexnet",),
    "convnext": ("convnext_tiny", "convnext_small", "convnext_base", "convnext_large"),
    "densenet": ("densenet121", "densenet161", "densenet169", "densenet201"),
    "efficientnet": (
        *(f"efficientnet_b{index}" for index in range(8)),
        *(f"efficientnet_v2_{size}" for size in "sml"),
    ),
    "googlenet": ("googlenet",),
    "inception": ("inception_v3",),
    "maxvit": ("maxvit_t",),
    "mnasnet": ("mnasnet0_5", "mnasnet0_75", "mnasnet1_0", "mnasnet1_3"),
    "mobilenetv2": ("mobilenet_v2",),
    "mobilenetv3": ("mobilenet_v3_small", "mobilenet_v3_large"),
    "regnet": (
        *(f"regnet_{kind}_{mega}mf" for kind in "xy" for mega in (400, 800)),
        *(f"regnet_{kind}_{giga}gf" for kind in "xy" for giga in ("1_6", "3_2", 8, 16, 32)),
        "regnet_y_128gf",
    ),
    "resnet": (
        *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
        *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2"),
    ),
    "shufflenetv2": tuple(f"shufflenet_v2_x{width}" for width in ("0_5", "1_0", "1_5", "2_0")),
    "squeezenet": ("squeezenet1_1", "squeezenet1_0"),
    "swin_transformer": ("swin_t", "swin_s", "swin_b", "swin_v2_t", "swin_v2_s", "swin_v2_b"),
    "vgg": tuple(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")),
    "vision_transformer": ("vit_b_32", "vit_b_16", "vit_l_32", "vit_l_16", "vit_h_14"),
    "segmentation.deeplabv3": ("deeplabv3_mobilenet_v3_large", "deeplabv3_resnet50", "deeplabv3_resnet101"),
    "segmentation.fcn": ("fcn_resnet50", "fcn_resnet101"),
    "segmentation.lraspp": ("lraspp_mobilenet_v3_large",),
    "detection.faster_rcnn": (
        "fasterrcnn_mobilenet_v3_large_320_fpn",
        "fasterrcnn_mobilenet_v3_large_fpn",
        "fasterrcnn_resnet50_fpn",
        "fasterrcnn_resnet50_fpn_v2",
    ),
    "detection.fcos": ("fcos_resnet50_fpn",),
    "detection.keypoint_rcnn": ("keypointrcnn_resnet50_fpn",),
    "detection.mask_rcnn": ("maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2"),
    "detection.retinanet": ("retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2"),
    "detection.ssd": ("ssd300_vgg16",),
    "detection.ssdlite": ("ssdlite320_mobilenet_v3_large",),
    "video.mvit": ("mvit_v2_s", "mvit_v1_b"),
    "video.resnet": ("r3d_18", "mc3_18", "r2plus1d_18"),
    "video.s3d": ("s3d",),
    "video.swin_transformer": ("swin3d_t", "swin3d_s", "swin3d_b"),
    "optical_flow.raft": ("raft_small", "raft_large"),
}
"""Module under `torchvision.models` -> names of its builders, the cheapest first."""


def _images(size: int = 64, batch: int = BATCH) -> Inputs:
    return (torch.randn(batch, 3, size, size),)


def _image_list(size: int = 64, count: int = BATCH) -> Inputs:
    """Detection models take a list, because images may differ in size; values are between 0 and 1."""
    return ([torch.rand(3, size, size) for _ in range(count)],)


def _clip(frames: int, size: int) -> Inputs:
    return (torch.randn(1, 3, frames, size, size),)


def _image_pair() -> Inputs:
    return tuple(torch.rand(1, 3, 128, 128) for _ in range(2))


_INPUTS: Mapping[str, Callable[[], Inputs]] = {
    "inception": partial(_images, 96),
    "maxvit": partial(_images, 224),
    "vit_h_14": partial(_images, 56),
    "detection.ssd": partial(_image_list, 64, 1),
    "video.mvit": partial(_clip, 16, 224),
    "video.resnet": partial(_clip, 8, 64),
    "video.s3d": partial(_clip, 16, 224),
    "video.swin_transformer": partial(_clip, 4, 64),
    "optical_flow.raft": _image_pair,
}
"""Inputs by name or family, where two small images will not do; other detection models take `_image_list`."""

_LABELLED: Mapping[str, Any] = {"num_classes": CLASSES}
_PLAIN_BACKBONE: Mapping[str, Any] = {"num_classes": CLASSES, "weights_backbone": None}
_SMALL_IMAGES: Mapping[str, Any] = {**_PLAIN_BACKBONE, "min_size": 64, "max_size": 64}
_FEW_PROPOSALS: Mapping[str, Any] = {
    **_SMALL_IMAGES,
    "rpn_pre_nms_top_n_test": 20,
    "rpn_post_nms_top_n_test": 8,
    "box_detections_per_img": 5,
    "box_score_thresh": 0.0,
}
_FEW_ANCHORS: Mapping[str, Any] = {"score_thresh": 0.0, "topk_candidates": 20, "detections_per_img": 5}

_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "googlenet": {**_LABELLED, "init_weights": False},
    "inception": {**_LABELLED, "init_weights": False},
    "segmentation.deeplabv3": {**_PLAIN_BACKBONE, "aux_loss": True},
    "segmentation.fcn": {**_PLAIN_BACKBONE, "aux_loss": True},
    "segmentation.lraspp": _PLAIN_BACKBONE,
    "detection.faster_rcnn": _FEW_PROPOSALS,
    "detection.keypoint_rcnn": {**_FEW_PROPOSALS, "num_keypoints": 3, "box_detections_per_img": 2},
    "detection.mask_rcnn": _FEW_PROPOSALS,
    "detection.fcos": {**_SMALL_IMAGES, **_FEW_ANCHORS},
    "detection.retinanet": {**_SMALL_IMAGES, **_FEW_ANCHORS},
    "detection.ssd": {**_PLAIN_BACKBONE, **_FEW_ANCHORS},
    "detection.ssdlite": {**_PLAIN_BACKBONE, **_FEW_ANCHORS},
    "video.mvit": {**_LABELLED, "patch_embed_stride": (4, 16, 16)},
    "vision_transformer": {**_LABELLED, "image_size": 64},
    "vit_h_14": {**_LABELLED, "image_size": 56},
    "optical_flow.raft": {},
}
"""Builder options by name or family, where the number of labels is not the only one."""


def build(name: str) -> tuple[nn.Module, Inputs]:
    """A model with random weights and the inputs of its forward."""
    torchvision_stub.install()
    from torchvision import models

    family = next(family for family, names in FAMILIES.items() if name in names)
    images = _image_list if family.startswith("detection.") else _images
    options = _OPTIONS.get(name, _OPTIONS.get(family, _LABELLED))
    inputs = _INPUTS.get(name, _INPUTS.get(family, images))
    return models.get_model(name, weights=None, **options), inputs()
