"""Matterport's methods of `MaskRCNN`: folders, molded images, graph access, training by hand."""

from __future__ import annotations

import collections
import importlib.util
import logging
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from mrcnn import dialects
from mrcnn.compat import detections as geometry
from mrcnn.compat import images
from mrcnn.compat.augment import augmenter
from mrcnn.compat.boxes import generate_pyramid_anchors, norm_boxes
from mrcnn.compat.generator import compute_backbone_shapes, new_inputs
from mrcnn.compat.images import as_pictures
from mrcnn.compat.inference_graph import OldNetwork, proposal_inputs
from mrcnn.folder import ModelFolder
from mrcnn.images.fit import FittedImage
from mrcnn.inference import detect as detection
from mrcnn.network.layers.basic import layer_weights, leaf_layers
from mrcnn.network.layers.matterport import ProposalStages
from mrcnn.network.layers.regions import PerRegion
from mrcnn.network.mask_rcnn import Network
from mrcnn.training import fit as training
from mrcnn.training import stages
from mrcnn.weights import loading
from mrcnn.weights.files import h5

logger = logging.getLogger("mrcnn")

# ResNet-50 without its top, trained with caffe's preprocessing (channels BGR): Keras' first file.
IMAGENET_URL = (
    "https://github.com/fchollet/deep-learning-models/releases/download/v0.2/"
    "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
)
IMAGENET_MD5 = "a268eb855778b3df3c7506639542a6af"


def log(text, array=None):
    """Prints a text, and of an array its shape, least and greatest value, and dtype."""
    if array is not None:
        array = np.asarray(array)
        low, high = (f"{array.min():10.5f}", f"{array.max():10.5f}") if array.size else ("", "")
        text = f"{text:<25}shape: {array.shape!s:20}  min: {low:10}  max: {high:10}  {array.dtype}"
    print(text)


