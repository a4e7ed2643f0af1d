"""A folder that `torch.distributed.checkpoint` wrote, read without a process group, a stored chunk at a time.

The values go through PyTorch's own reader. Its metadata file is a pickle, which may hold any code; here only the
classes that such a file needs are let through.
"""

from __future__ import annotations

import itertools
import math
import pathlib
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, Metadata, MetadataIndex, TensorStorageMetadata
from torch.distributed.checkpoint.planner import LoadItemType, LoadPlan, ReadItem

from wsel_graph.errors import PlanError
from wsel_graph.plan import Indices
from wsel_graph.stores.memory import put, select
from wsel_graph.stores.shards import refuse_way_out
from wsel_graph.stores.source import TensorInfo

METADATA = ".metadata"
"""The file that makes a folder one of these."""

LISTED = 5

ALLOWED = {
    "torch.distributed.checkpoint.metadata": {
        "Metadata", "TensorStorageMetadata", "BytesStorageMetadata", "ChunkStorageMetadata", "TensorProperties",
        "MetadataIndex", "StorageMeta", "_MEM_FORMAT_ENCODING",
    },
    "torch.distributed._shard.sharded_tensor.metadata": {"TensorProperties", "MEM_FORMAT_ENCODING"},
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.serialization": {"_get_layout"},
    "torch": {"Size"},
    "collections": {"OrderedDict"},
}  # fmt: skip
"""What a metadata file may name, besides dtypes and paths."""


