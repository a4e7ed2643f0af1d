"""See what would happen before anything is copied: axes, proof, drafted rules, plan.

python examples/look_before_you_copy.py

The student reads another vocabulary than the teacher. That is refused until a rule says which tokens are the same.

Prints:

    (3 heads head_dim) embed
    verified: 19 of 21 coupled groups permuted, largest relative error 1.3e-16 (limit 1e-09, float64)
      # CHECK vocabulary: 100 in the teacher, 60 in the student
      - where: {role: vocabulary, student: "words.weight"}
        resize: keep
    words.weight [60, 32] <- words.weight [100, 64]
      dim 0: 40:100 of 100 (vocabulary 100 -> 60 tokens)
      dim 1: 0:64:2 of 64 (embed 64 -> 32 uniform)
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

import wsel_graph as ws


class Reader(nn.Module):
    def __init__(self, tokens: int, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.words = nn.Embedding(tokens, width)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.answer = nn.Linear(width, 2)

    def forward(self, ids: Tensor) -> Tensor:
        return self.answer(self.encoder(self.words(ids)).mean(1))


def main() -> ws.Plan:
    teacher, student = Reader(100, 64, 8, 6), Reader(60, 32, 4, 3)
    ids = torch.zeros(1, 5, dtype=torch.int64)

    graph = ws.trace(teacher, ids)
    print(graph.tensors["encoder.layers.0.self_attn.in_proj_weight"].notation)  # (3 heads head_dim) embed
    print(ws.verify(teacher, ids))  # every free group is permuted, and the outputs stay the same

    try:
        ws.plan(student, teacher, ids)
    except ws.WselError as error:
        print(f"\nrefused: {error}\n")
    draft = ws.draft_rules(student, teacher, ids)  # a rule file that says what would settle it; a person decides
    print(draft)

    with tempfile.TemporaryDirectory() as folder:
        same = {str(token): token + 40 for token in range(60)}  # student token id -> teacher token id
        (Path(folder) / "map.json").write_text(json.dumps(same))
        file = Path(folder) / "mine.yaml"
        file.write_text(
            draft.replace("    resize: keep", "    take: {tokens: map.json}").replace(
                "    take: first", "    take: last"
            )
        )
        plan = ws.plan(student, teacher, ids, rules=file)
        plan.save(Path(folder) / "mine.plan.json")
        plan = ws.load_plan(Path(folder) / "mine.plan.json")

    ws.apply(plan, student, teacher.state_dict())
    print(plan.explain("words.weight"))
    return plan


if __name__ == "__main__":
    main()
