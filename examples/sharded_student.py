"""Fill a sharded student in place. Run it with `torchrun --nproc-per-node 2 examples/sharded_student.py`.

The plan is made from shapes, before the student is sharded or has any memory. Then every rank reads from the teacher
what its own shards need.

Prints:

    still to be initialised: head.bias
    rank 0 holds its part of the selected weights: True
    rank 1 holds its part of the selected weights: True
"""

from __future__ import annotations

import gc
from collections import OrderedDict

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard

import wsel_graph as ws


def network(width: int) -> nn.Module:
    layers = {
        "stem": nn.Linear(16, width),
        "act": nn.ReLU(),
        "mid": nn.Linear(width, width),
        "head": nn.Linear(width, 4),
    }
    return nn.Sequential(OrderedDict(layers))


def main() -> None:
    torch.manual_seed(0)
    teacher = network(64)  # stands for a pretrained one, the same on all ranks

    with torch.device("meta"):
        student = network(24)
    # once per job: plan.save, and ws.load_plan on every rank
    plan = ws.plan(student, teacher, (1, 16), keep=["head.bias"])

    fully_shard(student)
    student.to_empty(device="cpu")  # now the values are whatever was in memory
    if dist.get_rank() == 0:
        print("still to be initialised:", *ws.unfilled(plan, student))
    nn.init.zeros_(student.head.bias)
    ws.apply(plan, student, teacher)  # all ranks call it; when one fails, all fail, and nothing is changed

    alone = network(24)
    ws.apply(plan, alone, teacher)
    equal = torch.equal(student.mid.weight.full_tensor(), alone.mid.weight)
    said = f"rank {dist.get_rank()} holds its part of the selected weights: {equal}\n"
    print(said, end="", flush=True)  # in one write: the ranks share a terminal


if __name__ == "__main__":
    dist.init_process_group("gloo")  # "nccl" on GPUs
    main()
    gc.collect()  # the sharded student, which refers to itself, holds the group: gloo's threads must end before Python
    dist.destroy_process_group()
