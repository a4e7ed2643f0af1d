"""A timm student from a timm teacher, saved as a checkpoint that timm itself loads.

python examples/timm_models.py [--pretrained]

Prints:

    initialised 99.9 % of convnext_atto
    kept: head.fc.weight, head.fc.bias
    create_model(checkpoint_path=...) gives the same outputs: True
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file

import wsel_graph as ws


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pretrained", action="store_true", help="have timm fetch the teacher's weights")
    options = parser.parse_args(arguments)
    teacher = timm.create_model("convnext_pico", pretrained=options.pretrained)
    student = timm.create_model("convnext_atto", num_classes=10).eval()
    images = torch.randn(1, 3, 64, 64)

    result = ws.initialize(student, teacher, images)
    print(f"initialised {100 * result.coverage:.1f} % of convnext_atto")
    print("kept:", ", ".join(kept.student for kept in result.plan.kept))

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "start.safetensors"
        save_file(student.state_dict(), file)
        again = timm.create_model("convnext_atto", num_classes=10, checkpoint_path=file).eval()
    with torch.no_grad():
        print("create_model(checkpoint_path=...) gives the same outputs:", torch.equal(again(images), student(images)))


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
