"""The stand-in of imgaug moves images and masks alike, and is there only while it is wanted."""

import sys

import numpy as np
import pytest

from mrcnn.compat import stand_ins
from mrcnn.compat.augment import augmenter
from mrcnn.compat.stand_ins import geometric, meta, parameters, photometric
from mrcnn.compat.stand_ins.packages import LooseVersion, augmenter_names
from mrcnn.compat.stand_ins.warp import BORDERS, warp
from mrcnn.data.augment import Augmenter

COLORS = np.array([[250, 20, 20], [20, 250, 20], [20, 20, 250]], np.uint8)


def scene(height=96, width=130):
    """An image of three colored objects without symmetry, and their masks by color."""
    image = np.full((height, width, 3), 20, np.uint8)
    image[30:70, 35:60] = COLORS[0]
    image[30:45, 60:75] = COLORS[0]
    image[55:80, 70:100] = COLORS[1]
    image[20:28, 40:95] = COLORS[2]
    return image, masks_of(image)


def masks_of(image):
    return (image.astype(int) > 135) == np.ones(3, bool)


def iou(a, b):
    return (a & b).sum((0, 1)) / np.maximum((a | b).sum((0, 1)), 1)


GEOMETRIC = [
    geometric.Fliplr(1),
    geometric.Flipud(1.0),
    geometric.Rot90(1),
    geometric.Rot90(2),
    geometric.Affine(rotate=90),
    geometric.Affine(rotate=(-30, 30)),
    geometric.Affine(scale=1.2),
    geometric.Affine(scale={"x": (0.8, 1.2), "y": (0.8, 1.2)}),
    geometric.Affine(translate_px={"x": 11, "y": -7}),
    geometric.Affine(translate_percent=(-0.1, 0.1)),
    geometric.Affine(shear=(-12, 12)),
    geometric.Affine(shear={"y": 10}, order=[0, 1]),
    geometric.Affine(rotate=20, translate_px=9, mode="reflect"),
    geometric.Affine(rotate=20, mode="wrap"),
    geometric.Affine(rotate=20, mode="symmetric"),
    geometric.Affine(translate_px=40, mode="edge"),
    geometric.Rotate((-20, 20)),
    geometric.ShearX(10),
    geometric.ShearY(-10),
    geometric.Crop(px=(0, 16)),
    geometric.Crop(percent=(0, 0.1)),
    geometric.Pad(px=(0, 20)),
    geometric.CropAndPad(percent=(-0.1, 0.1)),
    geometric.CropAndPad(px=(-5, 3, (0, 9), 4)),
    geometric.PerspectiveTransform(scale=0.05),
    geometric.PiecewiseAffine(scale=0.02),
    geometric.ElasticTransformation(alpha=20, sigma=6),
    meta.Sequential([geometric.Fliplr(1), geometric.Affine(rotate=15)]),
    meta.SomeOf((1, 2), [geometric.Fliplr(1), geometric.Flipud(1), geometric.Rot90(2)]),
    meta.OneOf([geometric.Affine(rotate=90), geometric.Affine(rotate=180)]),
    meta.Sometimes(0.5, geometric.Affine(rotate=25), [geometric.Fliplr(1)]),
]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("index", range(len(GEOMETRIC)))
def test_masks_move_with_the_image(index, seed):
    image, masks = scene()
    new_image, new_masks = augmenter(GEOMETRIC[index])(image, masks, np.random.default_rng(seed))
    assert new_image.shape == image.shape and new_image.dtype == np.uint8
    assert new_masks.shape == masks.shape and new_masks.dtype == bool
    assert new_masks.any((0, 1)).all()
    assert (iou(masks_of(new_image), new_masks) >= 0.95).all()


@pytest.mark.parametrize("mode", list(BORDERS))
def test_masks_see_the_border_of_the_image(mode):
    """At whole places far outside, the nearest value is what OpenCV samples."""
    image = np.random.default_rng(0).integers(1, 255, (7, 9, 3), np.uint8)
    ys, xs = np.mgrid[-20:20, -20:20].astype(float)
    moved = warp(image, xs, ys, masks=True, mode=mode)
    np.testing.assert_array_equal(moved, warp(image, xs, ys, masks=False, order=0, mode=mode))


