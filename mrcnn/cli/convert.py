"""`mrcnn convert`: weights of other packages to a model folder, and back."""

from __future__ import annotations

from pathlib import Path

from mrcnn.cli.common import OK, UsageError, open_model


def run(source, output, to, settings, say=print) -> int:
    """Converts a model.

    Args:
        source: weight file, model folder or name of published weights.
        output: folder or file to write; None: named after the source, in the current folder.
        to: "folder" or "torchvision".
        settings: of Config, to override the model's.
        say: function that shows a line.

    Raises:
        UsageError: the output exists already.
    """
    stem = Path(source).name if Path(source).is_dir() else Path(source).stem
    suffix = "" if to == "folder" else "_torchvision.safetensors"
    output = Path(output or f"{stem}{suffix}")
    if (output / "config.json" if to == "folder" else output).exists() or output.is_file():
        raise UsageError(f"{output} exists already: give another --output")
    model = open_model(source, **settings)
    if to == "folder":
        model.save(output)
    else:
        model.save_torchvision(output)
    config = model.config
    say(f"{source}: {config.BACKBONE}, {config.NUM_CLASSES} classes, {config.NUMERICS} arithmetic.")
    say(f"Written to {output}.")
    return OK
