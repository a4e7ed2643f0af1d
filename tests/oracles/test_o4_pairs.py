"""O4 on published pairs: networks of one depth, without norms across channels."""

from __future__ import annotations

import pytest

from tests.oracles.test_o4_zeroed_teacher import difference, timm, torchvision

PAIRS = (
    ("timm", "wide_resnet50_2", "resnet50"),
    ("timm", "mobilenetv2_140", "mobilenetv2_100"),
    ("timm", "mobilenetv3_large_100", "mobilenetv3_large_075"),
    ("timm", "regnetx_016", "regnetx_016"),
    ("torchvision", "mnasnet1_3", "mnasnet0_75"),
    ("torchvision", "shufflenet_v2_x1_0", "shufflenet_v2_x1_0"),
)


def build(hub: str, name: str) -> timm.models.ResNet:
    """A network of five classes, random weights."""
    if hub == "timm":
        return timm.create_model(name, num_classes=5)
    return torchvision.models.get_model(name, num_classes=5)


@pytest.mark.parametrize(("hub", "teacher", "student"), PAIRS)
def test_the_student_is_cut_out_of_the_teacher(hub: str, teacher: str, student: str) -> None:
    assert difference(build(hub, student), build(hub, teacher), (1, 3, 64, 64)) < 1e-9
