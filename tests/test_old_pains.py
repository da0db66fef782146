"""Problems that users of Matterport's Mask_RCNN had, one test per problem."""

import numpy as np
import pytest
from tiny import TinyConfig

import mrcnn.model as modellib
from mrcnn import utils, visualize
from mrcnn.data.batches import Batches
from mrcnn.weights.files import h5


class Blocks(utils.Dataset):
    """Images with a number of square objects in rows, and masks of a given dtype."""

    def __init__(self, count=6, objects=2, side=12, size=64, dtype=bool, channels=3):
        super().__init__()
        self.objects, self.side, self.size = objects, side, size
        self.dtype, self.channels = dtype, channels
        self.add_class("blocks", 1, "block")
        for i in range(count):
            self.add_image("blocks", i, path=None)
        self.prepare()

    def load_image(self, image_id):
        rng = np.random.default_rng(image_id)
        shape = (self.size, self.size, self.channels)
        image = rng.integers(0, 50, shape[: 2 if self.channels == 1 else 3], dtype=np.uint8)
        for y, x in self.corners():
            image[y : y + self.side, x : x + self.side] = 200
        return image

    def corners(self):
        step = self.side + 1
        places = [
            (y, x)
            for y in range(1, self.size - self.side, step)
            for x in range(1, self.size - self.side, step)
        ]
        return places[: self.objects]

    def load_mask(self, image_id):
        masks = np.zeros((self.size, self.size, self.objects), self.dtype)
        for i, (y, x) in enumerate(self.corners()):
            masks[y : y + self.side, x : x + self.side, i] = 1
        return masks, np.ones(self.objects, np.int32)


class BlockConfig(TinyConfig):
    NAME = "blocks"
    NUM_CLASSES = 1 + 1
    IMAGES_PER_GPU = 2
    NUMERICS = "matterport"


def trained(dataset, folder, epochs=1, **settings):
    model = modellib.MaskRCNN("training", BlockConfig(**settings), str(folder))
    history = model.train(dataset, dataset, 1e-4, epochs=epochs, layers="heads", verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert np.isfinite(history.history["val_loss"]).all()
    return model, history.history


@pytest.mark.parametrize("images", [0, 1, 3])
def test_batch_size_other_than_BATCH_SIZE_in_detect(images):  # noqa: N802
    model = modellib.MaskRCNN("inference", BlockConfig(), "logs")
    samples = [Blocks(size=size).load_image(0) for size in (64, 40, 90)][:images]
    assert len(model.detect(samples)) == images


@pytest.mark.slow
def test_loss_doubling_on_a_second_train(tmp_path):
    """Each call used to add the losses to the model again, so the total was a multiple."""
    model, first = trained(Blocks(), tmp_path)
    second = model.train(Blocks(), Blocks(), 1e-4, epochs=3, layers="all", verbose=0).history
    for history in (first, second):
        for prefix in ("", "val_"):
            parts = [history[prefix + name] for name in BlockConfig.LOSS_WEIGHTS]
            np.testing.assert_allclose(np.sum(parts, axis=0), history[prefix + "loss"], rtol=1e-5)
    assert sum("loss" in name for name in second) == 12


def test_a_generator_that_repeats_images():
    """An epoch holds every image once, each time in another order, as does `data_generator`."""
    dataset = Blocks(7)
    batches = Batches(dataset, BlockConfig(), shuffle=True, seed=0)
    epochs = [
        [i for index in range(len(batches)) for _, i in batches.plan(epoch, index)]
        for epoch in (0, 1)
    ]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(7)) and epochs[0] != epochs[1]
    generator = modellib.data_generator(dataset, BlockConfig(), batch_size=7)
    for _ in range(2):
        inputs, outputs = next(generator)
        assert sorted(inputs[1][:, 0]) == list(range(7)) and len(outputs) == 0


def test_a_generator_that_stalls(tmp_path):
    """An image that fails in the middle of training stops it, and the error names the image."""

    class Broken(Blocks):
        def load_mask(self, image_id):
            if image_id == 4:
                raise RuntimeError("annotation of block 4")
            return super().load_mask(image_id)

    with pytest.raises(Exception, match="annotation of block 4"):
        trained(Broken(), tmp_path)
    generator = modellib.data_generator(Broken(), BlockConfig(), batch_size=6)
    with pytest.raises(RuntimeError, match="annotation of block 4"):  # after five tries, as before
        for _ in range(10):
            next(generator)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 5])
def test_gray_and_multi_channel_images(tmp_path, channels):
    settings = {"IMAGE_CHANNEL_COUNT": channels, "MEAN_PIXEL": np.full(channels, 50.0)}
    dataset = Blocks(channels=channels)
    model, _ = trained(dataset, tmp_path, **settings)
    assert model.keras_model.get_layer("conv1").trainable  # also with "heads"
    inference = modellib.MaskRCNN("inference", BlockConfig(**settings), str(tmp_path))
    inference.load_weights(model.find_last(), by_name=True)
    assert len(inference.detect([dataset.load_image(0)])) == 1
    image, meta, *_ = modellib.load_image_gt(dataset, inference.config, 0)
    assert image.shape == (64, 64, channels) and meta[3] == channels


