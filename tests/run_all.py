"""Every check of the project, in the order in which a fault is cheapest to see.

python -m tests.run_all
"""

from __future__ import annotations

import subprocess
import sys

CHECKS = (
    ("style", [sys.executable, "-m", "ruff", "check", "."]),
    ("format", [sys.executable, "-m", "ruff", "format", "--check", "."]),
    ("import layers", ["lint-imports"]),
    ("types", [sys.executable, "-m", "mypy"]),
    ("tests", [sys.executable, "-m", "pytest", "-q"]),
)


def main() -> int:
    """Run all checks; stop at the first that fails."""
    for name, command in CHECKS:
        print(f"== {name}", flush=True)
        if subprocess.run(command, check=False).returncode:
            print(f"== {name} FAILED", flush=True)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
