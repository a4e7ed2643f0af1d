"""A transformers student from a teacher's folder, written as a folder that `from_pretrained` loads.

python examples/transformers_folder.py

The teacher's folder is made here from a small random configuration; name yours instead. On the command line:
`wsel-graph init --save-pretrained --teacher hf:TEACHER --teacher-arg pretrained=true --student hf:SMALL --output START`

Prints:

    initialised 100.0 % of 49,640 parameters
    bert.encoder.layer  2 of 4 blocks: 0<-0, 1<-2
    from_pretrained: BertForMaskedLM with the same outputs: True
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForMaskedLM, BertConfig, BertForMaskedLM

import wsel_graph as ws


def main() -> None:
    sizes = {"vocab_size": 200, "hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 4}
    with tempfile.TemporaryDirectory() as folder:
        BertForMaskedLM(BertConfig(**sizes, num_hidden_layers=4)).save_pretrained(Path(folder) / "teacher")

        teacher = AutoModelForMaskedLM.from_pretrained(Path(folder) / "teacher")
        small = {"hidden_size": 32, "intermediate_size": 128, "num_attention_heads": 2, "num_hidden_layers": 2}
        config = AutoConfig.from_pretrained(Path(folder) / "teacher", **small)
        student = AutoModelForMaskedLM.from_config(config).eval()
        words = {"input_ids": torch.randint(5, 200, (2, 9))}

        result = ws.initialize(student, teacher, words, rules="uniform-layers")
        print(f"initialised {100 * result.coverage:.1f} % of {result.total:,} parameters")
        stage = result.plan.layers[0]
        print(f"{stage.stage}  {len(stage.blocks)} of {stage.teacher_depth} blocks: {stage}")

        student.save_pretrained(Path(folder) / "student")
        again = AutoModelForMaskedLM.from_pretrained(Path(folder) / "student").eval()
    with torch.no_grad():
        same = torch.equal(again(**words).logits, student(**words).logits)
    print(f"from_pretrained: {type(again).__name__} with the same outputs: {same}")


if __name__ == "__main__":
    main()