class OldMethods:
    """What scripts and notebooks written for Matterport's Mask_RCNN expect of a model.

    Mixed into `models.mask_rcnn.MaskRCNN` by the page of old names, `mrcnn.model`. The model keeps
    the Config of the caller, since old scripts change it after building.
    """

    def _own(self, config):
        """Returns the caller's Config itself, checked and completed."""
        config.resolve(dialects.named(config.NUMERICS).settings)
        return config

    def _network(self):
        old_inputs = self.mode == "inference" and dialects.of(self.config).normalized_boxes
        return OldNetwork(self.config) if old_inputs else Network(self.config)

    def _graph(self):
        if self.mode == "training":
            weights = self.config.LOSS_WEIGHTS
            graph = training.trainer(self.network.training, weights, TrainingGraph)
            graph.config = self.config
            return graph
        graph = self.network.detector
        if isinstance(self.network, OldNetwork):
            graph = self.network.inference
        return Graph(graph.input, graph.output, name=graph.name)

    @property
    def predict(self):
        """The compiled detector: images `[batch, H, W, C]` and windows to a dict of arrays."""
        predict = super().predict
        if not isinstance(self.network, OldNetwork):
            return predict
        return lambda pixels, windows: predict(*self._old_arrays(pixels, windows))

    def _old_arrays(self, pixels, windows):
        """Images and windows as inputs of the old graph."""
        shape, config = pixels.shape[1:], self.config
        metas = [geometry.image_meta(shape, shape, window, 1.0, config) for window in windows]
        return self._arrays(images.mold_image(pixels, config), np.stack(metas))

    def detect(self, images, verbose=0, masks="full"):
        """Detects as `models.mask_rcnn.MaskRCNN.detect`.

        Args:
            images: list of arrays. Images that lost their mean pixel, as in old tutorials, too.
            verbose: int. 1 prints the number of images and what each is like. Defaults to 0.
            masks: str. "full" or "rle". Defaults to "full".
        """
        if verbose:
            log(f"Processing {len(images)} images")
            for image in images:
                log("image", image)
        return super().detect(as_pictures(images, self.config), masks)

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
        **options,
    ):
        """Trains as `models.mask_rcnn.MaskRCNN.train`; `augmentation` may be imgaug's, too."""
        return super().train(
            train_dataset,
            val_dataset,
            learning_rate=learning_rate,
            epochs=epochs,
            layers=layers,
            augmentation=augmenter(augmentation),
            custom_callbacks=custom_callbacks,
            no_augmentation_sources=no_augmentation_sources,
            **options,
        )

    def load_weights(self, filepath, by_name=False, exclude=None):
        """Loads weights as `models.mask_rcnn.MaskRCNN.load_weights`, always by name."""
        return super().load_weights(filepath, exclude=exclude)

    def find_last(self):
        """Returns the path of the newest checkpoint of this NAME in `model_dir`.

        Raises:
            FileNotFoundError: there is none.
        """
        for run in reversed(ModelFolder.runs(self.model_dir, self.config.NAME)):
            for _, path in reversed(run.checkpoints()):
                return str(path)
        raise FileNotFoundError(
            f"No checkpoint mask_rcnn_*.h5 of NAME={self.config.NAME!r} under {self.model_dir!r}."
        )

    # --- Folders -----------------------------------------------------------------------------
    @property
    def log_dir(self):
        """The run folder, as text."""
        return str(self.folder.path)

    @property
    def checkpoint_path(self):
        """Path of the checkpoints, with "{epoch:04d}" for the epoch."""
        name = f"mask_rcnn_{self.folder.name}_{{epoch:04d}}.h5"
        return CheckpointPath(self.folder.path / name)

    def set_log_dir(self, model_path=None):
        """Starts a new run folder, or resumes that of a numbered checkpoint of this NAME.

        It is always in `model_dir`: the folder of a checkpoint elsewhere is only read.
        """
        self.epoch, self.folder = 0, ModelFolder.new(self.model_dir, self.config.NAME)
        found = model_path and ModelFolder.of_checkpoint(model_path, self.config.NAME)
        if found:
            self._continue_from(None, *found)

    # --- Training by hand --------------------------------------------------------------------
    def set_trainable(self, layer_regex, keras_model=None, indent=0, verbose=1):
        """Makes the layers trainable whose names match as a whole, and no others.

        Args:
            layer_regex: a regular expression, or a name of `train.STAGES`.
            keras_model: None: this one's.
            indent: unused.
            verbose: 1 prints the layers.
        """
        chosen = stages.select_layers(
            keras_model or self.keras_model, layer_regex, False, self.network.stages
        )
        if verbose:
            print("Selecting layers to train")
            print("\n".join(chosen))

    def compile(self, learning_rate, momentum):
        """Prepares `keras_model` for its own `fit`; `train` does so by itself."""
        optimizer = keras.optimizers.SGD(
            learning_rate, momentum, global_clipnorm=self.config.GRADIENT_CLIP_NORM or None
        )
        self.keras_model.compile(optimizer=optimizer)

    def get_imagenet_weights(self):
        """Downloads a ResNet-50 trained on ImageNet, once; returns its path for `load_weights`."""
        return keras.utils.get_file(
            IMAGENET_URL.rsplit("/", 1)[1], IMAGENET_URL, cache_subdir="models",
            md5_hash=IMAGENET_MD5,
        )  # fmt: skip

    # --- Molded images -----------------------------------------------------------------------
    def mold_inputs(self, images):
        """See `compat.detections.mold_inputs`."""
        return geometry.mold_inputs(images, self.config)

    def unmold_detections(self, detections, mrcnn_mask, original_image_shape, image_shape, window):
        """See `compat.detections.unmold_detections`."""
        return geometry.unmold_detections(
            detections, mrcnn_mask, original_image_shape, image_shape, window
        )

    def detect_molded(self, molded_images, image_metas, verbose=0):
        """`detect` on pictures that are scaled and padded already.

        Args:
            molded_images: [N, h, w, C] as `mold_inputs` makes them; integers are taken for pixels
                whose mean is still in them.
            image_metas: [N, 12 + NUM_CLASSES].
            verbose: 1 prints what comes in.

        Returns:
            As `detect`, in pixels of the molded images.
        """
        molded_images = np.asarray(molded_images)
        if np.issubdtype(molded_images.dtype, np.integer):
            molded_images = images.mold_image(molded_images, self.config)
        if verbose:
            log(f"Processing {len(molded_images)} images")
            log("molded_images", molded_images)
            log("image_metas", image_metas)
        predict = super().predict
        outputs = predict(*self._arrays(molded_images, image_metas))
        height, width = shape = molded_images.shape[1:3]
        fitted = FittedImage(molded_images[0], 1.0, (0, 0, height, width), (0, 0))
        frame, least = dialects.of(self.config).frame, self.config.DETECTION_MIN_CONFIDENCE
        found = [detection.above(outputs, row, least) for row in range(len(molded_images))]
        return [
            detection.to_result(one, *frame.restore(one, fitted, shape), shape) for one in found
        ]

    def _arrays(self, molded_images, image_metas):
        """The inputs of the inference graph."""
        if not isinstance(self.network, OldNetwork):
            pixels = molded_images + np.asarray(self.config.MEAN_PIXEL)
            window = np.broadcast_to([0, 0, *pixels.shape[1:3]], (len(pixels), 4))
            return [pixels.astype("float32"), window.astype("float32")]
        anchors = self.get_anchors(molded_images.shape[1:])
        anchors = np.broadcast_to(anchors, (len(molded_images), *anchors.shape))
        arrays = molded_images, np.asarray(image_metas), anchors
        return [np.asarray(array, "float32") for array in arrays]

    def get_anchors(self, image_shape):
        """Normalised anchors float32 [A, 4] of pictures (H, W, C); pixel ones go to `anchors`."""
        cache = self.__dict__.setdefault("_anchor_cache", {})
        key = tuple(int(side) for side in image_shape)
        if key not in cache:
            config = self.config
            offset = dialects.of(config).anchors.offset * np.asarray(config.BACKBONE_STRIDES)
            levels = zip(
                config.RPN_ANCHOR_SCALES, compute_backbone_shapes(config, key),
                config.BACKBONE_STRIDES, offset, strict=True,
            )  # fmt: skip
            ratios = config.RPN_ANCHOR_RATIOS
            if not dialects.of(config).anchors.ratio_is_width:
                ratios = [1 / ratio for ratio in ratios]
            self.anchors = np.concatenate(
                [generate_pyramid_anchors(
                    [scale], ratios, [shape], [stride], config.RPN_ANCHOR_STRIDE) + shift
                 for scale, shape, stride, shift in levels]
            )  # fmt: skip
            cache[key] = norm_boxes(self.anchors, key[:2])
        return cache[key]

    # --- Graph access ------------------------------------------------------------------------
    def run_graph(self, images, outputs, image_metas=None):
        """Values of any tensors of the inference graph for some pictures.

        Args:
            images: list of [H, W, C]; with `image_metas`, molded ones [N, h, w, C].
            outputs: list of (name, tensor), a tensor being such as
                ``model.keras_model.get_layer("rpn_class").output``.
            image_metas: of molded images; None: `images` are molded here.

        Returns:
            OrderedDict of arrays by name.
        """
        outputs = collections.OrderedDict(outputs)
        missing = [name for name, tensor in outputs.items() if tensor is None]
        if missing:
            raise ValueError(f"run_graph: there is no tensor for {', '.join(missing)}.")
        if self.mode != "inference":
            raise ValueError("run_graph needs a model made with mode='inference'.")
        if image_metas is None:
            images, image_metas, _ = self.mold_inputs(images)
        graph = keras.Model(self.keras_model.inputs, list(outputs.values()))
        arrays = [np.asarray(a, "float32") for a in self._arrays(np.asarray(images), image_metas)]
        values = graph(arrays, training=False)
        results = collections.OrderedDict(
            (name, keras.ops.convert_to_numpy(value))
            for name, value in zip(outputs, values, strict=True)
        )
        for name, value in results.items():
            log(name, value)
        return results

    def ancestor(self, tensor, name, checked=None):
        """The tensor behind a name of the old graph, for `run_graph`; None if there is none.

        Args:
            tensor: unused: names are those of the inference graph.
            name: a layer's, or "ROI/" and one of pre_nms_anchors, refined_anchors,
                refined_anchors_clipped (boxes [batch, n, 4], normalized in the Matterport dialect)
                and rpn_non_max_suppression (rows of these that were kept in the first image, best
                first, int32 [n]).
            checked: unused.
        """
        layer, *rest = name.split(":")[0].split("/")
        if layer == "ROI" and rest:
            stages = ProposalStages(self.network.parts.proposals)(*proposal_inputs(self.network))
            return stages.get(rest[0])
        known = {layer.name: layer for layer in self.keras_model.layers}
        return known[layer].output if layer in known else None

    def find_trainable_layer(self, layer):
        """The layer inside a wrapper, or the layer itself."""
        return self.find_trainable_layer(layer.layer) if isinstance(layer, PerRegion) else layer

    def get_trainable_layers(self):
        """Layers with weights, without their wrappers; the RPN counts as one."""
        found = map(self.find_trainable_layer, self.keras_model.layers)
        return [layer for layer in found if layer_weights(layer)]


