"""Matterport's methods of `MaskRCNN`: folders, molded images, graph access, training by hand."""

from __future__ import annotations

import collections
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from mrcnn import dialects
from mrcnn.compat import detections as geometry
from mrcnn.compat import images
from mrcnn.compat.augment import augmenter
from mrcnn.compat.boxes import generate_pyramid_anchors, norm_boxes
from mrcnn.compat.generator import compute_backbone_shapes
from mrcnn.compat.images import as_images
from mrcnn.compat.inference_graph import OldNetwork, proposal_inputs, rpn_layers
from mrcnn.compat.keras_models import CheckpointPath, Graph, TrainingGraph
from mrcnn.data.dataset import Dataset
from mrcnn.folder import ModelFolder
from mrcnn.images.fit import FittedImage
from mrcnn.inference import detect as detection
from mrcnn.network.layers.basic import layer_weights
from mrcnn.network.layers.matterport import ProposalStages
from mrcnn.network.layers.regions import PerRegion
from mrcnn.network.mask_rcnn import Network
from mrcnn.training import fit as training
from mrcnn.training import stages

# ResNet-50 without its top, trained with caffe's preprocessing (BGR channels), as Keras first
# published it.
IMAGENET_URL = (
    "https://github.com/fchollet/deep-learning-models/releases/download/v0.2/"
    "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
)
IMAGENET_MD5 = "a268eb855778b3df3c7506639542a6af"

# The base class of the mixin below. It calls methods of `MaskRCNN`, which only `mrcnn.model` adds.
_Mixin: Any = object


def log(text: str, array: Any = None) -> None:
    """Prints a text and, for an array, its shape, minimum, maximum and dtype.

    Args:
        text: str. The text.
        array: array or None. Defaults to None: only the text is printed.
    """
    if array is not None:
        array = np.asarray(array)
        low, high = (f"{array.min():10.5f}", f"{array.max():10.5f}") if array.size else ("", "")
        text = f"{text:<25}shape: {array.shape!s:20}  min: {low:10}  max: {high:10}  {array.dtype}"
    print(text)


