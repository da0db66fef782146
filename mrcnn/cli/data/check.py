"""`mrcnn data check`: annotations in, one line per fault out."""

from __future__ import annotations

import argparse

from mrcnn.cli.shared import options, sources
from mrcnn.cli.shared.usage import OK, PROBLEM

HELP = "Look for faults in annotated images; the exit code is 1 if there are any."
EXAMPLE = "mrcnn data check instances.json --val val.json --fix mended.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    sources.add_source(parser)
    parser.add_argument(
        "--val", metavar="PATH", help="validation set, which must share no image with PATH"
    )
    parser.add_argument(
        "--image-size",
        type=options.side,
        default=1024,
        metavar="N",
        help="longest side of the network's input, for objects that become too small (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--min-images",
        type=int,
        default=2,
        metavar="N",
        help="report classes in fewer images (default: %(default)s; 0: none)",
    )
    parser.add_argument(
        "--fix", metavar="FILE", help="write a copy with all faults mended that have one right way"
    )
    sources.add_target(parser)
    parser.add_argument(
        "--compare", metavar="PATH", help="annotations of the same images by another person"
    )


def run(args: argparse.Namespace) -> int:
    """Prints each fault as it is found, then how many there are of each kind.

    Returns:
        OK, or PROBLEM if there is a fault.
    """
    from mrcnn.data.lint import Limits, lint
    from mrcnn.data.lint.mend import mend

    record = sources.read(args.path, args)
    val = sources.read(args.val, args) if args.val else None
    limits = Limits(min_images=args.min_images, image_size=args.image_size)
    problems, kinds = [], {}
    for problem in lint(record, val=val, limits=limits):
        print(" ".join(str(problem).split()), flush=True)
        problems.append(problem)
        kinds[problem.kind] = kinds.get(problem.kind, 0) + 1
    print(f"{len(record.images)} images: {_summary(kinds)}.")
    if args.compare:
        _compare(record, sources.read(args.compare, args))
    if args.fix:
        mended, done = mend(record, problems)
        sources.write(mended, args.fix, args.to)
        print(f"Mended {len(done)} of {len(problems)} faults; the rest needs a person.")
    return PROBLEM if problems else OK


def _summary(kinds):
    if not kinds:
        return "no fault found"
    order = sorted(kinds.items(), key=lambda item: -item[1])
    return f"{sum(kinds.values())} faults: " + ", ".join(f"{n} {kind}" for kind, n in order)


def _compare(first, second):
    """Prints how well two annotations agree."""
    from mrcnn.data.agreement import agreement

    found = agreement(first, second)
    for name in found.unshared:
        print(f"{name}: in one of the two only")
    for where, lines in (("first", found.missed), ("second", found.added)):
        for line in lines:
            print(f"{line}: only in the {where} annotations")
    matched = len(found.overlaps)
    print(
        f"Agreement over {found.images} images: {matched} objects matched, mean IoU "
        f"{found.mean_iou:.3f}, {len(found.missed)} only in the first, {len(found.added)} only in "
        "the second."
    )
    for (one, other), number in found.confused.items():
        print(f"{number} times {one} in the first is {other} in the second.")
