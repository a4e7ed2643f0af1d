"""Write a rule file step by step: one wish at a time, and what each changes.

python examples/rule_file_step_by_step.py

Prints:

    default           blocks 0<-0, 1<-1   heads [0, 2]   head.weight from the teacher
    other blocks      blocks 0<-0, 1<-3   heads [0, 2]   head.weight from the teacher
    chosen heads      blocks 0<-0, 1<-3   heads [1, 3]   head.weight from the teacher
    fresh classifier  blocks 0<-0, 1<-3   heads [1, 3]   head.weight its own: asked for by mine.yaml:8:5
    a typing error is shown in place:
    mine.yaml:4:31: 'unifrom' is not a way to take blocks; did you mean 'uniform'?
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

import wsel_graph as ws


class Reader(nn.Module):
    def __init__(self, width: int, heads: int, depth: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, batch_first=True, norm_first=True)
        self.embed, self.head = nn.Linear(6, width), nn.Linear(width, 3)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(x)).mean(1))


STEPS = {
    "default": "version: 1\nextends: default",
    "other blocks": 'layers:\n  - {stage: "*layers*", take: uniform}  # of all the blocks, not the first',
    "chosen heads": "elements:\n  - {where: {role: heads}, take: [1, 3]}",
    "fresh classifier": 'components:\n  - keep: "head.*"',
}


def main() -> None:
    teacher, student, x = Reader(32, 4, 6), Reader(16, 2, 2), torch.randn(2, 5, 6)
    graphs = ws.trace(student, x), ws.trace(teacher, x)  # once; a plan is quick
    with tempfile.TemporaryDirectory() as folder:
        file, text = Path(folder) / "mine.yaml", ""
        for step, more in STEPS.items():
            text += f"{more}\n"
            file.write_text(text)
            print(f"{step:16}  {words(ws.plan(*graphs, rules=file))}".replace(str(file), file.name))
        file.write_text(text.replace("uniform", "unifrom"))
        try:
            ws.load_rules(file)
        except ws.WselError as error:
            print("a typing error is shown in place:")
            print(str(error).splitlines()[0].replace(str(file), file.name))


def words(plan: ws.Plan) -> str:
    rows = next(c for c in plan.copies if c.student.endswith("layers.0.self_attn.out_proj.weight")).indices[1]
    heads = sorted({row // 8 for row in rows})
    own = [f"its own: {kept.reason}" for kept in plan.kept if kept.student == "head.weight"]
    return f"blocks {plan.layers[0]}   heads {heads}   head.weight {''.join(own) or 'from the teacher'}"


if __name__ == "__main__":
    main()