class OldFiles:
    """Makes a Keras model write and read weights in files of Matterport's layout, too."""

    def save_weights(self, filepath, overwrite=True, **kwargs):
        """As Keras'; a file .h5 that is not .weights.h5 is written in Matterport's layout."""
        if not _is_old_file(filepath):
            return super().save_weights(filepath, overwrite, **kwargs)
        if not overwrite and Path(filepath).exists():
            raise FileExistsError(f"{filepath} is there already: overwrite=True replaces it.")
        return h5.write_weights(filepath, leaf_layers(self))

    def load_weights(self, filepath, skip_mismatch=False, by_name=True, **kwargs):
        """As Keras'; a file .h5 that is not .weights.h5 is read by `weights.loading`."""
        if not _is_old_file(filepath):
            return super().load_weights(filepath, skip_mismatch=skip_mismatch, **kwargs)
        return loading.load_weights(filepath, leaf_layers(self), **kwargs)


def _is_old_file(path):
    return str(path).endswith(".h5") and not str(path).endswith(".weights.h5")


class CheckpointPath(str):
    """The path of checkpoints in Matterport's layout, which Keras' ModelCheckpoint accepts.

    `ModelCheckpoint(..., save_weights_only=True)` of Keras 3 asks whether the path ends with
    ".weights.h5", since Keras' own layout needs that. `OldFiles.save_weights` writes any .h5 file.
    """

    def endswith(self, suffix, *span) -> bool:
        """Returns as `str.endswith`, and True for ".weights.h5"."""
        return suffix == ".weights.h5" or super().endswith(suffix, *span)


