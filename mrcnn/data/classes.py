"""Classes of two data sets, or of a model and a data set, matched by their names."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn.data.check import _check_prepared
from mrcnn.data.dataset import Dataset

logger = logging.getLogger("mrcnn")


def match_classes(ours: Sequence[str], theirs: Sequence[str]) -> dict[int, int]:
    """Finds the class ids that stand for the same class.

    Names decide, in whatever order they are listed. Only where there are none to compare, numbers
    do: if one side is named "class 1", "class 2", ... as a model that was never told, or if both
    have a single class, which is the same whatever it is called.

    Args:
        ours: sequence of str. Class names by id, the background first.
        theirs: sequence of str. The same of the other side.

    Returns:
        dict of class ids of `theirs` by those of `ours`, without the background.

    Raises:
        ValueError: if both have names, and not one in common.
    """
    if len(ours) == len(theirs) == 2 or _unnamed(ours) or _unnamed(theirs):
        return {number: number for number in range(1, min(len(ours), len(theirs)))}
    known = {key: number for number, key in enumerate(_keys(theirs), 1)}
    found = {n: known[key] for n, key in enumerate(_keys(ours), 1) if key in known}
    if not found and len(ours) > 1 and len(theirs) > 1:
        raise ValueError(
            f"No class has the same name: {_listed(ours[1:])} here, and {_listed(theirs[1:])} "
            "there. Use data of the same classes, or rename them."
        )
    return found


def _unnamed(names):
    return len(names) > 1 and all(name == f"class {n}" for n, name in enumerate(names[1:], 1))


def _keys(names):
    """The names without the background; of equal ones, the first matches the first, and so on."""
    seen: Counter = Counter()
    for name in names[1:]:
        seen[name] += 1
        yield name, seen[name]


def _listed(names):
    return ", ".join(map(str, names[:10])) + ", ..." * (len(names) > 10)


def left_out(names: Sequence[str], kept: Any) -> str:
    """Returns the names of the classes that are not among the ids `kept`, "" if there are none."""
    return _listed([name for n, name in enumerate(names) if n and n not in set(kept)])


def with_classes(dataset: Dataset, class_names: Sequence[str], name: str = "dataset") -> Dataset:
    """Returns a dataset in the class ids of another one, matched by name.

    It warns (logger "mrcnn") of classes that the other one does not have; their instances are left
    out.

    Args:
        dataset: Dataset. A prepared one; it stays as it is.
        class_names: sequence of str. The wanted classes by id, the background first.
        name: str. The name of the argument, for the warning. Defaults to "dataset".

    Returns:
        `dataset` itself where its class ids are right already.

    Raises:
        ValueError: if the dataset is not prepared or empty, or no class has the same name.
    """
    _check_prepared(dataset, name)
    ids = match_classes(dataset.class_names, class_names)
    if all(ids.get(number) == number for number in range(1, len(dataset.class_names))):
        return dataset
    if missing := left_out(dataset.class_names, ids):
        logger.warning(
            "%s: its classes %s are not among the classes of the training data (%s): their "
            "instances are left out.",
            name,
            missing,
            _listed(class_names[1:]),
        )
    return _Relabeled(dataset, class_names, ids)


class _Relabeled(Dataset):
    """A dataset that returns the instances of another one with other class ids."""

    def __init__(self, base, class_names, ids):
        super().__init__()
        self.base = base
        self.ids = np.zeros(len(base.class_names), np.int64)  # 0: left out
        self.ids[list(ids)] = list(ids.values())
        infos = {new: base.class_info[old] for old, new in ids.items()}
        for number, name in enumerate(class_names[1:], 1):
            info = infos.get(number, {"source": "", "id": number})
            self.class_info.append({**info, "name": name})
        self.image_info = base.image_info
        self.prepare()

    def has(self, ability: str) -> bool:
        return self.base.has(ability)

    def image_reference(self, image_id: int) -> str:
        return self.base.image_reference(image_id)

    def load_image(self, image_id: int) -> np.ndarray:
        return self.base.load_image(image_id)

    def check_shapes(self) -> None:
        self.base.check_shapes()

    def _translated(self, class_ids):
        """Returns which instances are kept, and their class ids."""
        class_ids = np.asarray(class_ids).reshape(-1)
        new = np.sign(class_ids) * self.ids[np.abs(class_ids)]
        return np.flatnonzero(new), new[new != 0].astype(np.int32)

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        masks, class_ids = self.base.load_mask(image_id)
        kept, class_ids = self._translated(class_ids)
        return masks[..., kept], class_ids

    def load_boxes(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        boxes, class_ids = self.base.load_boxes(image_id)
        kept, class_ids = self._translated(class_ids)
        return np.asarray(boxes)[kept], class_ids

    def load_instances(self, image_id: int) -> tuple[list[dict], np.ndarray, np.ndarray]:
        rles, boxes, class_ids = self.base.load_instances(image_id)
        kept, class_ids = self._translated(class_ids)
        return [rles[n] for n in kept], boxes[kept], class_ids

    def load_label(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        labels, class_ids = self.base.load_label(image_id)
        kept, new = self._translated(class_ids)
        numbers = np.zeros(len(class_ids) + 1, np.int32)
        numbers[kept + 1] = np.arange(1, len(kept) + 1)
        return numbers[labels], new