def test_a_mask_of_every_kind_and_number():
    image, masks = scene(33, 47)
    turn = augmenter(geometric.Affine(rotate=30))

    def moved(array):
        return turn(image, array, np.random.default_rng(0))[1]

    many = np.repeat(masks[..., :1], 129, axis=-1)
    assert (moved(many) == moved(masks)[..., :1]).all()
    assert moved(masks[..., :0]).shape == (33, 47, 0)
    labels = (np.arange(3) + 70000) * masks  # a label image is moved, never mixed
    assert set(np.unique(moved(labels.sum(-1, keepdims=True)))) <= set(np.unique(labels))
    one = augmenter(geometric.Affine(rotate=30))(image[:1, :1], masks[:1, :1])
    assert one[0].shape == (1, 1, 3)


PHOTOMETRIC = [
    photometric.Add(30),
    photometric.Add((10, 40), per_channel=True),
    photometric.AddElementwise(9),
    photometric.Multiply(0.5),
    photometric.MultiplyElementwise((0.5, 0.9)),
    photometric.AdditiveGaussianNoise(scale=20),
    photometric.LinearContrast(1.5),
    photometric.ContrastNormalization(0.5),
    photometric.GammaContrast(2.0),
    photometric.Invert(1),
    photometric.Dropout(0.2),
    photometric.CoarseDropout(0.5, size_percent=0.1),
    photometric.CoarseDropout(0.5),
    photometric.SaltAndPepper(0.2),
    photometric.GaussianBlur(2),
    photometric.AverageBlur(5),
    photometric.MedianBlur(5),
    photometric.Sharpen(0.9, 1.5),
    photometric.Emboss(0.9, 1.0),
    photometric.ChannelShuffle(1),
    photometric.Grayscale(1.0),
    photometric.AddToHueAndSaturation(60),
]


@pytest.mark.parametrize("index", range(len(PHOTOMETRIC)))
def test_values_change_and_masks_stay(index):
    image, masks = scene()
    new_image, new_masks = augmenter(PHOTOMETRIC[index])(image, masks, np.random.default_rng(0))
    assert new_image.dtype == np.uint8 and (new_image != image).mean() > 0.001
    assert (new_masks == masks).all()
    values = image.astype(np.float32)
    assert augmenter(PHOTOMETRIC[index])(values, masks)[0].dtype == np.float32


def test_every_augmenter_is_tested():
    nothing = {"Augmenter", "Noop", "Identity", "Lambda", "HorizontalFlip", "VerticalFlip"}
    tested = {type(one).__name__ for one in [*GEOMETRIC, *PHOTOMETRIC]}
    assert set(augmenter_names()) == tested | nothing


def test_exact_values():
    """Against the definitions of the values, on one gray level."""
    image, none = np.full((5, 6, 3), 100, np.uint8), np.zeros((5, 6, 0), bool)

    def value(one):
        return augmenter(one)(image, none, np.random.default_rng(0))[0][2, 3].tolist()

    assert value(photometric.Add(30)) == [130] * 3
    assert value(photometric.Add(-200)) == [0] * 3
    assert value(photometric.Multiply(3.0)) == [255] * 3
    assert value(photometric.LinearContrast(0.5)) == [114] * 3  # 128 + (100 - 128) / 2
    assert value(photometric.GammaContrast(2.0)) == [39] * 3  # 255 * (100 / 255) ** 2
    assert value(photometric.Invert(1)) == [155] * 3
    assert value(meta.Noop()) == [100] * 3


def test_turns_and_shifts_have_imgaugs_sense():
    """Positive turns are clockwise, positive shifts go right and down."""
    image = np.zeros((9, 9, 1), np.uint8)
    image[1, 4] = 255
    none = np.zeros((9, 9, 0), bool)

    def place(one):
        return np.unravel_index(augmenter(one)(image, none)[0].argmax(), (9, 9))

    assert place(geometric.Affine(rotate=90)) == (4, 7)
    assert place(geometric.Rot90(1)) == (4, 7)
    assert place(geometric.Affine(translate_px={"x": 2, "y": 3})) == (4, 6)
    assert place(geometric.Affine(translate_percent={"x": -2 / 9})) == (1, 2)


def test_probabilities():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)

    def share(one, count=600):
        rng = np.random.default_rng(0)
        return np.mean([(one.apply(image, rng) != image).any() for _ in range(count)])

    flip, up = geometric.Fliplr(1), geometric.Flipud(1)
    assert share(geometric.Fliplr(0.3)) == pytest.approx(0.3, abs=0.06)
    assert share(meta.Sometimes(0.7, flip)) == pytest.approx(0.7, abs=0.06)
    assert share(meta.SomeOf((0, 1), [flip, up])) == pytest.approx(0.5, abs=0.06)
    assert share(meta.SomeOf((0, None), [flip, up])) == pytest.approx(2 / 3, abs=0.06)
    assert share(meta.OneOf([flip, meta.Noop()])) == pytest.approx(0.5, abs=0.06)
    assert share(meta.SomeOf(2, [meta.Noop(), flip])) == 1


