"""From a Dataset to batches: load, check, augment, scale and crop, boxes from masks, padding.

Every batch is a pure function of seed, epoch and index, so that the number of worker threads and
their timing change nothing.
"""

from __future__ import annotations

import logging

import keras
import numpy as np

from mrcnn import batch as contract
from mrcnn.data.check import _check_prepared
from mrcnn.data.sample import _IMAGE, _ORDER, load_sample

logger = logging.getLogger("mrcnn")


class Batches(keras.utils.PyDataset):
    """Training batches of a dataset; `batch.py` says what one holds.

    Without `steps` an epoch holds every image exactly once; the last batch may be smaller. With
    `steps` an epoch is so many full batches, and the epochs go on through one permutation of the
    images after another. Call `fit` with ``shuffle=False``: the order is made here.

    Args:
        dataset: a prepared Dataset.
        config: a Config.
        augmentation: None, an Augmenter, or a callable (image, masks) -> (image, masks).
        shuffle: another order and other augmentation each pass; otherwise every pass is the same.
        seed: of order, crops and augmentation; None: a new one each time.
        steps: batches an epoch; None: one pass over the images.
        plain_sources: sources whose images are never augmented.
        drop_remainder: leave out a smaller last batch.

    Attributes:
        epoch: number of the epoch from 0; set it to resume.

    Raises:
        ValueError: the dataset is empty or not prepared.
    """

    def __init__(
        self,
        dataset,
        config,
        augmentation=None,
        shuffle=True,
        seed=0,
        steps=None,
        drop_remainder=False,
        plain_sources=(),
    ):
        super().__init__(workers=config.DATA_WORKERS, use_multiprocessing=False)
        _check_prepared(dataset)
        if drop_remainder and steps is None and dataset.num_images < config.BATCH_SIZE:
            raise ValueError(
                f"drop_remainder leaves no batch: {dataset.num_images} images, batches of "
                f"{config.BATCH_SIZE}. Use fewer IMAGES_PER_GPU or drop_remainder=False."
            )
        self.dataset, self.config, self.augmentation = dataset, config, augmentation
        self.shuffle, self.steps, self.drop_remainder = shuffle, steps, drop_remainder
        self.plain_sources = set(plain_sources)
        self.seed = int(np.random.SeedSequence().entropy % 2**63) if seed is None else int(seed)
        self.epoch = 0
        self._begun = False

    def __len__(self):
        if self.steps is not None:
            return self.steps
        images, size = self.dataset.num_images, self.config.BATCH_SIZE
        return images // size if self.drop_remainder else -(-images // size)

    def __getitem__(self, index) -> dict:
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        return self.get(self.epoch, index)

    def on_epoch_begin(self):
        """Marks the epoch as begun; Keras calls it."""
        self._begun = True

    def on_epoch_end(self):
        """Goes on to the next epoch; Keras calls it, and once more before the first epoch."""
        self.epoch += self._begun
        self._begun = False

    def follow_fit(self) -> keras.callbacks.Callback:
        """A callback that sets `epoch` to that of `fit` at every start of an epoch.

        Keras may begin and end an epoch to build an unbuilt model: with the callback that does no
        harm, and a resumed training sees the images of an unbroken one.
        """
        return keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: setattr(self, "epoch", epoch)
        )

    def get(self, epoch: int, index: int) -> dict:
        """The batch `index` of an epoch: a dict of arrays, see `batch.py`."""
        samples = [
            load_sample(
                self.dataset,
                self.config,
                image_id,
                self._augmentation_of(image_id),
                np.random.default_rng([self.seed, _IMAGE, turn, int(image_id)]),
            )
            for turn, image_id in self.plan(epoch, index)
        ]
        shapes = {sample[contract.IMAGE].shape for sample in samples}
        if len(shapes) > 1:
            raise ValueError(
                f"IMAGE_RESIZE_MODE = {self.config.IMAGE_RESIZE_MODE!r} gave images of different "
                f"shapes in one batch: {sorted(shapes)}. Use 'square' or 'crop' to train, or "
                "IMAGES_PER_GPU = 1."
            )
        return {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}

    def _augmentation_of(self, image_id):
        plain = self.dataset.image_info[image_id]["source"] in self.plain_sources
        return None if plain else self.augmentation

    def plan(self, epoch: int, index: int) -> list[tuple[int, int]]:
        """Which images a batch holds: (number of the pass, image id) in order."""
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