def test_gray_images_for_a_color_network():
    model = modellib.MaskRCNN("inference", BlockConfig(), "logs")
    gray = Blocks(channels=1).load_image(0)
    assert gray.ndim == 2
    alone, repeated = model.detect([gray, np.stack([gray] * 3, axis=-1)])
    np.testing.assert_array_equal(alone["rois"], repeated["rois"])


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_bool_masks(dtype):
    """scikit-image rejects bool images and divides uint8 by 255, so mini masks were empty."""
    dataset, config = Blocks(dtype=dtype), BlockConfig()
    masks, _ = dataset.load_mask(0)
    boxes = utils.extract_bboxes(masks)
    mini = utils.minimize_mask(boxes, masks, (28, 28))
    assert mini.dtype == bool and mini[2:-2, 2:-2].all()
    full = utils.expand_mask(boxes, mini, (64, 64, 3))
    assert (full != (masks != 0)).mean() < 0.01
    for mini_masks in (False, True):
        _, _, ids, boxes, masks = modellib.load_image_gt(
            dataset, config, 0, use_mini_mask=mini_masks
        )
        assert masks.dtype == bool and masks.any(axis=(0, 1)).all() and len(ids) == 2


@pytest.mark.slow
def test_more_than_128_instances(tmp_path):
    dataset = Blocks(2, objects=129, side=3)
    assert len(dataset.corners()) == 129
    _, history = trained(dataset, tmp_path, MAX_GT_INSTANCES=200)
    assert history["rpn_class_loss"][0] > 0
    _, _, ids, boxes, masks = modellib.load_image_gt(dataset, BlockConfig(), 0)
    assert len(ids) == len(boxes) == masks.shape[-1] == 129
    visualize.display_instances(
        dataset.load_image(0), boxes, masks, ids, dataset.class_names, np.ones(129)
    )


@pytest.mark.slow
def test_a_resume_that_forgets_the_optimizer(tmp_path):
    """The momentum is kept. The loss used to jump."""
    model, _ = trained(Blocks(), tmp_path)
    before = h5.optimizer_state(model.keras_model.optimizer)
    again = modellib.MaskRCNN("training", BlockConfig(), str(tmp_path))
    again.load_weights(again.find_last(), by_name=True)
    assert again.epoch == 1
    seen = {}

    class Look(modellib.keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            state = h5.optimizer_state(self.model.optimizer)
            seen.setdefault("state", {name: np.array(v) for name, v in state.items()})

    again.train(Blocks(), None, 1e-4, 2, "heads", custom_callbacks=[Look()], verbose=0)
    moments = [name for name in before if "momentum" in name]
    assert len(moments) > 10 and any(np.abs(seen["state"][name]).max() > 0 for name in moments)
    for name in moments:
        np.testing.assert_array_equal(seen["state"][name], np.array(before[name]))


def test_callbacks_of_old_scripts(tmp_path):
    """They can load the checkpoint of the current epoch and monitor any loss in mode "auto"."""
    model = modellib.MaskRCNN("training", BlockConfig(EVALUATE_EVERY=1), str(tmp_path))
    seen = []

    class Look(modellib.keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            assert model.find_last().endswith(f"mask_rcnn_blocks_{epoch + 1:04d}.h5")
            seen.append(logs["val_mask_AP"])

    plateau = modellib.keras.callbacks.ReduceLROnPlateau("val_mrcnn_mask_loss", patience=1)
    stopping = modellib.keras.callbacks.EarlyStopping("val_mask_AP", patience=9)
    model.train(Blocks(2), Blocks(2), 1e-4, 2, "heads", None, [Look(), plateau, stopping])
    assert len(seen) == 2 and (plateau.mode, stopping.mode) == ("min", "max")


@pytest.mark.slow
def test_box_only_masks(tmp_path):
    """Data sets with boxes only: masks that fill the boxes, or no masks."""
    dataset = Blocks(side=20)
    model, history = trained(dataset, tmp_path / "masks")
    assert history["mrcnn_mask_loss"][0] >= 0
    _, history = trained(dataset, tmp_path / "boxes", USE_MASKS=False)
    assert "mrcnn_mask_loss" not in history
    masks, ids = dataset.load_mask(0)
    boxes = utils.extract_bboxes(masks)
    score = utils.compute_ap(boxes, ids, masks, boxes, ids, np.ones(len(ids)), masks)[0]
    assert score == 1.0


@pytest.mark.parametrize(
    "numerics", ["matterport", pytest.param("standard", marks=pytest.mark.slow)]
)
def test_NaN_from_a_1_pixel_object(tmp_path, numerics):  # noqa: N802
    """In normalized coordinates, a pixel has no size, so its deltas were infinite."""
    model, _ = trained(Blocks(side=1, objects=5), tmp_path, epochs=2, NUMERICS=numerics)
    for weight in model.keras_model.weights:
        assert np.isfinite(np.array(weight)).all()


def test_images_that_lost_their_mean_before_detect():
    """An often copied tutorial calls detect() with molded images, which lost their mean twice."""
    model = modellib.MaskRCNN("inference", BlockConfig(), "logs")
    image = Blocks().load_image(0)
    molded = np.expand_dims(modellib.mold_image(image, model.config), 0)
    (expected,), (found,) = model.detect([image]), model.detect(molded)
    np.testing.assert_array_equal(found["rois"], expected["rois"])
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-5)
    # A single image instead of a list looks like 64 gray images of 64 x 3.
    with pytest.raises(ValueError, match=r"detect\(\[image\]\)"):
        model.detect(image)
    with pytest.raises(ValueError, match="0..255"):  # something else is wrong with these
        model.detect([image * 3.0 - 200])
