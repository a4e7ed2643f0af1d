"""Stand-ins for torchvision's compiled operators, for machines where they do not load.

torchvision cannot be imported when its compiled library does not fit the installed torch, because it
describes operators that nobody has defined. Defining them first lets it, and timm and transformers with it,
be imported; plain torch kernels for the two operators that its models call in eval mode let detection models
run. Slow, exact in float64, without gradients.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from pathlib import Path

import torch
from torch import Tensor

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",  # described, never called
    (
        "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
        "SymInt pooled_width, int sampling_ratio, bool aligned) -> Tensor"
    ),
)

_LIBRARIES: list[torch.library.Library] = []
"""Kept because a library takes its operators with it when it is collected."""


@functools.cache
def install() -> None:
    """Make `import torchvision` work; does nothing where it works already."""
    if "torchvision" in sys.modules or _compiled_operators_load():
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    _allow_calls()
    _register_kernels(library)
    _LIBRARIES.append(library)


def _compiled_operators_load() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    try:
        for path in Path(spec.origin).parent.glob("_C*"):
            torch.ops.load_library(path)
    except OSError:
        return False
    return hasattr(torch.ops.torchvision, "nms")


def _allow_calls() -> None:
    """Switch off torchvision's own check that its compiled library was loaded."""
    boxes, roi_align = (importlib.import_module(f"torchvision.ops.{name}") for name in ("boxes", "roi_align"))
    for module in (boxes, roi_align):
        vars(module).update(_assert_has_ops=lambda: None, _has_ops=lambda: True)


def _register_kernels(library: torch.library.Library) -> None:
    from torchvision._meta_registrations import meta_roi_align
    from torchvision.ops.roi_align import _roi_align

    library.impl("nms", _nms, "CPU")
    library.impl("roi_align", _roi_align.__wrapped__, "CPU")  # torchvision's own, without torch.compile
    library.impl("roi_align", meta_roi_align, "Meta")


def _nms(dets: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Positions of the boxes that overlap no better one by more than the threshold, best first."""
    from torchvision.ops import box_iou

    order = scores.argsort(descending=True, stable=True)
    overlaps = (box_iou(dets[order], dets[order]) > iou_threshold).triu(diagonal=1)
    kept = torch.ones_like(order, dtype=torch.bool)
    for position, overlapped in enumerate(overlaps):
        if kept[position]:
            kept &= ~overlapped
    return order[kept]