def old_recipe():
    return meta.SomeOf(
        (0, 2),
        [
            geometric.Fliplr(0.5),
            geometric.Flipud(0.5),
            meta.OneOf([geometric.Affine(rotate=90), geometric.Affine(rotate=180)]),
            photometric.Multiply((0.8, 1.5)),
            photometric.GaussianBlur(sigma=(0.0, 5.0)),
        ],
    )


def test_seeds_repeat():
    image, masks = scene()

    def draws(one):
        return [one.augment_image(image).astype(int).sum() for _ in range(8)]

    np.random.seed(3)
    first = draws(old_recipe())
    np.random.seed(3)
    assert draws(old_recipe()) == first and len(set(first)) > 1
    np.random.seed(4)
    assert draws(old_recipe()) != first
    ours = [augmenter(old_recipe())(image, masks, np.random.default_rng(5)) for _ in range(2)]
    assert (ours[0][0] == ours[1][0]).all() and (ours[0][1] == ours[1][1]).all()
    seeded = [meta.Sequential(old_recipe(), seed=1) for _ in range(2)]
    assert draws(seeded[0]) == draws(seeded[1])


def test_the_way_of_old_load_image_gt():
    """`to_deterministic`, then `augment_image` on the image and, with hooks, on the masks."""
    image, masks = scene()

    def hook(images, one, parents, default):
        return type(one).__name__ in ("SomeOf", "OneOf", "Fliplr", "Flipud", "Affine")

    for _ in range(10):
        fixed = old_recipe().to_deterministic()
        hooks = meta.HooksImages(activator=hook)
        new_masks = fixed.augment_image(masks.astype(np.uint8), hooks=hooks).astype(bool)
        moved = fixed.augment_image(image, hooks=hooks)
        assert (iou(masks_of(moved), new_masks) >= 0.95).all()


def test_batches_and_gray_images():
    images = np.stack([scene()[0]] * 3)
    done = geometric.Affine(rotate=(-40, 40)).augment_images(images)
    assert isinstance(done, np.ndarray) and (done[0] != done[1]).any()
    assert len(geometric.Fliplr(1)(images=list(images))) == 3
    gray = images[0, ..., 0]
    assert (geometric.Fliplr(1)(image=gray) == gray[:, ::-1]).all()


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: geometric.Affine(fit_output=True), "keep their size; set fit_output=False"),
        (lambda: geometric.Crop(px=3, keep_size=False), "keep_size=True"),
        (lambda: geometric.PerspectiveTransform(keep_size=False), "keep_size=True"),
        (lambda: meta.Lambda(len), "a function"),
        (lambda: meta.HooksImages(propagator=len), "propagator"),
        (lambda: geometric.Fliplr(1)(image=scene()[0], keypoints=[]), "on keypoints"),
        (lambda: geometric.Fliplr(1).augment_keypoints, "Fliplr.augment_keypoints has no stand-in"),
        (lambda: geometric.Affine(mode="odd").augment_image(scene()[0]), "mode must be one of"),
        (lambda: geometric.Affine(scale=0).augment_image(scene()[0]), "above 0"),
        (lambda: meta.Sequential([3]), "expected augmenters"),
        (lambda: geometric.Fliplr(1).augment_image(np.zeros(3)), "got shape"),
    ],
)
def test_what_has_no_equivalent_is_named(make, text):
    with pytest.raises((NotImplementedError, AttributeError, ValueError), match=text):
        make()


def test_parameters():
    rng = np.random.default_rng(0)

    def draw(parameter):
        return parameters.to_parameter(parameter, discrete=True).draw_samples((400,), rng)

    assert set(draw((1, 3))) == {1, 2, 3} and set(draw([4, 6])) == {4, 6} and set(draw(5)) == {5}
    assert 0.2 < draw(parameters.Binomial(0.3)).mean() < 0.4
    assert np.abs(draw(parameters.Normal(0, 1)).std() - 1) < 0.2
    assert np.abs(draw(parameters.TruncatedNormal(0, 5, -1, 1))).max() <= 1
    assert draw(parameters.Clip(parameters.Normal(0, 9), -1, 1)).max() == 1
    assert draw(parameters.Absolute(parameters.Deterministic(-2))).max() == 2
    assert draw(parameters.Discretize(parameters.Deterministic(2.6))).max() == 3
    assert draw(parameters.Poisson(3)).mean() == pytest.approx(3, abs=0.5)
    assert set(draw(parameters.Choice(["a", "b"], p=[1, 0]))) == {"a"}