class DcpSource:
    """A checkpoint folder as a source. The stored chunk that was read last stays in memory.

    Raises:
        PlanError: If its metadata or a file that this names is missing, damaged, too short, or out of the folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder)
        self.where = str(folder)
        self._metadata = _read_metadata(self.path / METADATA)
        self._tensors = {
            name: stored
            for name, stored in self._metadata.state_dict_metadata.items()
            if isinstance(stored, TensorStorageMetadata)
        }
        try:
            faults = list(_faults(self.path, self._metadata, self._tensors))
        except (
            AttributeError,
            TypeError,
            ValueError,
            OverflowError,
            RecursionError,
        ) as error:  # other fields, or values
            raise PlanError(f"{self.path / METADATA} is damaged ({str(error)[:200]}): write it again") from error
        if faults:
            more = f"; and {len(faults) - LISTED} more faults" if len(faults) > LISTED else ""
            raise PlanError(f"{self.path} is no whole checkpoint folder: {'; '.join(faults[:LISTED])}{more}")
        self._reader = FileSystemReader(self.path)
        self._reader.set_up_storage_reader(self._metadata, is_coordinator=True)
        self._held: tuple[MetadataIndex, torch.Tensor] | None = None

    def infos(self) -> dict[str, TensorInfo]:
        """Shape and dtype of every tensor, by name."""
        return {name: TensorInfo(tuple(item.size), item.properties.dtype) for name, item in self._tensors.items()}

    def read(self, name: str, indices: tuple[Indices, ...]) -> torch.Tensor:
        """The elements of every dim, from the chunks that hold them."""
        stored = self._tensors[name]
        result = torch.empty(tuple(map(len, indices)), dtype=stored.properties.dtype, device="cpu")
        for chunk in stored.chunks:
            parts = [
                _inside(items, start, size)
                for items, start, size in zip(indices, chunk.offsets, chunk.sizes, strict=True)
            ]
            if all(len(places) for places, _ in parts):
                values = self._chunk(name, chunk, stored.properties.dtype)
                taken = select(values, tuple(own for _, own in parts))
                put(result, tuple(places for places, _ in parts), taken)
        return result

    def close(self) -> None:
        """Let go of the chunk that is held."""
        self._held = None

    def _chunk(self, name: str, chunk: ChunkStorageMetadata, dtype: torch.dtype) -> torch.Tensor:
        index = MetadataIndex(name, chunk.offsets)
        if self._held is None or self._held[0] != index:
            self._held = None
            values = torch.empty(chunk.sizes, dtype=dtype, device="cpu")
            start = torch.Size([0] * len(chunk.sizes))
            item = ReadItem(LoadItemType.TENSOR, index, start, index, start, chunk.sizes)
            try:
                self._reader.read_data(LoadPlan([item]), _Into(values))
            except Exception as error:  # damaged files raise whatever the interrupted step raises
                what = str(error).strip()[:200] or type(error).__name__
                raise PlanError(f"{self.path}: the values of {name} cannot be read ({what})") from error
            self._held = (index, values)
        return self._held[1]


class _Into(DefaultLoadPlanner):
    """Takes what is read into one tensor."""

    def __init__(self, values: torch.Tensor) -> None:
        super().__init__()
        self._values = values

    def resolve_tensor(self, read_item: ReadItem) -> torch.Tensor:
        return self._values

    def commit_tensor(self, read_item: ReadItem, tensor: torch.Tensor) -> None:
        pass


def _inside(indices: Indices, start: int, size: int) -> tuple[Indices, Indices]:
    """Which items of an index list lie in a chunk: their places in the list, and where they are in the chunk."""
    if isinstance(indices, range) and indices.step > 0:
        first = max(0, -((indices.start - start) // indices.step))
        stop = min(len(indices), max(first, -((indices.start - start - size) // indices.step)))
        taken = indices[first:stop]
        return range(first, stop), range(taken.start - start, taken.stop - start, taken.step)
    places = tuple(place for place, element in enumerate(indices) if start <= element < start + size)
    return places, tuple(indices[place] - start for place in places)


# -- metadata


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("pathlib") and name in ("PosixPath", "WindowsPath", "PurePosixPath", "Path"):
            return pathlib.PurePosixPath  # the folder as it was named when it was written
        if name in ALLOWED.get(module, ()):
            if module == "collections":
                return OrderedDict
            return super().find_class(module, name)
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def _read_metadata(file: Path) -> Metadata:
    if not file.is_file():
        raise PlanError(f"there is no metadata file {file}: the checkpoint was not written to its end, or is another")
    try:
        with file.open("rb") as stream:
            found = _unpickled(stream)
    except Exception as error:  # damaged pickles raise whatever the interrupted step raises
        what = str(error).strip()[:200] or type(error).__name__
        raise PlanError(f"{file} is no metadata of a checkpoint folder ({what}), and runs no code here") from error
    if not isinstance(found, Metadata):
        raise PlanError(f"{file} is no metadata of a checkpoint folder: it holds a {type(found).__name__}")
    parts = [getattr(found, part, None) for part in ("state_dict_metadata", "storage_data")]
    if not all(isinstance(part, dict) for part in parts) or not all(isinstance(name, str) for name in parts[0] or ()):
        raise PlanError(f"{file} is damaged (it does not say what is stored where): write it again")
    return found


def _unpickled(stream: IO[bytes]) -> Any:
    _refuse_large_memo(stream)
    return _Unpickler(stream).load()


def _refuse_large_memo(stream: IO[bytes]) -> None:
    """`pickle` makes room for every number below that of an object to be remembered: 32 GB for one damaged byte."""
    size = stream.seek(0, 2)
    stream.seek(0)
    for opcode, argument, place in pickletools.genops(stream):
        if opcode.name.endswith("PUT") and isinstance(argument, int) and argument > size:
            raise pickle.UnpicklingError(f"at byte {place}, it numbers an object {argument}, with {size} bytes in all")
    stream.seek(0)


def _faults(folder: Path, metadata: Metadata, tensors: dict[str, TensorStorageMetadata]) -> Iterator[str]:
    sizes: dict[str, int | None] = {}
    for name, stored in tensors.items():
        if (fault := _chunk_fault(stored)) is not None:
            yield f"{name}: {fault}"
            continue
        for chunk in stored.chunks:
            place = metadata.storage_data.get(MetadataIndex(name, chunk.offsets))
            path = getattr(place, "relative_path", None)
            if not isinstance(path, str):
                yield f"{name}: the metadata does not say where its values are"
                break
            if path not in sizes:
                sizes[path] = _size(folder, path)
                if sizes[path] is None:
                    yield f"the file {path} is missing"
            size = sizes[path]
            if size is not None and not 0 <= place.offset <= place.offset + place.length <= size:
                yield f"{name}: its values end at byte {place.offset + place.length} of {path}, which has {size}"
                break


def _size(folder: Path, path: str) -> int | None:
    if Path(path).is_absolute() or ".." in Path(path).parts or "\0" in path:
        raise PlanError(f"{folder / METADATA} names {path!r}, which leaves the folder")
    file = folder / path
    if not file.is_file():
        return None
    refuse_way_out(folder, file)
    return file.stat().st_size


def _chunk_fault(stored: TensorStorageMetadata) -> str | None:
    """What keeps the chunks of a tensor from covering it once."""
    if not isinstance(stored.properties.dtype, torch.dtype) or not all(type(size) is int for size in stored.size):
        return "its dtype or shape is none"
    chunks = sorted(stored.chunks, key=lambda chunk: tuple(chunk.offsets))
    for chunk in chunks:
        spans = list(zip(chunk.offsets, chunk.sizes, stored.size, strict=False))
        fits = len(chunk.offsets) == len(chunk.sizes) == len(stored.size)
        if not fits or any(start < 0 or size < 0 or start + size > whole for start, size, whole in spans):
            return f"the chunk {list(chunk.offsets)} {list(chunk.sizes)} is not inside {list(stored.size)}"
    if sum(math.prod(chunk.sizes) for chunk in chunks) != math.prod(stored.size):
        return f"its chunks do not cover {list(stored.size)} once"
    for number, one in enumerate(chunks):
        for other in itertools.islice(chunks, number + 1, None):
            if stored.size and other.offsets[0] >= one.offsets[0] + one.sizes[0]:
                break  # nor do those that follow overlap
            if _overlap(one, other):
                return f"the chunks at {list(one.offsets)} and {list(other.offsets)} overlap"
    return None


def _overlap(one: ChunkStorageMetadata, other: ChunkStorageMetadata) -> bool:
    spans = zip(one.offsets, one.sizes, other.offsets, other.sizes, strict=True)
    return all(a < b + size_b and b < a + size_a for a, size_a, b, size_b in spans)
