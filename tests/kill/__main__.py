"""`python -m tests.kill [train|detect|writer] --count 300 [--seed N]`: kills processes and checks.

"writer" is what `mrcnn detect` writes, without a network: many kills in little time. The folder
`--output` keeps the log and the files of every run that failed.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from pathlib import Path


def main() -> int:
    """Runs the command; returns 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.kill", description=__doc__)
    parser.add_argument("what", nargs="?", default="train", choices=["train", "detect", "writer"])
    parser.add_argument("--count", type=int, default=20, help="processes to kill (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument("--output", help="folder for the runs (default: a temporary folder)")
    args = parser.parse_args()
    folder = Path(args.output or tempfile.mkdtemp(prefix="mrcnn-kill-"))
    folder.mkdir(parents=True, exist_ok=True)
    module = importlib.import_module(f"{__package__}.{args.what}")
    failed = module.main(args.count, args.seed, folder)
    print(f"Failed runs are in {folder}." if failed else "All is well.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
