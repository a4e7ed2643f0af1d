"""Write a `.safetensors` file tensor by tensor: the header says where everything will be, then the bytes follow.

The format: eight bytes with the length of the header, the header as JSON padded to a multiple of eight bytes, then all
tensors, little-endian and row-major, without gaps. Tensors stand in the order of `safetensors.torch.save_file` (by
dtype, then by name), so that the files are the same byte for byte.

Reference: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import ctypes
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

import torch

from wsel_graph.errors import PlanError
from wsel_graph.stores.source import TensorInfo

Value = Callable[[str], torch.Tensor]
"""Makes the values of one tensor; called once for each, so that they need never be there together."""

NAMES: Mapping[torch.dtype, str] = {
    torch.uint64: "U64",
    torch.int64: "I64",
    torch.float64: "F64",
    torch.complex64: "C64",
    torch.float32: "F32",
    torch.uint32: "U32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""What the format calls a dtype, in the order in which tensors are written."""

PIECE = 64 << 20
"""Bytes that are written in one call."""


def size_of(info: TensorInfo) -> int:
    """Bytes of a tensor.

    >>> size_of(TensorInfo((2, 3), torch.bfloat16))
    12
    """
    return math.prod(info.shape) * info.dtype.itemsize


def dtype_faults(infos: Mapping[str, TensorInfo]) -> Iterable[str]:
    """Tensors that the format has no form for."""
    return (
        f"{name} is {info.dtype}, which the format lacks" for name, info in infos.items() if info.dtype not in NAMES
    )


def write_safetensors(file: Path, infos: Mapping[str, TensorInfo], value: Value) -> None:
    """Write a file that holds these tensors; one at a time is in memory.

    Raises:
        PlanError: If a value is not what its info says.
        OSError: If the file cannot be written. What is there then is of no use.
    """
    if sys.byteorder != "little":
        raise PlanError("safetensors files are little-endian, and this machine is not: they cannot be written here")
    ranks = {dtype: number for number, dtype in enumerate(NAMES)}
    names = sorted(infos, key=lambda name: (ranks[infos[name].dtype], name))
    with open(file, "wb") as stream:
        stream.write(_header(names, infos))
        for name in names:
            _write_tensor(stream, name, infos[name], value(name))


def _header(names: Iterable[str], infos: Mapping[str, TensorInfo]) -> bytes:
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name in names:
        info, stop = infos[name], start + size_of(infos[name])
        entries[name] = {"dtype": NAMES[info.dtype], "shape": list(info.shape), "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write_tensor(stream: BinaryIO, name: str, info: TensorInfo, tensor: torch.Tensor) -> None:
    if tuple(tensor.shape) != info.shape or tensor.dtype != info.dtype:
        raise PlanError(
            f"{name} was to be {list(info.shape)} {info.dtype}, and is {list(tensor.shape)} {tensor.dtype}: nothing "
            "was written"
        )
    plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    size = size_of(info)
    if size:
        held = memoryview((ctypes.c_ubyte * size).from_address(plain.data_ptr()))
        for start in range(0, size, PIECE):
            stream.write(held[start : start + PIECE])
