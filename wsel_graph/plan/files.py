"""Writing in one step: who reads meanwhile, or after a crash, finds the old or the new, never a part of either.

What is written goes under a hidden name beside its place, is brought to the disk, and is then renamed. A process that
is killed leaves the hidden name behind; the next one that writes to the same place removes it. It knows by a lock,
which the system lets go of when a process ends, that nobody is writing any more.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # pragma: no cover  # not on Windows, where nothing is swept
    fcntl = None  # type: ignore[assignment]

TOKEN = "[0-9a-f]{8}"


def token() -> str:
    """Part of a name that nothing else has."""
    return secrets.token_hex(4)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A name to write to; when the block is through, the file takes the place of `path`.

    Who reads `path` meanwhile sees the old file or the new one, and a write that fails leaves the old one.

    Raises:
        OSError: If the folder does not exist or cannot be written to.
    """
    target = Path(path)
    sweep(target.parent, re.escape(target.name))
    with staged(target) as temporary:
        yield temporary
        sync(temporary)
        os.replace(temporary, target)
        sync(target.parent)


@contextmanager
def staged(target: Path, folder: bool = False) -> Iterator[Path]:
    """A hidden file or folder beside `target`, locked; what still has this name when the block ends is removed."""
    temporary = target.with_name(f".{token()}.{target.name}")
    if folder:
        temporary.mkdir()
    else:
        temporary.touch(exist_ok=False)
    lock = os.open(temporary, os.O_RDONLY)
    try:
        _locked(lock)
        yield temporary
    finally:
        os.close(lock)
        remove(temporary)


def _locked(descriptor: int) -> bool:
    """Take the lock of a file, unless another process has it, or the system has no such locks."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def sweep(folder: Path, name: str) -> None:
    """Remove what killed processes left of files of this name, a regular expression."""
    remove_abandoned(folder, rf"\.{TOKEN}\.(?:{name})", lambda path: False)


def remove_abandoned(folder: Path, name: str, needed: Callable[[Path], bool]) -> None:
    """Remove files of this name, a regular expression, that no process has locked and that are not needed.

    Args:
        needed: Asked once the file is locked: what a process made that has just ended is needed then.
    """
    form = re.compile(name)
    with suppress(OSError):
        for path in [Path(entry.path) for entry in os.scandir(folder) if form.fullmatch(entry.name)]:
            with suppress(OSError):
                _remove_if_free(path, needed)


def _remove_if_free(path: Path, needed: Callable[[Path], bool]) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if _locked(descriptor) and not needed(path):
            remove(path)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.EACCES):  # systems that cannot do it for folders
            raise
    finally:
        os.close(descriptor)


def exchange(first: Path, second: Path) -> None:
    """Let two files or folders change places in one step, which both see at once.

    Raises:
        OSError: If the system or the file system cannot.
    """
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), str(second))
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of Linux
    if library.renameat2(here, os.fsencode(first), here, os.fsencode(second), swap) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(second))
