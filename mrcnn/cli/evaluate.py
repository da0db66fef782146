"""`mrcnn evaluate`: a model's scores on annotated pictures."""

from __future__ import annotations

from pathlib import Path

from mrcnn import plots, results
from mrcnn.cli.common import OK, UsageError, open_model
from mrcnn.cli.data import dataset as build_dataset
from mrcnn.cli.progress import bar


def run(options: dict, say=print) -> int:
    """Prints the scores; writes evaluation.json and precision_recall.png.

    Args:
        options: by name without dashes.
        say: function that shows a line.
    """
    settings = dict(options["settings"])
    side = options.get("image_size")
    if side and not options.get("dataset"):
        settings = {"IMAGE_MIN_DIM": side, "IMAGE_MAX_DIM": side} | settings
    data = build_dataset(options)
    model = open_model(options["model"], **settings)
    _check_classes(model.class_names, data.class_names)
    with bar("evaluating", data.num_images) as advance:
        scores = model.evaluate(data, progress=advance)
    say(scores.summary())
    output = Path(options["output"])
    results.save_json(output / "evaluation.json", scores.to_dict())
    plots.plot_precision_recall(scores, output / "precision_recall.png")
    say(f"Written to {output}: evaluation.json, precision_recall.png")
    return OK


def _check_classes(ours, theirs):
    # One class is one class whatever it is called; of more, the model must know the names.
    if not set(theirs) <= set(ours) and not len(ours) == len(theirs) == 2:
        raise UsageError(
            f"the model knows the classes {ours[1:]}, the annotations {theirs[1:]}: evaluate on "
            "annotations whose classes the model was trained on, under the same names"
        )
