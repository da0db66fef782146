"""Reads any number of mutants: `python -m tests.fuzz --kind pth --count 10000`."""

import argparse
import collections
import sys
import time
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / name) for name in ("", "weights", "data/formats")]

from fuzz.kinds import KINDS  # noqa: E402 - after the path
from fuzz.run import run  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--kind", choices=[*KINDS, "all"], default="all")
    parser.add_argument("--count", type=int, default=1000, help="mutants per kind (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="another one makes other mutants")
    parser.add_argument("--no-save", action="store_true", help="do not save one file per fault")
    args = parser.parse_args()
    failed = False
    for kind in KINDS if args.kind == "all" else [args.kind]:
        start = time.perf_counter()
        report = run(kind, args.count, args.seed)
        outcomes = ", ".join(f"{count} {name}" for name, count in report.outcomes.most_common())
        print(f"{kind}: {outcomes} in {time.perf_counter() - start:.0f} s", flush=True)
        groups = collections.defaultdict(list)
        for fault in report.faults:
            groups[fault.text.partition(": ")[2][:60]].append(fault)
        for faults in groups.values():
            print(f"  {len(faults)} times, such as {faults[0].seed}/{faults[0].name}")
            print(f"    {faults[0].text[:500]}")
            if not args.no_save:
                smallest = min(faults, key=lambda fault: len(fault.data))
                print(f"    saved as {smallest.save()}")
        failed |= bool(report.faults)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
