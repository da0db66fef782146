"""MaskRCNN, the user's object: build, train, detect, evaluate, save and load."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras

from mrcnn import dialects, runtime
from mrcnn.config import Config
from mrcnn.data.classes import left_out, match_classes
from mrcnn.data.dataset import Dataset
from mrcnn.evaluation import coco as evaluation
from mrcnn.evaluation.report import Evaluation
from mrcnn.exports import torchvision
from mrcnn.folder import ModelFolder, read_config
from mrcnn.inference import compiled
from mrcnn.inference import detect as detection
from mrcnn.models import copies
from mrcnn.network.mask_rcnn import Network
from mrcnn.training import fit as training
from mrcnn.training import resume as resuming
from mrcnn.training import run as training_run
from mrcnn.weights import loading
from mrcnn.weights.download import path_or_download
from mrcnn.weights.loading import LoadReport
from mrcnn.weights.source import Source, open_source

logger = logging.getLogger("mrcnn")

ASSETS = Path(__file__).parent.parent / "assets"
MODES = ("training", "inference")


class MaskRCNN:
    """A Mask R-CNN: NumPy in, NumPy out.

    Args:
        mode: str. "training" or "inference". Both modes can detect; training needs "training".
        config: Config or a subclass of it. The model keeps a copy, in which its values are checked.
        model_dir: str or path. Folder of the run folders. Defaults to "runs".

    Attributes:
        config: Config. The model's own copy, with the defaults of its dialect.
        network: Network. The graphs.
        keras_model: keras.Model. The graph of the mode.
        class_names: list of str. Names by class id, the background first; set by training and
            loading.
        epoch: int. Epochs that are completed.
        folder: ModelFolder. The run folder, which is made when something is first written.

    Raises:
        ValueError: an unknown mode, or a Config value out of range.
    """

    def __init__(
        self, mode: str, config: Config | type[Config], model_dir: str | os.PathLike = "runs"
    ):
        if mode not in MODES:
            raise ValueError(f"mode must be 'training' or 'inference', got {mode!r}.")
        config = config() if isinstance(config, type) else config
        config = self._own(config)
        if mode == "training" and config.SEED is not None:
            runtime.compute_serially()
        self.model_dir = os.fspath(model_dir)
        self.keras_model = self.build(mode, config)
        self.class_names = ["BG"] + [f"class {i}" for i in range(1, config.NUM_CLASSES)]
        self.epoch = 0
        self.folder = ModelFolder.new(self.model_dir, config.NAME)
        self._optimizer_file: Path | None = None  # has the optimizer's state of a resumed run

    # --- Opening and saving ------------------------------------------------------------------
    @classmethod
    def load(cls, folder: str | os.PathLike, mode: str = "inference", **overrides: Any) -> MaskRCNN:
        """Opens a model folder; nothing else is needed.

        Args:
            folder: str or path. A run folder, or a folder written by `save`.
            mode: str. "training" resumes from the newest checkpoint, "inference" takes the best
                weights. Defaults to "inference".
            **overrides: Settings to change, such as ``DETECTION_MIN_CONFIDENCE=0.5``.

        Raises:
            FileNotFoundError: no such folder, or no config.json or weights in it.
            ValueError: a damaged file, or weights that lack a layer.
        """
        path = Path(folder)
        if not (path / "config.json").is_file():
            raise FileNotFoundError(
                f"{path} is not a model folder: it has no config.json. Give the folder that "
                "train() or save() wrote."
            )
        config = read_config(path)
        for name, value in overrides.items():
            setattr(config, name, value)
        model = cls(mode, config, model_dir=path.parent)
        opened = ModelFolder(path, config.NAME)
        model.class_names = opened.class_names() or model.class_names
        if mode == "training" and opened.checkpoints():
            newest = resuming.read_newest(opened, model.read_checkpoint)
            if opened.stages():
                model.folder, (model.epoch, model._optimizer_file) = opened, newest
        else:
            model.read_checkpoint(opened.weights())
        return model

    @classmethod
    def from_weights(
        cls,
        path: str | os.PathLike,
        mode: str = "inference",
        model_dir: str | os.PathLike = "runs",
        exclude: Sequence[str] | None = None,
        **overrides: Any,
    ) -> MaskRCNN:
        """Builds the network that a weight file is of, ready to detect.

        Args:
            path: str or path. A file of torchvision or Detectron2 (.pth, .pt, .pkl, .safetensors)
                or Matterport (.h5); the name of published weights, see `weights.download.known`; or
                a model folder, which `load` opens, ignoring `model_dir` and `exclude`.
            mode: str. As in the constructor. Defaults to "inference".
            model_dir: str or path. As in the constructor. Defaults to "runs".
            exclude: sequence of str or None. Layers that keep their random weights, as when
                `NUM_CLASSES` is overridden. Defaults to None.
            **overrides: Settings to change. ``NUMERICS="detectron2_x"`` is for a network whose
                ResNet came from PyTorch or Caffe2, ``BATCH_NORM_EPSILON=1e-5`` for a torchvision
                network whose frozen normalization has that epsilon, not 0 as the published one.

        Raises:
            FileNotFoundError: no such file, and no published weights of that name.
            ValueError: the file is damaged, of another network, or incomplete.
        """
        path = path_or_download(path)
        if path.is_dir():
            return cls.load(path, mode, **overrides)
        with open_source(path) as source:
            if "NUM_CLASSES" not in source.settings:
                raise ValueError(
                    f"{path} does not say what network it is of. MaskRCNN.load opens the folder "
                    "that train() or save() wrote; load_weights reads a file into a model."
                )
            name = re.sub(r"[^\w-]+", "_", path.stem)[:40]  # a NAME has at most 120 bytes
            settings = {"NAME": name, "NUMERICS": source.dialect} | source.settings | overrides
            model = cls(mode, Config(**settings), model_dir)
            loading.load(source, model.network.layers, exclude, complete=True)
            if source.class_names and len(source.class_names) == model.config.NUM_CLASSES:
                model.class_names = list(source.class_names)
        return model

    @classmethod
    def demo(cls, mode: str = "inference", **overrides: Any) -> MaskRCNN:
        """Opens the small model that comes with the package; it knows shapes and coins.

        Args:
            mode: str. As in the constructor. Defaults to "inference".
            **overrides: Settings to change.
        """
        model = cls.load(ASSETS / "demo", mode, **overrides)
        model.model_dir = "runs"
        model.folder = ModelFolder.new("runs", model.config.NAME)
        return model

    def save(self, folder: str | os.PathLike) -> None:
        """Writes config.json, classes.json and weights.h5 into a folder, which `load` opens.

        Args:
            folder: str or path. Made if it does not exist.
        """
        target = ModelFolder(folder, self.config.NAME)
        target.describe(self.config, self.class_names)
        training_run.write_weights(self, target.path / "weights.h5", self.epoch)

    def save_torchvision(self, path: str | os.PathLike) -> None:
        """Writes the weights for torchvision; see `exports.torchvision.write`.

        Args:
            path: str or path. The .safetensors file.
        """
        torchvision.write(self, path)

    def load_weights(
        self,
        filepath: str | os.PathLike,
        exclude: Sequence[str] | None = None,
        resume: bool = True,
    ) -> LoadReport:
        """Loads weights by layer name.

        If `NUMERICS` is "auto", the model adopts the dialect of the file and every network setting
        implied by the file that you have not set yourself.

        Args:
            filepath: str or path. An .h5 file of this package or Matterport's, a file of
                torchvision or Detectron2 (.pth, .pt, .pkl, .safetensors), or a model folder.
            exclude: sequence of str or None. Names of layers to leave as they are, such as the
                heads if the classes differ. Defaults to None.
            resume: bool. If the file is a numbered checkpoint of a run with this NAME and nothing
                is excluded, a model in training mode continues that run from its epoch. Defaults
                to True.

        Returns:
            The report: loaded, missing, unexpected and mismatched tensors by name.

        Raises:
            FileNotFoundError: no such file, or no weights in the folder.
            ValueError: a damaged file, or one that does not fit the network.
        """
        path = Path(filepath)
        if path.is_dir():
            path = ModelFolder(path, self.config.NAME).weights()
        report = self._read(path, exclude)
        found = ModelFolder.of_checkpoint(path, self.config.NAME)
        if resume and found and not exclude and self.mode == "training":
            self._continue_from(path, *found)
        return report

    def read_checkpoint(self, path: str | os.PathLike) -> None:
        """Loads all weights from a file, and refuses one that lacks a layer.

        Args:
            path: str or path.

        Raises:
            FileNotFoundError: no such file.
            ValueError: a damaged or incomplete file, or one that does not fit the network.
        """
        self._read(Path(path), exclude=None, complete=True)

    def _read(self, path, exclude, complete=False) -> LoadReport:
        if not path.is_file():
            raise FileNotFoundError(f"No weights file {path}.")
        with open_source(path) as source:
            self._adopt(source)
            return loading.load(source, self.network.layers, exclude, complete=complete)

    def _continue_from(self, path, run, epoch):
        """Continues the run of a numbered checkpoint: with its epoch, in a folder of its name."""
        self.epoch, self._optimizer_file = epoch, path
        # Always in `model_dir`: the folder of a checkpoint elsewhere is only read.
        self.folder = run.in_parent(self.model_dir)
        logger.warning("Resuming %s after epoch %d.", self.folder.path, self.epoch)

    def _adopt(self, source: Source):
        """Builds the network again as a file tells, where the Config leaves that open."""
        config, trained = self.config, source.dialect
        if trained and not dialects.fit(config.NUMERICS, trained):
            logger.warning(
                "%s was trained in the dialect %r, but NUMERICS = %r: its results will differ.",
                source.path,
                trained,
                config.NUMERICS,
            )
            return
        before = config.to_dict()
        if trained and config.NUMERICS == "auto":
            config.NUMERICS = trained
        own = ("NUM_CLASSES", "USE_MASKS")
        config.adopt({name: v for name, v in source.settings.items() if name not in own})
        if config.to_dict() != before:
            self.keras_model = self.build(self.mode, config)

    # --- Building ----------------------------------------------------------------------------
    def _own(self, config: Config) -> Config:
        """The Config that the model works with: a checked copy."""
        return config.resolved(dialects.named(config.NUMERICS).settings)

    def build(self, mode: str, config: Config) -> keras.Model:
        """Builds the network of a Config.

        Args:
            mode: str. "training" or "inference".
            config: Config. The model's own.

        Returns:
            The graph of the mode, for `keras_model`.
        """
        config.resolve(dialects.named(config.NUMERICS).settings)
        self.mode, self.config = mode, config
        self._predict: Callable | None = None
        self.devices = runtime.devices_scope(config.GPU_COUNT if mode == "training" else 1)
        with runtime.building, runtime.seeded(config.SEED), self.devices():
            self.network = self._network()
            return self._graph()

    def _network(self) -> Network:
        return Network(self.config)

    def _graph(self) -> keras.Model:
        if self.mode == "training":
            return training.trainer(self.network.training, self.config.LOSS_WEIGHTS)
        return self.network.detector

    def __reduce__(self):
        """Makes pickle and copy.deepcopy work; see `models.copies`."""
        return copies.reduce(self)

    # --- Training ----------------------------------------------------------------------------
    def train(
        self,
        train_dataset: Dataset,
        val_dataset: Dataset | None = None,
        learning_rate: float | None = None,
        epochs: int = 1,
        layers: str = "all",
        augmentation: Callable | None = None,
        custom_callbacks: Sequence[keras.callbacks.Callback] | None = None,
        no_augmentation_sources: Sequence[str] | None = None,
        resume: bool | str = "auto",
        verbose: int | str = 1,
    ) -> keras.callbacks.History:
        """Trains up to a number of epochs, counted over all calls.

        A script that was killed resumes from its last completed epoch when it runs again, with the
        same epoch numbers, schedule and optimizer state. Calls that are finished are passed over.

        Args:
            train_dataset: Dataset. Prepared.
            val_dataset: Dataset or None. For the validation loss and COCO AP. Defaults to None.
            learning_rate: float or None. Defaults to None: `LEARNING_RATE`.
            epochs: int. Total of epochs after this call. Defaults to 1.
            layers: str. "heads", "3+", "4+", "5+", "all" or a regular expression of layer names.
                Defaults to "all".
            augmentation: callable or None. An `Augmenter`, or any function of (image, masks).
                Defaults to None: `AUGMENTATION` of the Config.
            custom_callbacks: sequence of keras.callbacks.Callback or None. Called when the
                checkpoint of an epoch is written; their logs include the AP. Defaults to None.
            no_augmentation_sources: sequence of str or None. Sources whose images are never
                augmented. Defaults to None.
            resume: bool or str. "auto" resumes an interrupted run of this NAME, Config, data and
                arguments in `model_dir` if there is one. True requires one. False starts a new run.
                Defaults to "auto".
            verbose: int or str. As in Keras' `fit`. Defaults to 1: a progress bar.

        Returns:
            The History of Keras.

        Raises:
            ValueError: not in training mode, data that do not fit, or a damaged run folder.
            FileNotFoundError: `resume` is True, and there is no interrupted run.
            FolderInUseError: another training uses the run folder.
        """
        return training_run.train(
            self,
            train_dataset,
            val_dataset,
            {"epochs": epochs, "layers": layers, "learning_rate": learning_rate},
            resume=resume,
            callbacks=custom_callbacks or (),
            verbose=verbose,
            augmentation=augmentation,
            plain_sources=no_augmentation_sources or (),
        )

    # --- Detection and evaluation ------------------------------------------------------------
    def detect(self, images: Sequence[Any], masks: str = "full") -> list[dict]:
        """Detects objects in any number of images of any sizes.

        Args:
            images: sequence of arrays `[height, width]` or `[height, width, channels]`, RGB or
                gray, uint8, uint16, or float in 0..255.
            masks: str. "full" for bool masks, "rle" for COCO run-length codes. Defaults to "full".

        Returns:
            One dict per image, best detection first: `rois` int32 `[N, 4]` (y1, x1, y2, x2, upper
            bounds exclusive), `class_ids` int32 `[N]`, `scores` float32 `[N]`, `boxes` float32
            `[N, 4]` (the rois before rounding), and `masks` bool `[height, width, N]` or `rles`.

        Raises:
            ValueError: a single image instead of a list, or one that the network cannot take.
        """
        return detection.detect(self.predict, images, self.config, masks)

    @property
    def predict(self) -> Callable:
        """The compiled detector: images `[batch, H, W, C]` and windows to a dict of arrays."""
        if self._predict is None:
            self._predict = compiled.compiled(self.network.detector)
        return self._predict

    def evaluate(
        self,
        dataset: Dataset,
        limit: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Evaluation:
        """Computes COCO AP and pooled scores on a data set.

        Every detection counts, whatever `DETECTION_MIN_CONFIDENCE` is: AP needs the whole ranking.
        Classes are matched by name; those that the model does not know are not scored, and a
        warning names them.

        Args:
            dataset: Dataset. Prepared.
            limit: int or None. Number of images to use. Defaults to None: all.
            progress: callable or None. Called with the number of images that were just done.
                Defaults to None.

        Returns:
            The `Evaluation`.
        """
        theirs = list(dataset.class_names)
        class_ids = match_classes(self.class_names, theirs)
        known = set(class_ids.values())
        if unknown := left_out(theirs, known):
            logger.warning("The model does not know the classes %s: they are not scored.", unknown)
        image_ids = list(dataset.image_ids)[:limit]
        results = []
        for start in range(0, len(image_ids), self.config.BATCH_SIZE):
            chunk = image_ids[start : start + self.config.BATCH_SIZE]
            images = [dataset.load_image(image_id) for image_id in chunk]
            results += detection.detect(self.predict, images, self.config, "rle", min_score=0.0)
            if progress:
                progress(len(chunk))
        results = [detection.in_classes(result, class_ids) for result in results]
        return evaluation.evaluate(dataset, results, image_ids, class_ids=known)
