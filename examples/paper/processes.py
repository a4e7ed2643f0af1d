"""One process or many: what `torchrun` says, and random states of all."""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import torch
from torch import distributed


def begin(device: str = "auto") -> torch.device:
    """Join the other processes if `torchrun` started this one; returns this process's device."""
    local = int(os.environ.get("LOCAL_RANK", "0"))
    cuda = torch.cuda.is_available() and device in ("auto", "cuda")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if cuda else "gloo")
    if cuda:
        torch.cuda.set_device(local)
        return torch.device("cuda", local)
    return torch.device("cpu" if device == "auto" else device)


def end() -> None:
    """Part from the other processes."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def count() -> int:
    """Number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Number of this process, from zero."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def total(values: torch.Tensor) -> torch.Tensor:
    """The sum over all processes."""
    if count() > 1:
        distributed.all_reduce(values)
    return values


def gather(value: Any) -> list[Any]:
    """The values of all processes, in their order."""
    if count() == 1:
        return [value]
    found: list[Any] = [None] * count()
    distributed.all_gather_object(found, value)
    return found


def wait() -> None:
    """Go on when all processes are here."""
    if count() > 1:
        distributed.barrier()


def seed_all(seed: int) -> None:
    """Seed what models, augmentation and mixup draw from."""
    random.seed(seed)
    np.random.seed(seed)  # timm's mixup draws from numpy's global state
    torch.manual_seed(seed)


def random_states() -> dict[str, Any]:
    """All random states, in values that `torch.load(weights_only=True)` reads."""
    name, keys, place, has_gauss, gauss = np.random.get_state(legacy=True)
    version, words, spare = random.getstate()
    states: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": (
            str(name),
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(place),
            int(has_gauss),
            float(gauss),
        ),
        "python": (version, list(words), spare),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore(states: dict[str, Any]) -> None:
    """Put random states back."""
    torch.set_rng_state(states["torch"].cpu())
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))
    version, words, spare = states["python"]
    random.setstate((version, tuple(words), spare))
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"].cpu())
