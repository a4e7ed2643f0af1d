"""Run O2 on the whole zoo, in worker processes, and write one JSON line per model.

python -m tests.zoo.run results.jsonl [substring ...] [--shard 1/2] [--timeout 600]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import os
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from .catalog import Entry, entries


def _work(connection: Connection) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    from .oracle import check

    torch.set_num_threads(1)
    by_id = {entry.id: entry for entry in entries()}
    while (name := _next(connection)) is not None:
        entry = by_id[name]
        try:
            connection.send(check(entry).as_dict())
        except Exception as error:  # a crash of ours is a result too
            text = "".join(traceback.format_exception(error)[-3:])
            connection.send({"id": entry.id, "family": entry.family, "status": "CRASH", "note": text})


def _next(connection: Connection) -> str | None:
    try:
        return str(connection.recv())
    except EOFError:  # the run is over
        return None


class _Worker:
    """One process that checks models until one of them takes too long or takes the process down."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._start()

    def _start(self) -> None:
        self._connection, other = mp.Pipe()
        self._process = mp.get_context("spawn").Process(target=_work, args=(other,), daemon=True)
        self._process.start()

    def check(self, entry: Entry) -> dict[str, Any]:
        self._connection.send(entry.id)
        try:
            if self._connection.poll(self._timeout):
                row: dict[str, Any] = self._connection.recv()
                return row
            reason = f"no result within {self._timeout:.0f} s"
        except EOFError:
            reason = "the process died"
        self._process.kill()
        self._start()
        return {"id": entry.id, "family": entry.family, "status": "CRASH", "note": reason}


def main() -> None:
    """Check every entry whose id contains one of the given substrings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("only", nargs="*")
    parser.add_argument("--shard", default="0/1", help="this run's share of the models, such as 1/2")
    parser.add_argument("--timeout", type=float, default=600)
    options = parser.parse_args()
    shard, shards = map(int, options.shard.split("/"))
    worker = _Worker(options.timeout)
    chosen = [e for e in entries() if not options.only or any(part in e.id for part in options.only)]
    with options.output.open("a") as sink:
        for entry in chosen[shard::shards]:
            row = worker.check(entry)
            print(row["status"], row["id"], row.get("max_error", ""), row.get("note", "")[-300:], flush=True)
            sink.write(json.dumps(row) + "\n")
            sink.flush()


if __name__ == "__main__":
    main()
