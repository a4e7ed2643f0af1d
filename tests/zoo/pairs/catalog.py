"""Every pair of the pair zoo: a teacher, a student, and how both are built.

Models are built on the meta device, where even seven billion parameters cost nothing; planning needs shapes only.
`real` builds them with values, to see that the initialised student still computes finite numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tests.zoo import torchvision_stub

from . import names, published

Inputs = tuple[Any, ...] | dict[str, Any]


@dataclass(frozen=True, slots=True)
class Side:
    """One model of a pair."""

    library: str
    name: str

    def build(self, real: bool = False) -> tuple[nn.Module, Inputs]:
        """The model in eval mode, and example inputs."""
        torchvision_stub.install()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model, inputs = self._real() if real else self._meta()
        return model.eval(), inputs

    def _real(self) -> tuple[nn.Module, Inputs]:
        return _BUILDERS[self.library](self.name)

    def _meta(self) -> tuple[nn.Module, Inputs]:
        try:
            with torch.device("meta"):
                return self._real()
        except NotImplementedError:  # torchvision's RegNet computes its widths with tensors
            model, inputs = self._real()
            return model.to("meta"), inputs


@dataclass(frozen=True, slots=True)
class Pair:
    """A teacher and a student.

    Attributes:
        family: What both have in common.
        across: They are of different families: what has no counterpart keeps its own values.
    """

    family: str
    teacher: Side
    student: Side
    across: bool = False

    @property
    def id(self) -> str:
        """Unique, `library/teacher to library/student`."""
        return f"{self.teacher.library}/{self.teacher.name} to {self.student.library}/{self.student.name}"


def pairs() -> tuple[Pair, ...]:
    """All pairs; nothing is built and no library imported before `Side.build`."""
    return (
        *_within("timm", names.TIMM),
        *_within("torchvision", names.TORCHVISION),
        *_within("transformers", published.PAIRS),
        *_between(names.ACROSS_LIBRARIES, across=False),
        *_between(names.ACROSS_FAMILIES, across=True),
    )


SAMPLE = (
    "timm/vit_small_patch16_224 to timm/vit_tiny_patch16_224",
    "timm/convnext_tiny to timm/convnext_femto",
    "timm/swin_base_patch4_window7_224 to timm/swin_tiny_patch4_window7_224",
    "timm/resnet50 to timm/resnet26",
    "timm/efficientnet_b3 to timm/efficientnet_b0",
    "timm/mixer_b16_224 to timm/mixer_s16_224",
    "torchvision/resnet152 to torchvision/resnet50",
    "transformers/bert_large to transformers/bert_mini",
    "transformers/gpt2_medium to transformers/gpt2",
    "transformers/llama_7b to transformers/sheared_llama_1.3b",
    "transformers/t5_large to transformers/t5_small",
    "timm/vit_base_patch16_224 to transformers/vit_tiny",
    "timm/convnext_tiny to timm/resnet50",
)


def sample() -> tuple[Pair, ...]:
    """The pairs that tests run."""
    by_id = {pair.id: pair for pair in pairs()}
    return tuple(by_id[name] for name in SAMPLE)


def _within(library: str, table: str) -> Iterator[Pair]:
    for family, teacher, student in names.lines(table):
        yield Pair(family, Side(library, teacher), Side(library, student))


def _between(table: str, across: bool) -> Iterator[Pair]:
    for family, teacher, student in names.lines(table):
        yield Pair(family, Side(*teacher.split("/")), Side(*student.split("/")), across)


def _timm(name: str) -> tuple[nn.Module, Inputs]:
    import timm

    model = timm.create_model(name, pretrained=False)
    return model, (torch.zeros(1, *model.pretrained_cfg["input_size"], device="cpu"),)


def _torchvision(name: str) -> tuple[nn.Module, Inputs]:
    from torchvision import models

    options = {"weights_backbone": None} if name.startswith("deeplab") else {}
    shape = (1, 3, 16, 112, 112) if "3d" in name else (1, 3, 224, 224)
    return models.get_model(name, weights=None, **options), (torch.zeros(shape, device="cpu"),)


_BUILDERS = {"timm": _timm, "torchvision": _torchvision, "transformers": published.build}
