"""`python -m wsel_graph.cli`."""

import sys

from wsel_graph.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