# --- Modules -------------------------------------------------------------------------------------
def test_everything_goes_as_it_came():
    import keras.backend

    modules, names = dict(sys.modules), dict(vars(np))
    backend = dict(vars(keras.backend))
    with stand_ins.installed():
        import imgaug

        assert np.int is int and "keras.engine" in sys.modules
        with stand_ins.installed():
            assert sys.modules["imgaug"] is imgaug
        assert sys.modules["imgaug"] is imgaug  # the inner block does not end the outer
    assert dict(vars(np)) == names and dict(vars(keras.backend)) == backend
    left = set(sys.modules) - set(modules)
    assert not [n for n in left if n.startswith(("imgaug", "keras.engine", "keras.layers.core"))]
    stand_ins.install()
    stand_ins.install()
    assert "imgaug" in sys.modules
    stand_ins.remove()
    stand_ins.remove()
    assert "imgaug" not in sys.modules


def test_a_real_imgaug_is_used(tmp_path, monkeypatch):
    (tmp_path / "imgaug.py").write_text("REAL = True")
    monkeypatch.syspath_prepend(tmp_path)
    with stand_ins.installed():
        import imgaug

        assert imgaug.REAL
    del sys.modules["imgaug"]
    (tmp_path / "imgaug.py").write_text("import numpy as np\nnp.sctypes")  # as on NumPy 2
    (tmp_path / "imgaug.py").touch()
    with stand_ins.installed():
        import imgaug

        assert imgaug.HooksImages is meta.HooksImages


def test_names_of_the_time():
    with stand_ins.installed():
        import imgaug as ia
        import keras
        import keras.backend as K  # noqa: N812
        import keras.engine as KE  # noqa: N812
        import tensorflow as tf
        from imgaug import augmenters as iaa
        from imgaug import parameters as iap
        from keras.backend.tensorflow_backend import get_session, set_session
        from keras.engine.topology import Layer
        from keras.layers.core import Dense
        from keras.layers.normalization import BatchNormalization
        from keras.utils.np_utils import to_categorical
        from scipy.misc import imread, imresize
        from tensorflow.keras.backend import set_session as set_other

        assert iaa.Affine is geometric.Affine and iap.Uniform is parameters.Uniform
        assert KE.Layer is Layer is keras.layers.Layer and Dense is keras.layers.Dense
        assert BatchNormalization is keras.layers.BatchNormalization
        assert to_categorical([1]).tolist() == [[0, 1]] and callable(imread)
        config = tf.ConfigProto()
        config.gpu_options.allow_growth = True
        with tf.Session(config=config) as session:
            session.run(tf.global_variables_initializer())
            set_session(session)
            set_other(get_session())
            with session.graph.as_default(), tf.get_default_graph().as_default():
                assert tf.executing_eagerly()
            with pytest.raises(NotImplementedError, match="run_graph"):
                session.run("logits")
        assert K.int_shape(np.zeros((2, 3))) == (2, 3)
        assert imresize(np.zeros((4, 6, 3), np.uint8), 50).shape == (2, 3, 3)
        assert imresize(np.zeros((4, 6), np.uint8), (3, 5)).shape == (3, 5)
        ia.seed(3)
        first = np.random.rand()
        np.random.seed(3)
        assert np.random.rand() == first
        for name in ("imgaug.augmenters.Superpixels", "imgaug.BoundingBox", "keras.engine.Merge"):
            module, _, last = name.rpartition(".")
            with pytest.raises(NotImplementedError, match=f"{name} has no stand-in"):
                getattr(sys.modules[module], last)
        with pytest.raises(NotImplementedError, match="GPU_COUNT"):
            keras.utils.multi_gpu_model(None, 2)


def test_versions_compare_by_numbers():
    assert LooseVersion("1.10") > LooseVersion("1.9.2") and LooseVersion("2.0") >= "2.0"
    assert LooseVersion("0.4.0") < "1" and str(LooseVersion("1.2")) == "1.2"
    assert LooseVersion("1.2") == "1.2" and LooseVersion("1.2") <= "1.2.1"


def test_it_is_an_augmenter_of_ours():
    one = augmenter(geometric.Fliplr(1))
    image, masks = scene()
    pair = geometric.Fliplr(1)(image, masks)  # and a function of (image, masks) by itself
    assert (pair[0] == image[:, ::-1]).all() and (pair[1] == masks[:, ::-1]).all()
    assert isinstance(one, Augmenter) and one.draw_scale(np.random.default_rng(0)) == 1
