"""Write one `.safetensors` file, or several with an index, so that no reader ever sees a part or a mixture.

Shards get names that nothing has referred to before: `model-5f2c9a01-00001-of-00003.safetensors`. They are all on the
disk before the index, `model.safetensors.index.json`, is replaced in one step. Whoever reads the index before finds the
old shards, whoever reads it after finds the new ones. What the old index named is removed last.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from wsel_graph.errors import PlanError
from wsel_graph.plan.files import TOKEN, remove_abandoned, replacing, staged, sweep, sync, token
from wsel_graph.stores.safetensors_writer import Value, size_of, write_safetensors
from wsel_graph.stores.source import TensorInfo

Infos = Mapping[str, TensorInfo]

UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def bytes_of(size: int | str) -> int:
    """A number of bytes.

    Raises:
        PlanError: If it is no size.

    >>> bytes_of("5GB"), bytes_of("1.5 GiB"), bytes_of(100)
    (5000000000, 1610612736, 100)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]*)", str(size).strip())
    unit = UNITS.get((found[2] or "B").upper()) if found else None
    count = int(float(found[1]) * unit) if found and unit else 0
    if isinstance(size, bool) or count < 1:
        raise PlanError(
            f"max_shard_size: {size!r} is no size; write 5GB, 500MB or a number of bytes. The units are "
            "B, KB, MB, GB, TB (powers of 1000) and KiB, MiB, GiB (powers of 1024)"
        )
    return count


def write_files(path: Path, infos: Infos, value: Value, limit: int | None) -> tuple[Path, ...]:
    """Write the tensors to `path`, or where they are more than `limit` bytes to shards beside it, with an index.

    Returns:
        The files that hold them now; the index last.
    """
    parts = shards(infos, limit)
    index = path.with_name(f"{path.name}.index.json")
    before, own = _shards_of(index, path), _form(path, f"{TOKEN}-")
    sweep(path.parent, f"{re.escape(path.name)}|{own}")
    _remove_unnamed(path.parent, own, index)
    if len(parts) == 1:
        with replacing(path) as file:
            write_safetensors(file, infos, value)
        index.unlink(missing_ok=True)  # it would lead readers that prefer it to the old shards
        made: tuple[Path, ...] = (path,)
    else:
        made = _write_shards(path, index, infos, value, parts)
        path.unlink(missing_ok=True)  # as would an old whole file, which many readers prefer
    for old in before:
        if old not in made:
            with suppress(OSError):
                old.unlink()
    _remove_unnamed(path.parent, own, index)
    return made


def _form(path: Path, unique: str) -> str:
    """How shards of a place are named, as a regular expression."""
    return rf"{re.escape(path.stem)}-{unique}\d{{5}}-of-\d{{5}}{re.escape(path.suffix)}"


def _remove_unnamed(folder: Path, own: str, index: Path) -> None:
    """Remove shards of killed processes: names of ours that no index has. Whoever is writing has locked them."""
    remove_abandoned(folder, own, lambda shard: shard.name in _named(index))


def _named(index: Path) -> set[str]:
    """The files that an index names; none where there is no index."""
    try:
        found = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return {name for name in found.values() if isinstance(name, str)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()


def replaced(path: Path) -> list[Path]:
    """What writing to a place may replace or remove beside it: the index, and the shards that it names."""
    index = path.with_name(f"{path.name}.index.json")
    return [index, *_shards_of(index, path)]


def shards(infos: Infos, limit: int | None) -> list[list[str]]:
    """The names of every shard, in order; a tensor that is larger than the limit has one of its own.

    >>> import torch
    >>> rows = {name: TensorInfo((size,), torch.int8) for name, size in (("a", 3), ("b", 3), ("c", 9), ("d", 1))}
    >>> shards(rows, 6)
    [['a', 'b'], ['c'], ['d']]
    """
    parts: list[list[str]] = [[]]
    held = 0
    for name, info in infos.items():
        size = size_of(info)
        if limit is not None and parts[-1] and held + size > limit:
            parts.append([])
            held = 0
        parts[-1].append(name)
        held += size
    return parts


def _write_shards(path: Path, index: Path, infos: Infos, value: Value, parts: list[list[str]]) -> tuple[Path, ...]:
    own, made = token(), list[Path]()
    weights: dict[str, str] = {}
    try:
        with ExitStack() as hidden:
            temporaries = []
            for number, names in enumerate(parts, 1):
                shard = path.with_name(f"{path.stem}-{own}-{number:05}-of-{len(parts):05}{path.suffix}")
                file = hidden.enter_context(staged(shard))
                write_safetensors(file, {name: infos[name] for name in names}, value)
                sync(file)
                temporaries.append((file, shard))
                weights |= dict.fromkeys(names, shard.name)
            for file, shard in temporaries:
                made.append(shard)
                os.replace(file, shard)
            sync(path.parent)
            document = {"metadata": {"total_size": sum(map(size_of, infos.values()))}, "weight_map": weights}
            with replacing(index) as file:  # the shards are locked until it names them
                file.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    except BaseException:
        if not _refers(index, weights):
            for shard in made:
                shard.unlink(missing_ok=True)
        raise
    return (*made, index)


def _refers(index: Path, weights: Mapping[str, str]) -> bool:
    """Whether an index is already the new one: a signal may come just after it has taken its place."""
    try:
        return bool(json.loads(index.read_text(encoding="utf-8"))["weight_map"] == weights)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _shards_of(index: Path, path: Path) -> list[Path]:
    """The shards of an index that are named as shards of `path` are; nothing else is ever removed."""
    form = re.compile(_form(path, f"(?:{TOKEN}-)?"))
    files = [path.with_name(name) for name in sorted(_named(index)) if form.fullmatch(name)]
    return [file for file in files if file.is_file()]
