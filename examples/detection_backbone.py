"""The backbone of a torchvision detector from a larger classification network.

python examples/detection_backbone.py

Only the backbone is initialised: boxes and classes have no counterpart in a classifier, so the two are given as modules
of their own. The detector's norms are frozen, which is other arithmetic, so the teacher is built with the same ones.

Prints:

    initialised 100 % of the backbone: resnet18 from resnet34
    layer1  2 of 3 blocks: 0<-0, 1<-1
    the detector runs: ['boxes', 'labels', 'scores']
"""

from __future__ import annotations

import torch
from torchvision.models import resnet34
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops.misc import FrozenBatchNorm2d

import wsel_graph as ws


def main() -> None:
    backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None, trainable_layers=5)
    detector = FasterRCNN(backbone, num_classes=3, min_size=64, max_size=64).eval()
    teacher = resnet34(weights=None, norm_layer=FrozenBatchNorm2d)  # weights="DEFAULT" has pretrained ones fetched
    layers = {f"layer{number}": str(number) for number in range(1, 5)}
    features = IntermediateLayerGetter(teacher, layers)  # the classifier without its head

    result = ws.initialize(detector.backbone.body, features, torch.zeros(1, 3, 64, 64))
    print(f"initialised {100 * result.coverage:.0f} % of the backbone: resnet18 from resnet34")
    stage = result.plan.layers[0]
    print(f"{stage.stage}  {len(stage.blocks)} of {stage.teacher_depth} blocks: {stage}")
    with torch.no_grad():
        print("the detector runs:", sorted(detector([torch.rand(3, 64, 64)])[0]))


if __name__ == "__main__":
    main()