def _usable(callbacks):
    """The callbacks that can work here: TensorFlow no longer installs TensorBoard."""
    listed = list(callbacks) if isinstance(callbacks, (list, tuple)) else callbacks
    if not isinstance(listed, list) or importlib.util.find_spec("tensorboard"):
        return listed
    kept = [one for one in listed if not isinstance(one, keras.callbacks.TensorBoard)]
    if len(kept) < len(listed):
        logger.warning("TensorBoard is not installed, so its callback is left out.")
    return kept


@keras.saving.register_keras_serializable("mrcnn")
class Graph(OldFiles, keras.Model):
    """The inference graph."""


@keras.saving.register_keras_serializable("mrcnn")
class TrainingGraph(OldFiles, training.Trainer):
    """The training graph. Its `fit` takes the batches of `data_generator`, too.

    Attributes:
        config: Config or None. Of the model; None in a graph that was opened by Keras.
    """

    config = None

    def fit(self, x=None, *args, **options):
        """Trains as `keras.Model.fit`; arguments that Keras 3 no longer has are ignored.

        Args:
            x: as in Keras, or a generator of Matterport's batches; see `compat.generator`.
            *args: as in Keras.
            **options: as in Keras and in `fit_generator` of old.
        """
        for name in ("max_queue_size", "workers", "use_multiprocessing", "pickle_safe"):
            options.pop(name, None)
        if isinstance(x, Iterator):
            options["shuffle"] = False  # the generator does that
        if "validation_data" in options:
            options["validation_data"] = self._new_batches(options["validation_data"])
        if "callbacks" in options:
            options["callbacks"] = _usable(options["callbacks"])
        return super().fit(self._new_batches(x), *args, **options)

    def fit_generator(self, generator, steps_per_epoch=None, epochs=1, **options):
        """Trains as `fit`, by the name that it had for generators."""
        return self.fit(generator, steps_per_epoch=steps_per_epoch, epochs=epochs, **options)

    def _new_batches(self, batches):
        """The batches of a generator as the training graph takes them; other data as it is."""
        if not isinstance(batches, Iterator):
            return batches
        if self.config is None:
            raise ValueError(
                "A graph that was opened by keras.models.load_model knows no Config to read the "
                "batches of data_generator with: load the weights into MaskRCNN('training', ...)."
            )
        config = self.config  # not `self`: TensorFlow holds generators until the process ends
        return ((new_inputs(inputs, config),) for inputs, _ in batches)
