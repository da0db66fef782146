"""`mrcnn evaluate`: a model's scores on annotated images."""

from __future__ import annotations

import argparse
from pathlib import Path

from mrcnn.cli.shared import options
from mrcnn.cli.shared.backend import load_backend
from mrcnn.cli.shared.models import open_model
from mrcnn.cli.shared.usage import OK, UsageError

HELP = "Score a model on annotated images."
EXAMPLE = "mrcnn evaluate runs/cells20261123T1000 --images images --annotations val.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("model", help=options.MODEL)
    options.add_data(parser)
    options.add_output(parser, "evaluation")
    options.add_set(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the scores; writes evaluation.json and precision_recall.png."""
    settings = options.parse_settings(args.settings)
    load_backend()
    from mrcnn import plots, results
    from mrcnn.cli.shared.datasets import dataset
    from mrcnn.cli.shared.progress import bar

    if args.image_size and not args.dataset:
        settings = {"IMAGE_MIN_DIM": args.image_size, "IMAGE_MAX_DIM": args.image_size} | settings
    data = dataset(vars(args))
    model = open_model(args.model, **settings)
    _check_classes(model.class_names, data.class_names)
    with bar("evaluating", data.num_images) as advance:
        scores = model.evaluate(data, progress=advance)
    print(scores.summary())
    output = Path(args.output)
    results.save_json(output / "evaluation.json", scores.to_dict())
    plots.plot_precision_recall(scores, output / "precision_recall.png")
    print(f"Written to {output}: evaluation.json, precision_recall.png")
    return OK


def _check_classes(ours, theirs):
    from mrcnn.data.classes import match_classes

    try:
        match_classes(ours, theirs)
    except ValueError as error:
        raise UsageError(f"the model and the annotations do not fit: {error}") from error
