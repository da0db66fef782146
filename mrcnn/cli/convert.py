"""`mrcnn convert`: weights of other packages to a model folder, and back."""

from __future__ import annotations

import argparse
from pathlib import Path

from mrcnn import exports
from mrcnn.cli.shared import options
from mrcnn.cli.shared.backend import load_backend
from mrcnn.cli.shared.models import open_model
from mrcnn.cli.shared.usage import OK, UsageError

HELP = (
    "Turn weights of torchvision, Detectron2 or Matterport into a model folder, or a model folder "
    "into weights for torchvision."
)
EXAMPLE = "mrcnn convert model_final_f10217.pkl --output model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("source", help=options.MODEL)
    parser.add_argument(
        "--to",
        choices=["folder", *exports.names()],
        default="folder",
        help="(default: %(default)s)",
    )
    parser.add_argument(
        "--output", metavar="PATH", help="folder or file to write (default: named after the source)"
    )
    options.add_set(parser)


def run(args: argparse.Namespace) -> int:
    """Converts a model, unless the output exists already."""
    settings = options.parse_settings(args.settings)
    load_backend()
    source = Path(args.source)
    stem = source.name if source.is_dir() else source.stem
    suffix = ""
    if args.to != "folder":
        suffix = f"_{args.to}{exports.named(args.to).SUFFIX}"
    output = Path(args.output or f"{stem}{suffix}")
    written = output / "config.json" if args.to == "folder" else output
    if written.exists() or output.is_file():
        raise UsageError(f"{output} exists already: give another --output")
    model = open_model(args.source, **settings)
    if args.to == "folder":
        model.save(output)
    else:
        exports.write(model, output, args.to)
    config = model.config
    parts = config.BACKBONE, f"{config.NUM_CLASSES} classes", f"dialect {config.NUMERICS}"
    print(f"{args.source}: {', '.join(parts)}.")
    print(f"Written to {output}.")
    return OK
