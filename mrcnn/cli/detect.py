"""`mrcnn detect`: pictures in, pictures and tables out."""

from __future__ import annotations

import glob
import sys
from pathlib import Path

from mrcnn import results
from mrcnn.cli.common import OK, PARTIAL, UsageError, open_model
from mrcnn.cli.progress import bar
from mrcnn.images.files import IMAGE_SUFFIXES, list_images, read_image


def run(model_name, inputs, output, settings, say=print) -> int:
    """Detects in all inputs; goes on past a broken file.

    Args:
        model_name: model folder or "demo".
        inputs: files, folders and globs.
        output: folder for what it writes.
        settings: of Config, to override the model's.
        say: function that shows a line.

    Returns:
        OK, or PARTIAL when a file could not be used.
    """
    paths = find_images(inputs)
    output = Path(output)
    stems = results.output_stems(paths)
    _keep_inputs_whole(paths, stems, output)
    model = open_model(model_name, **settings)
    rows, table, broken = [], [], []
    with bar("detecting", len(paths)) as advance:
        for image_id, (path, stem) in enumerate(zip(paths, stems, strict=True)):
            try:
                image = read_image(path)
                (found,) = model.detect([image], masks="rle")
            except (ValueError, OSError) as error:
                broken.append((path, error))
                advance()
                continue
            rows += results.coco_rows(found, image_id, str(path))
            table += results.table_rows(found, str(path), model.class_names)
            results.save_picture(output / f"{stem}.png", image, found, model.class_names)
            labels = results.label_image(found, image.shape)
            results.save_labels(output / f"{stem}_labels.png", labels)
            advance()
    results.save_json(output / "detections.json", rows)
    results.save_csv(output / "detections.csv", table)
    say(f"{len(rows)} objects in {len(paths) - len(broken)} images, written to {output}.")
    for path, error in broken:
        text = " ".join(str(error).split())
        where = "" if str(path) in text else f"{path}: "
        print(f"mrcnn detect: skipped {where}{text}", file=sys.stderr)
    return PARTIAL if broken else OK


def find_images(inputs) -> list[Path]:
    """The files of all inputs, each once, in order.

    A folder stands for the pictures directly in it. A file that is named is taken whatever its
    suffix, so that a wrong one is reported.

    Raises:
        UsageError: an input that matches nothing.
    """
    found = {}
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            matches = list_images(path)
        elif path.exists():
            matches = [path]
        else:
            matches = [Path(name) for name in sorted(glob.glob(text)) if Path(name).is_file()]
        if not matches:
            what = f"no pictures ({', '.join(IMAGE_SUFFIXES)})" if path.is_dir() else "no such file"
            raise UsageError(f"{text}: {what}; give pictures, folders of pictures, or globs")
        found |= {match.resolve(): match for match in matches if match.resolve() not in found}
    return list(found.values())


def _keep_inputs_whole(paths, stems, output):
    inputs = {path.resolve() for path in paths}
    for stem in stems:
        for name in (f"{stem}.png", f"{stem}_labels.png"):
            if (output / name).resolve() in inputs:
                raise UsageError(
                    f"--output {output}: {name} there is an input and would be overwritten; "
                    "choose another folder"
                )
