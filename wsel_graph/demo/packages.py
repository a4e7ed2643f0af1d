"""Files inside installed packages, which are never imported: nothing that they require is needed.

(torchfcpe asks for torchaudio, whose Linux wheel on PyPI does not load beside a CPU-only PyTorch.)
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from wsel_graph.errors import WselError

PACKAGES = ("torchfcpe==0.0.4", "pretty_midi==0.2.11.post0")
INSTALL = "pip install --no-deps " + " ".join(PACKAGES)
"""What a user types to get the two files; `--no-deps` because nothing but those files is used."""


class MissingPackageError(WselError, ModuleNotFoundError):
    """A package whose file the demo reads is not installed."""


def package_file(package: str, name: str) -> Path:
    """Path of a file inside an installed package, found without importing the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingPackageError(f"{name} ships in {package}, which is not installed; run: {INSTALL}")
    return Path(spec.origin).parent / name