class OldMethods(_Mixin):
    """Mixin with what scripts and notebooks for Matterport's Mask_RCNN expect of a model.

    `mrcnn.model` mixes it into `models.mask_rcnn.MaskRCNN`. The model keeps the caller's own Config
    instead of a copy, since old scripts change it after the model is built.
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
        is_old = isinstance(self.network, OldNetwork)
        inner = self.network.inference if is_old else self.network.detector
        graph = Graph(inner.input, inner.output, name=inner.name)
        if not is_old:
            graph.further_layers = functools.cache(functools.partial(rpn_layers, self.network))
        return graph

    @property
    def predict(self) -> Callable:
        """The compiled detector.

        A function of images `[batch, height, width, channels]` and windows `[batch, 4]` that
        returns a dict of arrays.
        """
        predict = super().predict
        if not isinstance(self.network, OldNetwork):
            return predict
        return lambda pixels, windows: predict(*self._old_arrays(pixels, windows))

    def _old_arrays(self, pixels, windows):
        """Converts images and windows to the inputs of Matterport's graph."""
        shape, config = pixels.shape[1:], self.config
        metas = [geometry.image_meta(shape, shape, window, 1.0, config) for window in windows]
        return self._arrays(images.mold_image(pixels, config), np.stack(metas))

    def detect(self, images: Sequence[Any], verbose: int = 0, masks: str = "full") -> list[dict]:
        """Detects as `models.mask_rcnn.MaskRCNN.detect`.

        Args:
            images: list of arrays `[height, width, channels]`. Images from which the mean pixel was
                subtracted, as in old tutorials, are accepted too.
            verbose: int. 1 prints the number of images and the shape and range of each. Defaults
                to 0.
            masks: str. "full" or "rle". Defaults to "full".

        Returns:
            One dict per image.

        Raises:
            ValueError: `images` is one image instead of a list.
        """
        if verbose:
            log(f"Processing {len(images)} images")
            for image in images:
                log("image", image)
        return super().detect(as_images(images, self.config), masks)

    def train(
        self,
        train_dataset: Dataset,
        val_dataset: Dataset | None = None,
        learning_rate: float | None = None,
        epochs: int = 1,
        layers: str = "all",
        augmentation: Any = None,
        custom_callbacks: Sequence[keras.callbacks.Callback] | None = None,
        no_augmentation_sources: Sequence[str] | None = None,
        **options: Any,
    ) -> keras.callbacks.History:
        """Trains as `models.mask_rcnn.MaskRCNN.train`, which documents the other arguments.

        Args:
            train_dataset: Dataset. The training set.
            val_dataset: Dataset or None. The validation set. Defaults to None.
            learning_rate: float or None. Defaults to None: `LEARNING_RATE` of the Config.
            epochs: int. Total of epochs after this call. Defaults to 1.
            layers: str. "heads", "3+", "4+", "5+", "all" or a regular expression of layer names.
                Defaults to "all".
            augmentation: callable or None. An augmenter of `MaskRCNN.train` or of imgaug. Defaults
                to None.
            custom_callbacks: sequence of keras.callbacks.Callback or None. Defaults to None.
            no_augmentation_sources: sequence of str or None. Sources whose images are never
                augmented. Defaults to None.
            **options: passed to `MaskRCNN.train`.

        Returns:
            The History of Keras.
        """
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

    def load_weights(
        self,
        filepath: str | os.PathLike,
        by_name: bool = False,
        exclude: Sequence[str] | None = None,
    ) -> Any:
        """Loads weights as `models.mask_rcnn.MaskRCNN.load_weights`, always by name.

        Args:
            filepath: str or path. The weight file.
            by_name: bool. Not used. Defaults to False.
            exclude: sequence of str or None. Layers that are not loaded. Defaults to None.

        Returns:
            A `LoadReport`.
        """
        return super().load_weights(filepath, exclude=exclude)

    def find_last(self) -> str:
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
    def log_dir(self) -> str:
        """The path of the run folder."""
        return str(self.folder.path)

    @property
    def checkpoint_path(self) -> CheckpointPath:
        """Path of the checkpoints, with "{epoch:04d}" for the epoch."""
        name = f"mask_rcnn_{self.folder.name}_{{epoch:04d}}.h5"
        return CheckpointPath(self.folder.path / name)

    def set_log_dir(self, model_path: str | os.PathLike | None = None) -> None:
        """Starts a new run folder, or resumes the run of a checkpoint.

        The run folder is always in `model_dir`: the folder of a checkpoint elsewhere is only read.

        Args:
            model_path: str, path or None. A numbered checkpoint of this NAME. With any other file a
                new run starts. Defaults to None.
        """
        self.epoch, self.folder = 0, ModelFolder.new(self.model_dir, self.config.NAME)
        found = model_path and ModelFolder.of_checkpoint(model_path, self.config.NAME)
        if found:
            self._continue_from(None, *found)

    # --- Training by hand --------------------------------------------------------------------
    def set_trainable(
        self,
        layer_regex: str,
        keras_model: keras.Model | None = None,
        indent: int = 0,
        verbose: int = 1,
    ) -> None:
        """Makes the layers trainable whose full names match, and freezes all others.

        Args:
            layer_regex: str. A regular expression, or a name of `training.stages`.
            keras_model: keras.Model or None. Defaults to None: `keras_model` of this model.
            indent: int. Not used. Defaults to 0.
            verbose: int. 1 prints the names of the layers. Defaults to 1.
        """
        chosen = stages.select_layers(
            keras_model or self.keras_model, layer_regex, False, self.network.stages
        )
        if verbose:
            print("Selecting layers to train")
            print("\n".join(chosen))

    def compile(self, learning_rate: float, momentum: float) -> None:
        """Compiles `keras_model` for its own `fit`; `train` compiles it by itself.

        Args:
            learning_rate: float. Of stochastic gradient descent.
            momentum: float. Of stochastic gradient descent.
        """
        optimizer = keras.optimizers.SGD(
            learning_rate, momentum, global_clipnorm=self.config.GRADIENT_CLIP_NORM or None
        )
        self.keras_model.compile(optimizer=optimizer)

    def get_imagenet_weights(self) -> str:
        """Downloads a ResNet-50 trained on ImageNet, once; returns its path for `load_weights`."""
        return keras.utils.get_file(
            IMAGENET_URL.rsplit("/", 1)[1],
            IMAGENET_URL,
            cache_subdir="models",
            md5_hash=IMAGENET_MD5,
        )

    # --- Molded images -----------------------------------------------------------------------
    def mold_inputs(self, images: Sequence[Any]) -> tuple:
        """Calls `compat.detections.mold_inputs` with the Config of the model.

        Args:
            images: list of arrays `[height, width, channels]`.
        """
        return geometry.mold_inputs(images, self.config)

    def unmold_detections(
        self,
        detections: Any,
        mrcnn_mask: Any,
        original_image_shape: Sequence[int],
        image_shape: Sequence[int],
        window: Any,
    ) -> tuple:
        """Calls `compat.detections.unmold_detections`, which documents the arguments."""
        return geometry.unmold_detections(
            detections, mrcnn_mask, original_image_shape, image_shape, window
        )

    def detect_molded(self, molded_images: Any, image_metas: Any, verbose: int = 0) -> list[dict]:
        """Detects in images that are already scaled and padded.

        Args:
            molded_images: array `[N, height, width, channels]`, as `mold_inputs` returns them. For
                integer arrays the mean pixel is subtracted first.
            image_metas: array `[N, 12 + NUM_CLASSES]`.
            verbose: int. 1 prints the shapes and ranges of the inputs. Defaults to 0.

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
        # The molded image is its own original: scale 1, no padding.
        height, width = shape = molded_images.shape[1:3]
        fitted = FittedImage(molded_images[0], 1.0, (0, 0, height, width), (0, 0))
        frame, least = dialects.of(self.config).frame, self.config.DETECTION_MIN_CONFIDENCE
        found = [detection.above(outputs, row, least) for row in range(len(molded_images))]
        return [
            detection.to_result(one, *frame.restore(one, fitted, shape), shape) for one in found
        ]

    def _arrays(self, molded_images, image_metas):
        """Returns the inputs of the inference graph."""
        if not isinstance(self.network, OldNetwork):
            pixels = molded_images + np.asarray(self.config.MEAN_PIXEL)
            window = np.broadcast_to([0, 0, *pixels.shape[1:3]], (len(pixels), 4))
            return [pixels.astype("float32"), window.astype("float32")]
        anchors = self.get_anchors(molded_images.shape[1:])
        anchors = np.broadcast_to(anchors, (len(molded_images), *anchors.shape))
        arrays = molded_images, np.asarray(image_metas), anchors
        return [np.asarray(array, "float32") for array in arrays]

    def get_anchors(self, image_shape: Sequence[int]) -> np.ndarray:
        """Returns the normalized anchors of an image; sets `anchors` to those in pixels.

        Args:
            image_shape: (height, width, channels) of the molded image.

        Returns:
            float32 array `[num_anchors, 4]`.
        """
        cache = self.__dict__.setdefault("_anchor_cache", {})
        key = tuple(int(side) for side in image_shape)
        if key not in cache:
            config = self.config
            offset = dialects.of(config).anchors.offset * np.asarray(config.BACKBONE_STRIDES)
            ratios = config.RPN_ANCHOR_RATIOS
            if not dialects.of(config).anchors.ratio_is_width:
                ratios = [1 / ratio for ratio in ratios]
            levels = zip(
                config.RPN_ANCHOR_SCALES,
                compute_backbone_shapes(config, key),
                config.BACKBONE_STRIDES,
                offset,
                strict=True,
            )
            step = config.RPN_ANCHOR_STRIDE
            self.anchors = np.concatenate(
                [
                    generate_pyramid_anchors([scale], ratios, [shape], [stride], step) + shift
                    for scale, shape, stride, shift in levels
                ]
            )
            cache[key] = norm_boxes(self.anchors, (key[0], key[1]))
        return cache[key]

    # --- Graph access ------------------------------------------------------------------------
    def run_graph(
        self, images: Any, outputs: Any, image_metas: Any = None
    ) -> collections.OrderedDict[str, np.ndarray]:
        """Computes any tensors of the inference graph for some images.

        Args:
            images: list of arrays `[height, width, channels]`; with `image_metas`, molded images
                `[N, height, width, channels]`.
            outputs: list of (name, tensor). A tensor is, for example,
                ``model.keras_model.get_layer("rpn_class").output``.
            image_metas: array `[N, 12 + NUM_CLASSES]` or None. Of molded images. Defaults to None:
                the images are molded here.

        Returns:
            OrderedDict of arrays by name.

        Raises:
            ValueError: a tensor is None, or the model was not built for inference.
        """
        outputs = collections.OrderedDict(outputs)
        missing = [name for name, tensor in outputs.items() if tensor is None]
        if missing:
            raise ValueError(
                f"run_graph: there is no tensor for {', '.join(missing)}. Expected tensors of "
                "model.keras_model."
            )
        if self.mode != "inference":
            raise ValueError("run_graph requires a model with mode='inference'.")
        if image_metas is None:
            images, image_metas, _ = self.mold_inputs(images)
        graph = keras.Model(self.keras_model.inputs, list(outputs.values()))
        arrays = [np.asarray(a, "float32") for a in self._arrays(np.asarray(images), image_metas)]
        values = keras.tree.flatten(graph(arrays, training=False))  # one output comes without list
        results = collections.OrderedDict(
            (name, keras.ops.convert_to_numpy(value))
            for name, value in zip(outputs, values, strict=True)
        )
        for name, value in results.items():
            log(name, value)
        return results

    def ancestor(self, tensor: Any, name: str, checked: Any = None) -> Any:
        """Returns the tensor with a name of Matterport's graph, for `run_graph`.

        Args:
            tensor: not used: names are those of the inference graph.
            name: str. The name of a layer, or "ROI/" and one of pre_nms_anchors, refined_anchors,
                refined_anchors_clipped (boxes `[batch, n, 4]`, normalized in the Matterport
                dialect) and rpn_non_max_suppression (int32 `[n]`, the rows of these that were kept
                in the first image, best first).
            checked: not used. Defaults to None.

        Returns:
            The tensor, or None if there is none with this name.
        """
        layer, *rest = name.split(":")[0].split("/")
        if layer == "ROI" and rest:
            stages = ProposalStages(self.network.parts.proposals)(*proposal_inputs(self.network))
            return stages.get(rest[0])
        try:
            return self.keras_model.get_layer(layer).output
        except ValueError:
            return None

    def find_trainable_layer(self, layer: Any) -> Any:
        """Returns the layer inside a wrapper, or the layer itself.

        Args:
            layer: keras.Layer.
        """
        return self.find_trainable_layer(layer.layer) if isinstance(layer, PerRegion) else layer

    def get_trainable_layers(self) -> list:
        """Returns the layers with weights, without their wrappers; the RPN counts as one."""
        found = map(self.find_trainable_layer, self.keras_model.layers)
        return [layer for layer in found if layer_weights(layer)]
