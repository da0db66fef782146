"""Splits images into parts, such as training and validation, with the classes alike in each."""

from __future__ import annotations

import copy
import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np

from mrcnn.data.annotations import Image
from mrcnn.data.dataset import Dataset


def split(
    whole: Dataset, share: float, seed: int, groups: Sequence[Hashable] | None = None
) -> tuple[Dataset, Dataset | None]:
    """Holds back a share of the images for validation.

    Where the classes of the images are known without decoding masks, the held images have about
    the same share of every class. Equal image files stay together.

    Args:
        whole: Dataset. A prepared one; it stays as it is.
        share: float in 0..1. The share of images to hold back.
        seed: int. The same seed holds back the same images.
        groups: sequence or None. What each image belongs to, such as a patient or a video; images
            of one group stay together. Defaults to None: each image is one of its own.

    Returns:
        (train, val): prepared datasets of at least one image each; or `whole` and None if `share`
        is 0 or there is a single image.
    """
    count = len(whole.image_ids)
    if share <= 0 or count < 2:
        return whole, None
    images = [info.get("record") for info in whole.image_info]
    contents = [Counter() if image is None else classes_in(image) for image in images]
    paths = [info["path"] for info in whole.image_info]
    units = join_groups(same_files(paths), groups)
    parts = assign(contents, [1 - share, share], seed, units)
    if len(set(parts.tolist())) < 2:  # a single group
        return whole, None
    train, val = (np.flatnonzero(parts == part) for part in range(2))
    return _subset(whole, train), _subset(whole, val)


def assign(
    contents: Sequence[Counter],
    shares: Sequence[float],
    seed: int,
    groups: Sequence[Hashable] | None = None,
) -> np.ndarray:
    """Assigns images to parts so that each part has about its share of every class.

    The rarest class comes first, and each image with it goes where most of the class is missing,
    as in Sechidis et al., "On the stratification of multi-label data", 2011.

    Args:
        contents: list of Counter. Number of objects of each class in each image.
        shares: list of float. The share of images of each part; they sum to 1. Every part with a
            share gets at least one image, if there are enough.
        seed: int. The same seed gives the same parts.
        groups: sequence or None. Images of equal entries go to the same part. Defaults to None:
            each image is a group of its own.

    Returns:
        int [num_images]. The part of each image.
    """
    count = len(contents)
    groups = list(range(count)) if groups is None else list(groups)
    members = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    units = list(members.values())
    units = [units[index] for index in np.random.default_rng(seed).permutation(len(units))]
    objects = [sum((contents[index] for index in unit), Counter()) for unit in units]
    room = _rooms(count, shares)
    totals = sum(objects, Counter())
    missing = {label: np.array(shares) * total for label, total in totals.items()}
    parts = np.zeros(count, int)
    for unit, inside in _rarest_first(units, objects):
        label = min(inside, key=lambda name: (totals[name], str(name)), default=None)
        wanted = room.astype(float) if label is None else missing[label]
        # a part that is full takes no more, unless all are: a group can be larger than the room
        order = np.lexsort([-room, -wanted, room < min(len(unit), max(room.max(), 0))])
        part = int(order[0])
        parts[unit] = part
        room[part] -= len(unit)
        for name, number in inside.items():
            missing[name][part] -= number
    for part in np.flatnonzero(np.array(shares) > 0).tolist():
        if part not in parts:  # groups larger than its room: it gets the smallest of all
            largest = int(np.bincount(parts).argmax())
            own = [unit for unit in units if parts[unit[0]] == largest]
            if len(own) > 1:
                parts[min(own, key=len)] = part
    return parts


def classes_in(image: Image) -> Counter:
    """Counts the objects of each class in an image, crowds left out."""
    return Counter(instance.class_id for instance in image.instances if not instance.crowd)


def same_files(paths: Sequence[str | os.PathLike | None]) -> list[Hashable]:
    """Returns for each path a number that equal files share.

    Only files of equal size are read, so this is quick for honest data.
    """
    sizes = [os.path.getsize(path) if path and os.path.isfile(path) else None for path in paths]
    repeated = {size for size, times in Counter(sizes).items() if size is not None and times > 1}
    first: dict[Hashable, int] = {}
    found: list[Hashable] = []
    for index, (path, size) in enumerate(zip(paths, sizes, strict=True)):
        if path is None or size not in repeated:
            found.append(index)
        else:
            digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            found.append(first.setdefault(digest, index))
    return found


def join_groups(first: Sequence[Hashable], second: Sequence[Hashable] | None) -> list[Hashable]:
    """Joins two groupings: images that are together in either are together.

    Args:
        first: sequence. A group per image.
        second: sequence or None. Another group per image.
    """
    if second is None:
        return list(first)
    parent = list(range(len(first)))

    def root(index):
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for groups in (first, second):
        seen: dict[Hashable, int] = {}
        for index, group in enumerate(groups):
            parent[root(index)] = root(seen.setdefault(group, index))
    return [root(index) for index in range(len(first))]


def _rooms(count, shares):
    """Returns how many images each part takes, at least one where there is a share."""
    room = np.floor(np.array(shares) * count + 0.5).astype(int)
    room[(room == 0) & (np.array(shares) > 0)] = 1
    room[int(np.argmax(shares))] += count - room.sum()
    return room


def _rarest_first(units, objects):
    """Orders the units by their rarest class; those without objects come last."""
    totals = sum(objects, Counter())
    rarest = [min((totals[label] for label in inside), default=float("inf")) for inside in objects]
    order = sorted(range(len(units)), key=lambda index: (rarest[index], -len(units[index])))
    return [(units[index], objects[index]) for index in order]


def _subset(whole, image_ids):
    part = copy.copy(whole)
    part.image_info = [whole.image_info[i] for i in image_ids]
    part.prepare()
    return part
