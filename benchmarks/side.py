"""One side in a process of its own: `python -m benchmarks.side module:function '{"orders": 1000}'` prints its figures.

It needs the standard library alone: a peer's side runs in the venv of the peers.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from pathlib import Path


def main() -> None:
    """Run it in a folder of its own, and print its figures as the last line."""
    module, _, name = sys.argv[1].partition(":")
    function = getattr(importlib.import_module(module), name)
    with tempfile.TemporaryDirectory(prefix="callboard-bench-") as folder:
        figures = function(Path(folder), **json.loads(sys.argv[2]))
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
