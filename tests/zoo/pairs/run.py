"""Plan every pair of the pair zoo, and write one JSON line each.

python -m tests.zoo.pairs.run results.jsonl [substring ...] [--timeout 120]
"""

from __future__ import annotations

import argparse
import json
import signal
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from .catalog import Pair, pairs
from .check import check


def main() -> None:
    """Check every pair whose id contains one of the given substrings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("only", nargs="*")
    parser.add_argument("--timeout", type=int, default=120, help="seconds for one pair")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    signal.signal(signal.SIGALRM, _too_long)
    with options.output.open("a") as sink:
        for pair in pairs():
            if not options.only or any(part in pair.id for part in options.only):
                row = _row(pair, options.timeout)
                print(
                    f"{row['status']:8} {row['id']}  {100 * row['covered']:.2f} %, unexplained {row['unexplained']}, "
                    f"{row['seconds']:.1f} s, finite {row['finite']} {row['note'][:200]}",
                    flush=True,
                )
                sink.write(json.dumps(row) + "\n")
                sink.flush()


def _row(pair: Pair, timeout: int) -> dict[str, Any]:
    signal.alarm(timeout)
    try:
        return check(pair).as_dict()
    except Exception as error:  # a crash of ours is a result too
        text = f"{type(error).__name__}: {error}"
        empty = {"covered": 0.0, "unexplained": 0, "seconds": 0.0, "finite": None, "kept": {}, "parameters": (0, 0)}
        return {
            "id": pair.id, "family": pair.family, "across": pair.across, "status": "CRASH", "note": text, **empty
        }  # fmt: skip
    finally:
        signal.alarm(0)


def _too_long(signum: int, frame: FrameType | None) -> None:
    raise TimeoutError("the pair took too long")


if __name__ == "__main__":
    main()
