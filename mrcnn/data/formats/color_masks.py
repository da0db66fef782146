"""Color masks: one PNG of colors per image, where a color is an instance or, with a list, a class.

Three layouts are known: folders `images` and `masks`; labelmap.txt with `SegmentationClass` and
`SegmentationObject` (CVAT: Segmentation mask); and label_colors.txt with folders `x` and `xannot`
(CVAT: CamVid).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from mrcnn.data.annotations import Annotations, Image, Instance, broken
from mrcnn.data.formats import _colors, _folders
from mrcnn.data.formats._runs import distinct, most_frequent, regions
from mrcnn.errors import reading, shorten
from mrcnn.images.atomic import atomic_path, write_text

NAME = "color_masks"
SOURCE = "color_masks"
BACKGROUNDS = ("background", "_background_", "void", "unlabeled", "unlabelled")  # no objects
LISTS = ("labelmap.txt", "label_colors.txt")
ENDINGS = ("", "_mask", "_L", "_color")  # what the name of a mask may add to that of its image
VOID = 255  # the number of the border of objects in the colors of Pascal VOC


@dataclass
class _Layout:
    """Where the files of a data set are."""

    folders: list[tuple[Path | None, Path]]  # of images and masks
    classes: Path | None = None  # the masks of classes, where `folders` has those of instances
    colors: Path | None = None  # the list of the colors of classes


def looks_like(path: Path) -> bool:
    """Returns whether a path is a folder in one of the three layouts, with masks in colors."""
    if not path.is_dir() or _folders.child(path, "Annotations") is not None:
        return False
    try:
        layout = _layout(path, None)
        images, masks = layout.folders[0]
        files = _folders.files_below(masks)[:5]
    except (FileNotFoundError, ValueError):
        return False
    if layout.colors is not None:
        return True
    stems = {entry.stem for entry in images.iterdir()} if images is not None else set()
    named_alike = any(file.stem.removesuffix(end) in stems for file in files for end in ENDINGS)
    return named_alike and any(map(_has_colors, files))


def read(
    path: str | os.PathLike,
    images: str | os.PathLike | None = None,
    palette: Mapping[str, tuple[int, int, int]] | str | os.PathLike | None = None,
    split: bool = False,
    background: tuple[int, int, int] = (0, 0, 0),
    class_name: str = "object",
) -> Annotations:
    """Reads color masks.

    Args:
        path: str or path. The folder of a data set, or with `images` the folder of masks.
        images: str or path. The folder of images. Defaults to None: as the layout says.
        palette: dict of class name to (red, green, blue), or the path of a file of rows
            `name:red,green,blue::` or `red green blue name`. Each color is then a class. Classes
            called background or void are none. Defaults to None: labelmap.txt or label_colors.txt
            in the folder, or else every color is an instance of its own.
        split: bool. Whether parts of one color that do not touch are instances of their own. By
            default, what has one color is one instance. Defaults to False.
        background: (red, green, blue). The color that is no object. Defaults to black.
        class_name: str. Name of the one class, without a palette. Defaults to "object".

    Returns:
        Annotations. The id of an image is the path of its mask without suffix.

    Raises:
        FileNotFoundError: if a folder, or the image of a mask, does not exist.
        ValueError: if a mask has colors that are in no palette, was smoothed, or is no PNG.
    """
    layout = _layout(Path(path), None if images is None else Path(images))
    source = layout.colors if palette is None else palette
    names, codes = [class_name], None  # every color is an instance
    if source is not None:
        colors = source if isinstance(source, Mapping) else _colors.read_labelmap(Path(source))
        names = [name for name in colors if name.lower() not in BACKGROUNDS]
        codes = {_code(rgb): name for name, rgb in colors.items()}
    class_ids = {name: number for number, name in enumerate(names, 1)}
    records = []
    for record, mask in _pairs(layout, Path(path)):
        found = _instances(record, mask, layout, codes, _code(background), split)
        record.instances = [
            Instance(class_ids[class_name if name is None else name], shape=shape, name=what)
            for name, what, shape in found
            if name is None or name in class_ids  # no background
        ]
        records.append(record)
    return Annotations(SOURCE, [(number, name) for name, number in class_ids.items()], records)


def write(annotations: Annotations, path: str | os.PathLike) -> None:
    """Writes labelmap.txt, `SegmentationClass`, `SegmentationObject` and a copy of the images.

    This is the layout that CVAT imports and exports. Where instances overlap, the smaller one is
    on top.

    Args:
        annotations: Annotations without crowds, with image files.
        path: str or path. The folder to write.

    Raises:
        ValueError: if an instance has no mask, lies wholly under others, or there is a crowd.
    """
    _folders.check_no_crowds(annotations, NAME)
    folder = Path(path)
    text = _colors.labelmap([str(name) for _, name in annotations.classes])
    images = _folders.by_stem(annotations)
    for stem, image in images.items():
        labels, instances = _folders.paint(image, NAME)
        numbers = np.arange(len(instances) + 2)
        numbers = numbers[numbers != VOID][: len(instances) + 1]
        class_ids = np.array([0, *(instance.class_id for instance in instances)])
        for name, values in (("Object", numbers), ("Class", class_ids)):
            table = np.array([_colors.voc_color(int(value)) for value in values], np.uint8)
            file = folder / f"Segmentation{name}" / f"{stem}.png"
            with atomic_path(file) as temporary:
                PillowImage.fromarray(table[labels]).save(temporary)
        _folders.copy_image(image, folder / "JPEGImages")
    write_text(folder / "ImageSets" / "Segmentation" / "default.txt", "\n".join([*images, ""]))
    write_text(folder / "labelmap.txt", text)


# --- Layout --------------------------------------------------------------------------------------
def _layout(path, images) -> _Layout:
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such folder. Check the path.")
    listed = [path / name for name in LISTS if (path / name).is_file()]
    colors = _folders.inside(listed[0], path) if listed else None
    classes = _folders.subfolder(path, "SegmentationClass")
    if classes is not None:
        instances = _folders.subfolder(path, "SegmentationObject")
        images = images or _folders.subfolder(path, "JPEGImages", "images")
        folders = [(images, instances or classes)]
        return _Layout(folders, classes if instances is not None else None, colors)
    masks = _folders.subfolder(path, "masks")
    if masks is not None:
        images = images or _folders.subfolder(path, "images")
        return _Layout([(images, masks)], colors=colors)
    if images is not None:
        return _Layout([(images, path)], colors=colors)
    pairs = [
        (_folders.subfolder(path, entry.name.removesuffix("annot")), _folders.inside(entry, path))
        for entry in sorted(path.iterdir())
        if entry.name.endswith("annot") and entry.is_dir()
    ]
    if colors is None or not pairs:
        raise ValueError(
            f"{path}: expected folders images and masks; or labelmap.txt and SegmentationClass; or "
            "label_colors.txt and a folder that ends with annot. If it holds the masks themselves, "
            "give the folder of their images as images=."
        )
    return _Layout(pairs, colors=colors)


def _pairs(layout, path):
    """Yields the record of each image, without instances, and its mask."""
    count = 0
    for images, masks in layout.folders:
        if images is None:
            raise FileNotFoundError(
                f"{path}: there is no folder of images beside {masks.name}. Give it as images=."
            )
        found: dict[str, Path] = {}
        for file in _folders.files_below(images):
            stem = file.relative_to(images).with_suffix("").as_posix()
            if stem in found:
                raise ValueError(f"{found[stem]} and {file} have the same name without suffix.")
            found[stem] = file
        for mask in _folders.files_below(masks):
            stem = mask.relative_to(masks).with_suffix("").as_posix()
            fitting = [stem.removesuffix(end) for end in ENDINGS if stem.endswith(end)]
            name = next((name for name in fitting if name in found), None)
            if name is None:
                raise FileNotFoundError(
                    f"{mask}: there is no image of this name in {images}. Add the image, or remove "
                    "the mask."
                )
            count += 1
            yield Image(name, str(found[name]), file=str(mask)), mask
    if not count:
        raise FileNotFoundError(f"{path}: there are no masks in it.")


def _has_colors(file):
    try:
        colors = _colors.read_colors(file)
    except (OSError, ValueError):
        return False
    return bool(((colors >> 8 ^ colors) & 0xFFFF).any())  # red, green and blue differ


# --- Colors --------------------------------------------------------------------------------------
def _code(rgb):
    values = [value for value in rgb if isinstance(value, (int, np.integer)) and 0 <= value <= 255]
    if len(values) != 3 or len(rgb) != 3:
        raise ValueError(f"A color is (red, green, blue) from 0 to 255, got {shorten(rgb)}.")
    return int(values[0]) << 16 | int(values[1]) << 8 | int(values[2])


def _rgb(code):
    return code >> 16, code >> 8 & 255, code & 255


def _instances(record, mask, layout, codes, background, split):
    """Yields (class name or None, label, shape) of each object of a mask."""
    if layout.classes is None:
        values = colors = _colors.read_colors(mask)
        nothing = [] if codes is not None and background in codes else [background]
        _check_colors(colors, codes, background, mask)
    else:
        values, nothing = _colors.read_numbers(mask), [0, VOID]
        colors = _colors.read_colors(layout.classes / mask.name)
        if colors.shape != values.shape:
            raise ValueError(f"{mask}: its size is not that of the file in {layout.classes.name}.")
    record.height, record.width = values.shape
    with reading(mask, "a color mask"):
        if split:
            from skimage.measure import label  # takes half a second to import

            # parts are numbered from 1
            values = np.where(np.isin(values, nothing), -1, values.astype(np.int32))
            values = label(values, background=-1, connectivity=2)
            nothing = [0]
        found = [region for region in regions(values) if region.value not in nothing]
        color_of = None if values is colors else most_frequent(values, colors)
    for region in found:
        color = region.value if color_of is None else color_of[region.value]
        name = f"color {_rgb(color)}" if layout.classes is None else f"region {region.value}"
        if codes is not None and color not in codes:
            folder = layout.classes.name
            reason = f"its color {_rgb(color)} in {folder} is not in the list of classes"
            raise broken(record, name, reason)
        yield None if codes is None else codes[color], name, region.shape


def _check_colors(colors, codes, background, mask):
    """Refuses colors that stand for no class, or for no object."""
    if codes is None:
        _check_solid(colors, background, mask)
        return
    unknown = set(distinct(colors)) - {background, *codes}
    if unknown:
        color = min(unknown)
        y, x = np.argwhere(colors == color)[0].tolist()
        raise ValueError(
            f"{mask}: the color {_rgb(color)} at row {y}, column {x} is not in the "
            "list of classes. Add it there; or, if the mask was smoothed or compressed with loss, "
            "export it again as PNG without smoothing."
        )


def _check_solid(colors, background, mask):
    """Refuses a mask with smoothed edges: each of their colors would be taken for an instance.

    A color is solid if it fills a square of 2x2 pixels somewhere. Smoothing adds colors that are
    not, and lie on the line between two that are.
    """
    corner = colors[:-1, :-1]
    filled = (corner == colors[1:, :-1]) & (corner == colors[:-1, 1:]) & (corner == colors[1:, 1:])
    solid = {background, *distinct(corner[filled])}
    thin = sorted(set(distinct(colors)) - solid)
    if len(thin) < max(2, len(solid)):
        return
    points = np.array([_rgb(color) for color in thin], np.float64)
    ends = np.array([_rgb(color) for color in sorted(solid)[:32]], np.float64)
    between = np.zeros(len(thin), bool)
    for index, start in enumerate(ends):
        for end in ends[index + 1 :]:
            line = end - start
            part = (points - start) @ line / (line @ line)
            apart = np.abs(points - start - part[:, None] * line).max(axis=1)
            between |= (apart <= 2) & (part > 0) & (part < 1)
    if between.sum() >= max(2, len(solid)) or len(thin) > max(32, 4 * len(solid)):
        raise ValueError(
            f"{mask}: {len(thin)} colors are found at edges only: the mask was smoothed "
            "(anti-aliased) or compressed with loss, so that they belong to no object. Export it "
            "again as PNG without smoothing."
        )
