"""MaskRCNN, the user's object: build, train, detect, evaluate, save and load."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

import keras

from mrcnn import plots, runtime
from mrcnn.compat import detections as matterport
from mrcnn.compat.augment import augmenter
from mrcnn.compat.images import as_pictures
from mrcnn.compat.model import Graph, OldMethods, TrainingGraph, log
from mrcnn.config import Config
from mrcnn.data.augment import Augmenter
from mrcnn.data.batches import Batches
from mrcnn.data.check import check_dataset
from mrcnn.dialects import SETTINGS, dialect
from mrcnn.evaluation import coco as evaluation
from mrcnn.evaluation import report
from mrcnn.exports.torchvision import write_torchvision
from mrcnn.folder import ModelFolder
from mrcnn.inference import compiled
from mrcnn.inference import detect as detection
from mrcnn.network.layers.basic import leaf_layers
from mrcnn.network.mask_rcnn import build_network
from mrcnn.training import fit as training
from mrcnn.training.recorder import Recorder
from mrcnn.training.schedule import build_optimizer
from mrcnn.training.stages import select_layers
from mrcnn.weights import loading
from mrcnn.weights.download import path_or_download
from mrcnn.weights.files import h5
from mrcnn.weights.loading import LoadReport
from mrcnn.weights.source import open_source

logger = logging.getLogger("mrcnn")

ASSETS = Path(__file__).parent.parent / "assets"


class MaskRCNN(OldMethods):
    """A Mask R-CNN: NumPy in, NumPy out.

    Args:
        mode: "training" or "inference". Both graphs exist in either; training needs "training".
        config: a `Config` or a subclass; its values are checked here.
        model_dir: folder that holds the run folders.

    Attributes:
        config: the Config.
        keras_model: the graph of the mode, a functional `keras.Model`.
        class_names: names by class id, background first; set by training and loading.
        epoch: epochs finished.
        log_dir: the run folder, as text.

    Raises:
        ValueError: a mode that does not exist, or a Config value out of range.
    """

    def __init__(self, mode, config, model_dir="runs"):
        if mode not in ("training", "inference"):
            raise ValueError(f"mode must be 'training' or 'inference', got {mode!r}.")
        config = config() if isinstance(config, type) else config
        config.resolve(SETTINGS.get(config.NUMERICS))
        self.model_dir = os.fspath(model_dir)
        if config.SEED is not None:
            seed = runtime.make_repeatable if mode == "training" else keras.utils.set_random_seed
            seed(config.SEED)
        self.keras_model = self.build(mode, config)
        self.class_names = ["BG"] + [f"class {i}" for i in range(1, config.NUM_CLASSES)]
        self.epoch = 0
        self.folder = ModelFolder.new(self.model_dir, config.NAME)
        self._optimizer_file = None  # where the state of the optimizer is, when training goes on

    # --- Opening and saving ------------------------------------------------------------------
    @classmethod
    def load(cls, folder, mode="inference", **overrides) -> MaskRCNN:
        """Opens a model folder; nothing else is needed.

        Args:
            folder: a run folder, or one written by `save`.
            mode: "training" goes on from the newest checkpoint, "inference" takes the best weights.
            **overrides: settings to change, as ``DETECTION_MIN_CONFIDENCE=0.5``.

        Raises:
            FileNotFoundError: no such folder, or no config.json or weights in it.
        """
        path = Path(folder)
        if not (path / "config.json").is_file():
            raise FileNotFoundError(
                f"{path} is not a model folder: it has no config.json. Give the folder that "
                "train() or save() wrote."
            )
        config = Config.from_json(path / "config.json")
        for name, value in overrides.items():
            setattr(config, name, value)
        model = cls(mode, config, model_dir=path.parent)
        opened = ModelFolder(path, config.NAME)
        model.class_names = opened.class_names() or model.class_names
        weights = opened.weights(latest=mode == "training")
        model.load_weights(weights, go_on=False)
        if mode == "training" and opened.stages():
            model._adopt(opened)
        return model

    @classmethod
    def from_weights(
        cls, path, mode="inference", model_dir="runs", exclude=None, **overrides
    ) -> MaskRCNN:
        """A model for a file of weights, its network as the file tells, ready to detect.

        Args:
            path: a file of torchvision or Detectron2 (.pth, .pt, .pkl, .safetensors) or an .h5 file
                of Matterport's; the name of published weights, see `weights.download.known`; or a
                model folder, which `load` opens, whatever `model_dir` and `exclude` say.
            mode: as in the constructor.
            model_dir: as in the constructor.
            exclude: layers that start anew, as where NUM_CLASSES is overridden.
            **overrides: settings to change; ``NUMERICS="detectron2_x"`` for a network whose ResNet
                came from PyTorch or Caffe2, ``BATCH_NORM_EPSILON=1e-5`` for one of torchvision
                whose frozen normalisation has that, not 0 as the published one.

        Raises:
            FileNotFoundError: no such file, nor published weights of that name.
            ValueError: the file is damaged, of another network, or not whole.
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
            name = re.sub(r"[^\w-]+", "_", path.stem)
            settings = {"NAME": name, "NUMERICS": source.dialect} | source.settings | overrides
            model = cls(mode, Config(**settings), model_dir)
            report = loading.load(source, leaf_layers(model.network.training), exclude)
            if report.missing:
                raise ValueError(
                    f"{path} is not whole: it has nothing for {', '.join(report.missing[:8])}."
                )
            if source.class_names and len(source.class_names) == model.config.NUM_CLASSES:
                model.class_names = list(source.class_names)
        return model

    @classmethod
    def demo(cls, mode="inference", **overrides) -> MaskRCNN:
        """The small model that comes with the package: shapes and coins, 12 MB at most."""
        model = cls.load(ASSETS / "demo", mode, **overrides)
        model.model_dir = "runs"
        model.folder = ModelFolder.new("runs", model.config.NAME)
        return model

    def save(self, folder):
        """Writes config.json, classes.json and weights.h5 into a folder, to be opened by `load`."""
        target = ModelFolder(folder, self.config.NAME)
        target.describe(self.config, self.class_names)
        self._write_weights(target.path / "weights.h5", self.epoch, False)

    def save_torchvision(self, path):
        """Writes the weights for torchvision, see `weights.exporting.write_torchvision`."""
        write_torchvision(path, leaf_layers(self.network.training), self.config)

    def load_weights(self, filepath, by_name=False, exclude=None, go_on=True) -> LoadReport:
        """Loads weights by layer name.

        A Config whose NUMERICS is "auto" takes on the dialect of the file, and what else the file
        says of its network, where nothing else was set.

        Args:
            filepath: an .h5 file of this package or of Matterport's, a file of torchvision or
                Detectron2 (.pth, .pt, .pkl, .safetensors), or a model folder.
            by_name: for old scripts; weights are always matched by name.
            exclude: names of layers to leave as they are, such as the heads when classes differ.
            go_on: training goes on in the run that the file is a numbered checkpoint of, if it is
                one of this NAME and nothing is excluded: with its epoch, see `set_log_dir`.

        Returns:
            The report: loaded, missing, unexpected and mismatched tensors by name.
        """
        path = Path(filepath)
        if path.is_dir():
            path = ModelFolder(path, self.config.NAME).weights()
        if not path.is_file():
            raise FileNotFoundError(f"No weights file {path}.")
        with open_source(path) as source:
            self._take_on(source)
            report = loading.load(source, leaf_layers(self.network.training), exclude)
        is_checkpoint = ModelFolder.of_checkpoint(path, self.config.NAME) is not None
        if go_on and is_checkpoint and not exclude and self.mode == "training":
            self.set_log_dir(path)
            self._optimizer_file = path
        return report

    def _take_on(self, source):
        """Builds the network anew as a file tells, where the Config leaves that open."""
        config, trained = self.config, source.dialect
        if trained and config.NUMERICS not in ("auto", trained, f"{trained}_x"):
            logger.warning(
                "%s was trained in the arithmetic %r, but NUMERICS = %r: its results will differ.",
                source.path, trained, config.NUMERICS,
            )  # fmt: skip
            return
        before = config.to_dict()
        if trained and config.NUMERICS == "auto":
            config.NUMERICS = trained
        own = ("NUM_CLASSES", "USE_MASKS")
        config.adopt({name: v for name, v in source.settings.items() if name not in own})
        if config.to_dict() != before:
            self.keras_model = self.build(self.mode, config)

    def build(self, mode, config) -> keras.Model:
        """Builds the graphs of a checked Config, whose dialect may bring defaults along.

        Returns:
            The graph of the mode, for `keras_model`.
        """
        config.resolve(SETTINGS.get(config.NUMERICS))
        self.mode, self.config, self._predict = mode, config, None
        self._devices = runtime.devices_scope(config.GPU_COUNT if mode == "training" else 1)
        with self._devices():
            self.network = build_network(config, mode)
            if mode == "training":
                return training.trainer(self.network.training, config.LOSS_WEIGHTS, TrainingGraph)
            graph = self.network.inference
            return Graph(graph.input, graph.output, name=graph.name)

    def find_last(self) -> str:
        """Path of the newest checkpoint of this NAME in model_dir.

        Raises:
            FileNotFoundError: there is none.
        """
        for run in reversed(ModelFolder.runs(self.model_dir, self.config.NAME)):
            for _, path in reversed(run.checkpoints()):
                return str(path)
        raise FileNotFoundError(
            f"No checkpoint mask_rcnn_*.h5 of NAME={self.config.NAME!r} under {self.model_dir!r}."
        )

    # --- Training ----------------------------------------------------------------------------
    def train(
        self,
        train_dataset,
        val_dataset=None,
        learning_rate=None,
        epochs=1,
        layers="all",
        augmentation=None,
        custom_callbacks=None,
        no_augmentation_sources=None,
        resume="auto",
        verbose=1,
    ):
        """Trains up to a number of epochs, counted over all calls.

        A training that was killed goes on where its last finished epoch ended, with the same epoch
        numbers, schedule and optimizer state, when the same script runs again.

        Args:
            train_dataset: a prepared `Dataset`.
            val_dataset: another, for the validation loss and COCO AP; None: no validation.
            learning_rate: None: LEARNING_RATE.
            epochs: total of epochs after this call.
            layers: "heads", "3+", "4+", "5+", "all" or a regular expression of layer names.
            augmentation: None (AUGMENTATION of the Config), an `Augmenter`, any function of
                (image, masks), or an augmenter of imgaug, where that is installed.
            custom_callbacks: Keras callbacks, called when the checkpoint of an epoch is written;
                their logs hold the AP of an evaluation, too.
            no_augmentation_sources: sources whose images are never augmented.
            resume: "auto": go on with an interrupted run of this NAME, Config and arguments in
                model_dir, if there is one; True: there must be one; False: start a new run.
            verbose: of Keras' fit: 0 silent, 1 progress bar, 2 one line an epoch.

        Returns:
            The Keras History.

        Raises:
            ValueError: not in training mode, or data that does not fit the Config.
        """
        if self.mode != "training":
            raise ValueError(
                "train() needs a model made with mode='training'; this one is 'inference'."
            )
        check_dataset(train_dataset, self.config)
        if val_dataset is not None:
            check_dataset(val_dataset, self.config, name="val_dataset")
        rate = self.config.LEARNING_RATE if learning_rate is None else learning_rate
        stage = {"epochs": epochs, "layers": layers, "learning_rate": rate,
                 "images": len(train_dataset.image_ids)}  # fmt: skip
        if self.epoch == 0 and resume:
            self._resume(stage, required=resume is True)
        if epochs <= self.epoch:
            logger.warning(
                "Nothing to train: %d epochs are done, and epochs=%d is the total.",
                self.epoch,
                epochs,
            )
            return keras.callbacks.History()
        self.class_names = list(train_dataset.class_names)
        self.folder.describe(self.config, self.class_names)
        if augmentation is None and self.config.AUGMENTATION:
            augmentation = Augmenter(**self.config.AUGMENTATION)
        batches = Batches(
            train_dataset, self.config, augmenter(augmentation), shuffle=True,
            seed=self.config.SEED or 0, steps=self.config.STEPS_PER_EPOCH,
            plain_sources=no_augmentation_sources or (),
        )  # fmt: skip
        return self._fit(batches, val_dataset, stage, custom_callbacks or [], verbose)

    def _fit(self, batches, val_dataset, stage, custom_callbacks, verbose):
        config, epochs = self.config, stage["epochs"]
        val_batches = val_dataset and Batches(
            val_dataset, config, shuffle=False, seed=0, steps=config.VALIDATION_STEPS
        )
        stages = [s for s in self.folder.stages() if s["start"] < self.epoch]
        goes_on = bool(stages) and {k: stages[-1][k] for k in stage} == stage
        # More epochs of the same layers at a constant rate: the optimizer need not start anew.
        constant = config.LR_SCHEDULE == "constant" and not config.WARMUP_STEPS
        prolongs = constant and bool(stages) and stages[-1]["layers"] == stage["layers"]
        if not goes_on:
            stages.append(stage | {"start": self.epoch, "finished": False})
        self.folder.write_stages(stages)
        model = self.keras_model
        chosen = select_layers(model, stage["layers"], config.BACKBONE_NORM == "frozen")
        logger.info("Training %d layers (%s).", len(chosen), stage["layers"])
        steps = len(batches) * max(epochs - stages[-1]["start"], 1)
        with self._devices():
            optimizer = build_optimizer(
                config, stage["learning_rate"], steps, model.trainable_variables
            )
            model.compile(optimizer=optimizer, jit_compile=config.JIT_COMPILE)
        if self._optimizer_file and (goes_on or prolongs):
            h5.load_optimizer(self._optimizer_file, optimizer, learning_rate=goes_on)
        self._optimizer_file = None
        recorder = Recorder(
            self.folder,
            lambda path, epoch, whole: self._checkpoint(path, epoch, optimizer if whole else None),
            plots.plot_history,
            val_dataset and (lambda: self._validate(val_dataset)),
            config.EVALUATE_EVERY,
            epochs,
            config.CHECKPOINTS_TO_KEEP,
        )
        try:
            history = training.fit(
                model, config, batches, val_batches, self.epoch, epochs,
                [recorder, *custom_callbacks], verbose,
            )  # fmt: skip
        except KeyboardInterrupt:
            logger.warning(
                "Interrupted after epoch %d. %s is whole; the same call goes on from there.",
                self.epoch, self.folder.path,
            )  # fmt: skip
            raise
        stages[-1]["finished"] = True
        self.folder.write_stages(stages)
        return history

    def _resume(self, stage, required):
        """Adopts the newest interrupted run that this call could have started."""
        settings = self.config.to_dict()
        for run in reversed(ModelFolder.runs(self.model_dir, self.config.NAME)):
            stages = run.stages()
            started = any({k: s.get(k) for k in stage} == stage for s in stages)
            interrupted = stages and not stages[-1]["finished"]
            if started and interrupted and run.checkpoints() and _settings(run) == settings:
                self.load_weights(run.checkpoints()[-1][1], go_on=False)
                self._adopt(run)
                logger.warning(
                    "Going on with %s after epoch %d. resume=False starts anew.",
                    run.path,
                    self.epoch,
                )
                return
        if required:
            raise FileNotFoundError(
                f"resume=True, but {self.model_dir!r} holds no interrupted run of "
                f"NAME={self.config.NAME!r} with this Config and these arguments."
            )

    def _adopt(self, run):
        self.folder = run
        numbered = run.checkpoints()
        if numbered:
            self.epoch, self._optimizer_file = numbered[-1]

    def _checkpoint(self, path, epoch, optimizer):
        self._write_weights(path, epoch, optimizer)
        if optimizer is not None:
            self.epoch = epoch
            for _, older in self.folder.checkpoints()[-2:-1]:  # training goes on from the newest
                try:
                    h5.drop_optimizer(older)
                except (OSError, ValueError) as error:  # it only takes more room
                    logger.warning("The optimizer's state stays in an old checkpoint: %s", error)

    def _write_weights(self, path, epoch, optimizer):
        h5.write_weights(
            path,
            leaf_layers(self.network.training),
            optimizer=optimizer or None,
            metadata={
                "epoch": epoch,
                "name": self.config.NAME,
                "classes": self.class_names,
                "numerics": self.config.NUMERICS,
                "batch_norm_epsilon": self.config.BATCH_NORM_EPSILON,
            },
        )

    def _validate(self, dataset) -> dict:
        result = self.evaluate(dataset)
        metrics = {"val_box_AP": result.bbox["AP"], "val_box_AP50": result.bbox["AP50"]}
        if result.segm is not None:
            metrics |= {"val_mask_AP": result.segm["AP"], "val_mask_AP50": result.segm["AP50"]}
        return metrics

    # --- Detection and evaluation ------------------------------------------------------------
    def detect(self, images, verbose=0, masks="full") -> list[dict]:
        """Detects objects in any number of images of any sizes.

        Args:
            images: list of arrays [height, width(, channels)], RGB or grey, uint8, uint16, or
                float in 0..255.
            verbose: 1 prints the number of images and what each is like.
            masks: "full" or "rle", see `mrcnn.detect.detect`.

        Returns:
            One dict an image: `rois` int32 [N, 4] (y1, x1, y2, x2, upper bounds exclusive),
            `class_ids` int32 [N], `scores` float32 [N], `boxes` float32 [N, 4] (the rois before
            they were rounded), `masks` bool [height, width, N] (or `rles`), best first.
        """
        if verbose:
            log(f"Processing {len(images)} images")
            for image in images:
                log("image", image)
        images = as_pictures(images, self.config)
        return detection.detect(self.predict, images, self.config, masks, geometry=self._geometry)

    @property
    def _geometry(self):
        numerics = dialect(self.config.NUMERICS)
        if numerics.molded_images:
            return matterport.geometry(self.config, self.get_anchors)
        return detection.geometry_of(numerics)

    @property
    def predict(self):
        """The compiled inference graph: pixels [batch, H, W, C] to a dict of arrays."""
        if self._predict is None:
            self._predict = compiled.compiled(self.network.detector)
        return self._predict

    def evaluate(self, dataset, limit=None, progress=None) -> report.Evaluation:
        """COCO AP and pooled scores on a data set.

        Every detection counts whatever DETECTION_MIN_CONFIDENCE says: AP needs the whole ranking.
        Classes are those of the data set, see `detect.in_classes`.

        Args:
            dataset: a prepared `Dataset`.
            limit: images used; None: all.
            progress: function called with the number of images that were just done.
        """
        image_ids = list(dataset.image_ids)[:limit]
        results = []
        for start in range(0, len(image_ids), self.config.BATCH_SIZE):
            chunk = image_ids[start : start + self.config.BATCH_SIZE]
            images = [dataset.load_image(image_id) for image_id in chunk]
            results += detection.detect(
                self.predict, images, self.config, "rle", 0.0, self._geometry
            )
            if progress:
                progress(len(chunk))
        theirs = list(dataset.class_names)
        results = [detection.in_classes(result, self.class_names, theirs) for result in results]
        return evaluation.evaluate(dataset, results, image_ids)


def _settings(run):
    return Config.from_json(run.path / "config.json").to_dict()
