"""A LLaMA-shaped student from a sharded checkpoint that is never held in memory: only the selected rows are read.

python examples/llama_streaming.py

The teacher exists as shapes on the meta device and as files. Grouped queries and rotary position codes are found in
the graph: key heads keep their query heads, and a head's channels stay whole, so every frequency stays what it was.

Prints:

    teacher on disk: 4 shards, planned from shapes alone
    layers  model.layers: 0<-0, 1<-2
    filled 0.1 M parameters from the index; rows of head 2 are the student's head 1: True
    the student runs: [1, 9, 256]
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

import wsel_graph as ws

LARGE = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 8}
SMALL = {"hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 4}
COMMON = {"vocab_size": 256, "head_dim": 16, "use_cache": False}


def model(sizes: dict[str, int], key_heads: int) -> LlamaForCausalLM:
    return LlamaForCausalLM(LlamaConfig(**COMMON, **sizes, num_key_value_heads=key_heads)).eval()


def main() -> None:
    words = {"input_ids": torch.zeros(1, 9, dtype=torch.int64)}
    with tempfile.TemporaryDirectory() as folder:
        model(LARGE, key_heads=4).save_pretrained(folder, max_shard_size="1MB")
        shards = len(list(Path(folder).glob("*.safetensors")))
        print(f"teacher on disk: {shards} shards, planned from shapes alone")

        with torch.device("meta"):
            teacher = model(LARGE, key_heads=4)  # no memory for weights
        student = model(SMALL, key_heads=2)
        plan = ws.plan(student, teacher, words, rules="uniform-layers")
        print(f"layers  {plan.layers[0].stage}: {plan.layers[0]}")

        ws.apply(plan, student, Path(folder) / "model.safetensors.index.json")
        filled = sum(parameter.numel() for parameter in student.parameters()) / 1e6
        again = LlamaForCausalLM.from_pretrained(folder)
    ours, theirs = student.model.layers[0].self_attn.k_proj.weight, again.model.layers[0].self_attn.k_proj.weight
    same = torch.equal(ours[16:32], theirs[32:48, ::2])
    print(f"filled {filled:.1f} M parameters from the index; rows of head 2 are the student's head 1: {same}")
    with torch.no_grad():
        print("the student runs:", list(student(**words).logits.shape))


if __name__ == "__main__":
    main()
