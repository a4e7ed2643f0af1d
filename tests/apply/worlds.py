"""Several ranks on one machine: processes that are forked from one that has imported what they need."""

from __future__ import annotations

import multiprocessing
import pickle
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

PRELOAD = ["torch.distributed.fsdp", "torch.distributed.tensor.parallel", "wsel_graph", "tests.apply.sharded_cases"]


def run(
    world: int,
    function: Callable[..., Any],
    folder: Path,
    *args: Any,
    timeout: float = 60,
    limit: float = 120,
    backend: str = "gloo",
) -> dict[int, Any]:
    """What a function gives on every rank, called with the rank and `args`; ranks that died give nothing.

    Args:
        timeout: Of the process group, in seconds.
        limit: After which ranks that still run are killed, in seconds.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    processes = [
        context.Process(target=_rank, args=(rank, world, function, folder, timeout, backend, args), daemon=True)
        for rank in range(world)
    ]
    for process in processes:
        process.start()
    end = time.monotonic() + limit
    for process in processes:
        process.join(max(0.1, end - time.monotonic()))
    for process in processes:
        process.kill()
        process.join()
    results = {rank: folder / f"{rank}.pickle" for rank in range(world)}
    return {rank: pickle.loads(file.read_bytes()) for rank, file in results.items() if file.exists()}


def _rank(
    rank: int,
    world: int,
    function: Callable[..., Any],
    folder: Path,
    timeout: float,
    backend: str,
    args: tuple[Any, ...],
) -> None:  # fmt: skip
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    if backend == "nccl":
        torch.cuda.set_device(rank)
    try:
        dist.init_process_group(
            backend, init_method=f"file://{folder}/store", rank=rank, world_size=world,
            timeout=timedelta(seconds=timeout),
        )  # fmt: skip
        result = function(rank, *args)
    except BaseException:
        result = traceback.format_exc()
    file = folder / f"{rank}.part"
    file.write_bytes(pickle.dumps(result))
    file.rename(folder / f"{rank}.pickle")
