"""Writing a file in one step."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A name to write to; when the block is through, the file takes the place of `path`.

    Who reads `path` meanwhile sees the old file or the new one, and a write that fails leaves the old one.

    Raises:
        OSError: If the folder does not exist or cannot be written to.
    """
    target = Path(path)
    temporary = target.with_name(f".{secrets.token_hex(4)}.{target.name}")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
