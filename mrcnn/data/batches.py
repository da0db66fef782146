"""Batches of a Dataset for training.

Each batch depends only on the seed, the epoch and its index, so the number of worker threads and
their timing change nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from mrcnn import batch as contract
from mrcnn.data.check import _check_prepared, warn_of_left_out
from mrcnn.data.dataset import Dataset
from mrcnn.data.sample import _IMAGE, _ORDER, load_sample

logger = logging.getLogger("mrcnn")


class Batches(keras.utils.PyDataset):
    """Training batches of a dataset; `batch.py` describes what one holds.

    Without `steps`, an epoch holds every image exactly once, and the last batch may be smaller.
    With `steps`, an epoch has that number of full batches, and the epochs continue through one
    permutation of the images after another. Call `fit` with `shuffle=False`, because the order is
    made here.

    Args:
        dataset: Dataset. A prepared one.
        config: Config.
        augmentation: Augmenter, or a callable `(image, masks) -> (image, masks)`. Defaults to None.
        shuffle: bool. Whether each pass over the images has its own order and augmentation;
            otherwise all passes are the same. Defaults to True.
        seed: int. Seed of the order, crops and augmentation. None draws a new one. Defaults to 0.
        steps: int. Batches per epoch. Defaults to None: one pass over the images.
        drop_remainder: bool. Whether to leave out a smaller last batch. Defaults to False.
        plain_sources: sequence of str. Sources whose images are never augmented. Defaults to ().

    Attributes:
        epoch: int. Number of the epoch, from 0. Set it to resume.

    Raises:
        ValueError: if the dataset is empty or not prepared.
    """

    def __init__(
        self,
        dataset: Dataset,
        config: Any,
        augmentation: Any = None,
        shuffle: bool = True,
        seed: int | None = 0,
        steps: int | None = None,
        drop_remainder: bool = False,
        plain_sources: Sequence[str] = (),
    ):
        super().__init__(workers=config.DATA_WORKERS, use_multiprocessing=False)
        _check_prepared(dataset)
        if drop_remainder and steps is None and dataset.num_images < config.BATCH_SIZE:
            raise ValueError(
                f"drop_remainder leaves no batch: {dataset.num_images} images, batches of "
                f"{config.BATCH_SIZE}. Use fewer IMAGES_PER_GPU or drop_remainder=False."
            )
        self.dataset = dataset
        self.config = config
        self.augmentation = augmentation
        self.shuffle = shuffle
        self.steps = steps
        self.drop_remainder = drop_remainder
        self.plain_sources = set(plain_sources)
        if seed is None:
            entropy: Any = np.random.SeedSequence().entropy
            seed = entropy % 2**63
        self.seed = int(seed)
        self.epoch = 0
        self._begun = False

    def __len__(self):
        if self.steps is not None:
            return self.steps
        images, size = self.dataset.num_images, self.config.BATCH_SIZE
        return images // size if self.drop_remainder else -(-images // size)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        return self.get(self.epoch, index)

    def on_epoch_begin(self) -> None:
        """Marks the epoch as begun. Keras calls it."""
        self._begun = True

    def on_epoch_end(self) -> None:
        """Moves to the next epoch. Keras calls it, also once before the first epoch."""
        self.epoch += self._begun
        self._begun = False

    def follow_fit(self) -> keras.callbacks.Callback:
        """Returns a callback that sets `epoch` to the epoch of `fit` at the start of each.

        Keras may begin and end an epoch to build an unbuilt model. With the callback this does no
        harm, and a resumed training sees the same images as one that was not interrupted.
        """
        return keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: setattr(self, "epoch", epoch)
        )

    def get(self, epoch: int, index: int) -> dict[str, np.ndarray]:
        """Makes one batch.

        Args:
            epoch: int. Number of the epoch, from 0.
            index: int. Number of the batch in the epoch, from 0.

        Returns:
            dict of arrays; see `batch.py`.

        Raises:
            ValueError: if the images of the batch have different shapes, or one cannot be used.
        """
        samples = [self._sample(turn, image_id) for turn, image_id in self.plan(epoch, index)]
        shapes = {sample[contract.IMAGE].shape for sample in samples}
        if len(shapes) > 1:
            raise ValueError(
                f"IMAGE_RESIZE_MODE = {self.config.IMAGE_RESIZE_MODE!r} gave images of different "
                f"shapes in one batch: {sorted(shapes)}. Use 'square' or 'crop' to train, or "
                "IMAGES_PER_GPU = 1."
            )
        return {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}

    def _sample(self, turn, image_id):
        sample = load_sample(
            self.dataset,
            self.config,
            image_id,
            self._augmentation_of(image_id),
            np.random.default_rng([self.seed, _IMAGE, turn, int(image_id)]),
        )
        warn_of_left_out(self.dataset, self.config, image_id, sample[contract.LEFT_OUT])
        return sample

    def _augmentation_of(self, image_id):
        plain = self.dataset.image_info[image_id]["source"] in self.plain_sources
        return None if plain else self.augmentation

    def plan(self, epoch: int, index: int) -> list[tuple[int, int]]:
        """Returns the images of a batch, in order, as (number of the pass, image id)."""
        size, images = self.config.BATCH_SIZE, self.dataset.num_images
        if self.steps is None:
            first = epoch * images + index * size
            last = min(first + size, (epoch + 1) * images)
        else:
            first = (epoch * self.steps + index) * size
            last = first + size
        places = [divmod(position, images) for position in range(first, last)]
        orders = {turn: self._order(turn) for turn in {turn for turn, _ in places}}
        return [(turn if self.shuffle else 0, int(orders[turn][place])) for turn, place in places]

    def _order(self, turn):
        image_ids = np.asarray(self.dataset.image_ids)
        if not self.shuffle:
            return image_ids
        return np.random.default_rng([self.seed, _ORDER, turn]).permutation(image_ids)
