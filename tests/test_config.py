import json

import numpy as np
import pytest

from mrcnn import dialects
from mrcnn.config import BaseConfig, Config
from mrcnn.images.fit import MODES
from mrcnn.settings import Group, Images, Learning, Training
from mrcnn.settings.checks import whole


class CellConfig(Config):
    NAME = "cells"
    NUM_CLASSES = 1 + 1
    IMAGES_PER_GPU = 3
    CELL_SIZE = 7  # a new setting


def config(**overrides):
    return Config(**{"NAME": "test", "NUM_CLASSES": 2} | overrides)


def test_defaults_are_valid_except_for_the_classes():
    config().validate()
    with pytest.raises(ValueError, match="NUM_CLASSES must be .* from 2 to 30000, got 1"):
        Config().validate()


# --- Names -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "wrong, near",
    [
        ("NUM_CLASES", "NUM_CLASSES"),
        ("learning_rate", "LEARNING_RATE"),
        ("IMAGE_MAX_DIMENSION", "IMAGE_MAX_DIM"),
    ],
)
def test_unknown_name_is_refused_with_the_nearest(wrong, near):
    with pytest.raises(AttributeError, match=f"{wrong} is not a setting.*Did you mean {near}?"):
        Config(**{wrong: 1})
    with pytest.raises(AttributeError, match=f"Did you mean {near}?"):
        setattr(config(), wrong, 1)


def test_a_name_like_no_other_gets_no_suggestion():
    with pytest.raises(AttributeError, match="ZZZ is not a setting. See mrcnn/settings"):
        Config(ZZZ=1)


def test_names_are_in_order_of_definition():
    names = Config.names()
    assert names[:2] == ["NAME", "NUM_CLASSES"] and names[-1] == "LOSS_WEIGHTS"
    assert len(names) == len(set(names))
    assert not {"BATCH_SIZE", "IMAGE_SHAPE", "IMAGE_META_SIZE"} & set(names)


# --- Overrides ---------------------------------------------------------------------------------
def test_a_subclass_overrides_without_annotations():
    cells = CellConfig()
    assert (cells.NAME, cells.NUM_CLASSES, cells.BATCH_SIZE, cells.CELL_SIZE) == ("cells", 2, 3, 7)
    assert cells.LEARNING_RATE == Config.LEARNING_RATE
    assert CellConfig.names()[-1] == "CELL_SIZE" and "CELL_SIZE" not in Config.names()
    cells.validate()


def test_a_misspelled_setting_in_a_subclass_gives_a_warning(caplog):
    class Wrong(Config):
        NUM_CLASES = 2
        BATCH_SIZE = 3  # derived, but old scripts set it

    assert caplog.messages == ["Wrong.NUM_CLASES is not a setting. Did you mean NUM_CLASSES?"]


def test_arguments_override_a_subclass():
    cells = CellConfig(NUM_CLASSES=5, CELL_SIZE=8)
    assert (cells.NUM_CLASSES, cells.CELL_SIZE) == (5, 8)
    assert CellConfig.NUM_CLASSES == 2  # only this object is changed
    assert CellConfig().NUM_CLASSES == 2


def test_a_subclass_of_a_subclass():
    class Small(CellConfig):
        IMAGE_MAX_DIM = 128
        IMAGE_MIN_DIM = 64

    assert Small().NUM_CLASSES == 2 and Small().IMAGE_SHAPE.tolist() == [128, 128, 3]


# --- Derived values ----------------------------------------------------------------------------
def test_derived_values_follow():
    c = config()
    assert c.BATCH_SIZE == 2 and c.IMAGE_META_SIZE == 14
    c.IMAGES_PER_GPU, c.GPU_COUNT, c.NUM_CLASSES = 3, 2, 81
    assert c.BATCH_SIZE == 6 and c.IMAGE_META_SIZE == 93
    c.IMAGE_MAX_DIM, c.IMAGE_MIN_DIM, c.IMAGE_CHANNEL_COUNT = 512, 256, 1
    np.testing.assert_array_equal(c.IMAGE_SHAPE, [512, 512, 1])
    c.IMAGE_RESIZE_MODE = "crop"
    np.testing.assert_array_equal(c.IMAGE_SHAPE, [256, 256, 1])


def test_a_batch_size_set_as_in_old_notebooks():
    c = config(GPU_COUNT=2)
    c.BATCH_SIZE = 6
    assert c.IMAGES_PER_GPU == 3 and c.BATCH_SIZE == 6
    with pytest.raises(AttributeError, match="IMAGES_PER_GPU"):
        c.BATCH_SIZE = 5  # does not fit two devices


def test_whole_floats_from_a_division():
    c = config(STEPS_PER_EPOCH=100 / 2)
    c.validate()
    assert isinstance(c.STEPS_PER_EPOCH, float)  # checked, but not changed
    resolved = c.resolved()
    assert resolved.STEPS_PER_EPOCH == 50 and isinstance(resolved.STEPS_PER_EPOCH, int)
    with pytest.raises(ValueError, match="STEPS_PER_EPOCH.*33.5"):
        config(STEPS_PER_EPOCH=33.5).validate()


def test_attributes_that_are_not_settings():
    """Old subclasses keep other values on self. Only names that look like settings are checked."""
    c = config()
    c.class_names = ["a", "b"]
    assert c.class_names == ["a", "b"]
    with pytest.raises(AttributeError, match="NUM_CLASSES"):
        c.num_classes = 3
    c.MODEL_DIR = "logs"  # does not look like a setting
    assert c.MODEL_DIR == "logs" and "MODEL_DIR" not in c.to_dict()


def test_channels_that_are_not_three():
    """Old Configs set one MEAN_PIXEL value per channel and do not know PIXEL_STD."""
    c = config(IMAGE_CHANNEL_COUNT=5, MEAN_PIXEL=np.full(5, 50.0))
    c.validate()
    assert c.PIXEL_STD == Config.PIXEL_STD
    np.testing.assert_allclose(c.resolved().PIXEL_STD, [np.mean(Config.PIXEL_STD)] * 5)
    with pytest.raises(ValueError, match="MEAN_PIXEL"):
        config(IMAGE_CHANNEL_COUNT=5).validate()


def test_derived_values_in_old_subclasses():
    """The old package overwrote them with derived values."""

    class Old(CellConfig):
        IMAGE_SHAPE = [64, 64, 3]
        BATCH_SIZE = 8

        def __init__(self):
            super().__init__()
            self.IMAGE_META_SIZE = 1 + 3 + 3 + 4 + 1 + self.NUM_CLASSES
            self.IMAGE_SHAPE = np.array([self.IMAGE_MAX_DIM, self.IMAGE_MAX_DIM, 3])

    old = Old()
    old.validate()
    assert old.BATCH_SIZE == 3 and old.IMAGE_SHAPE.tolist() == [1024, 1024, 3]


@pytest.mark.parametrize(
    "name, source",
    [("IMAGE_SHAPE", "IMAGE_MAX_DIM"), ("IMAGE_META_SIZE", "NUM_CLASSES")],
)
def test_derived_values_are_not_set(name, source):
    with pytest.raises(AttributeError, match=f"{name} is derived: set {source}"):
        setattr(config(), name, 8)
    with pytest.raises(AttributeError, match="is derived"):
        Config(**{name: 8})


# --- Checks ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name, value",
    [
        ("NUM_CLASSES", 2.5),
        ("NUM_CLASSES", "3"),
        ("IMAGES_PER_GPU", 0),
        ("IMAGES_PER_GPU", True),
        ("STEPS_PER_EPOCH", 0),
        ("SEED", -1),
        ("BACKBONE_WIDTH", 4),
        ("TRAIN_ROIS_PER_IMAGE", None),
        ("LEARNING_RATE", "fast"),
        ("LEARNING_RATE", float("nan")),
        ("LEARNING_RATE", -1),
        ("RPN_NMS_THRESHOLD", 1.1),
        ("ROI_POSITIVE_RATIO", 0),
        ("ROI_POSITIVE_RATIO", 0.01),
        ("DETECTION_MIN_CONFIDENCE", -0.1),
        ("IMAGE_RESIZE_MODE", "stretch"),
        ("OPTIMIZER", "SGD"),
        ("LR_SCHEDULE", None),
        ("NUMERICS", "caffe"),
        ("NAME", "../cells"),
        ("BACKBONE", None),
        ("AUGMENTATION", ["fliplr"]),
        ("IMAGE_STRETCH", (1, 101)),
        ("RPN_ANCHOR_RATIOS", 1),
        ("BBOX_STD_DEV", (0.1, 0.1, 0.2)),
        ("PIXEL_STD", (0, 1, 1)),
        ("MINI_MASK_SHAPE", 28),
        ("JIT_COMPILE", "yes"),
        ("BACKBONE_NORM", "layer"),
        ("HEAD_NORM", "batch"),
        ("USE_MASKS", None),
        ("RPN_ANCHOR_SCALES", (32, 64, 128)),
        ("RPN_ANCHOR_SCALES", 32),
        ("BACKBONE_STRIDES", (4, 8, 16, 32)),
        ("MEAN_PIXEL", (1, 2)),
        ("MEAN_PIXEL", 0),
        ("PIXEL_STD", (1, 1, 1, 1)),
        ("MASK_SHAPE", (56, 56)),
        ("IMAGE_MAX_DIM", 1000),
        ("LOSS_WEIGHTS", {"rpn_loss": 1}),
        ("LOSS_WEIGHTS", {"rpn_loss": "much", "rpn_class_loss": "much"}),
        ("TRAIN_BN", "no"),
        ("IMAGE_CHANNEL_COUNT", "three"),
        ("OPTIMIZER", np.array(["sgd", "adamw"])),
    ],
)
def test_errors_name_the_setting_and_the_value(name, value):
    shown = repr(value) if not isinstance(value, (dict, np.ndarray)) else "got"
    settings = {name: value} | ({"TRAIN_ROIS_PER_IMAGE": 8} if name == "ROI_POSITIVE_RATIO" else {})
    with pytest.raises(ValueError) as error:
        config(**settings).validate()
    assert str(error.value).startswith(name) and shown in str(error.value)


def test_the_crop_side_is_checked_in_mode_crop():
    with pytest.raises(ValueError, match="^IMAGE_MIN_DIM must be a multiple of 64.*got 100"):
        config(IMAGE_RESIZE_MODE="crop", IMAGE_MIN_DIM=100).validate()
    config(IMAGE_RESIZE_MODE="none", IMAGE_MAX_DIM=1000).validate()


@pytest.mark.parametrize(
    "settings",
    [
        {"STEPS_PER_EPOCH": None, "VALIDATION_STEPS": 3, "SEED": None},
        {"NUM_CLASSES": np.int64(3), "LEARNING_RATE": np.float32(0.01)},
        {"MEAN_PIXEL": np.array([1.0, 2, 3]), "RPN_ANCHOR_SCALES": [8, 16, 32, 64, 128]},
        {"IMAGE_CHANNEL_COUNT": 1, "MEAN_PIXEL": (1,), "PIXEL_STD": (2,)},
        {"LOSS_WEIGHTS": {"mrcnn_mask_loss": 2.0}},
        {"MASK_POOL_SIZE": 7, "MASK_SHAPE": [14, 14]},
    ],
)
def test_these_are_fine(settings):
    config(**settings).validate()


# --- JSON --------------------------------------------------------------------------------------
def test_json_round_trip(tmp_path):
    original = config(
        MEAN_PIXEL=np.array([1.5, 2, 3]),
        NUM_CLASSES=np.int64(5),
        AUGMENTATION={"fliplr": 0.5, "scale": (0.8, 1.2)},
        STEPS_PER_EPOCH=None,
        IMAGE_STRETCH=(1, 99.8),
    )
    path = tmp_path / "config.json"
    path.write_text(original.to_json(), encoding="utf-8")
    again = Config.from_json(path)
    assert again.to_dict() == original.to_dict()
    assert again.MEAN_PIXEL == (1.5, 2.0, 3.0)  # plain values, tuples as in the defaults
    assert again.BACKBONE_STRIDES == Config.BACKBONE_STRIDES
    assert again.BATCH_SIZE == original.BATCH_SIZE
    again.validate()


def test_defaults_come_back_as_they_were(tmp_path):
    again = Config.from_dict(json.loads(Config().to_json()))
    for name in Config.names():
        value = getattr(again, name)
        assert value == getattr(Config, name) and type(value) is type(getattr(Config, name))


def test_a_callable_is_written_by_its_name():
    def my_backbone(image):
        return image

    assert json.loads(config(BACKBONE=my_backbone).to_json())["BACKBONE"] == "my_backbone"


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "cannot be read as config.json"),
        ("[" * 100_000, "cannot be read as config.json"),
        ('{"NUM_CLASSES": ' + "9" * 5000 + "}", "cannot be read as config.json"),
        ("\ud800", "cannot be read as config.json"),
        ('{"A": "' + "x" * 2**20 + '"}', "it has more than 1048576 bytes"),
        ('{"' + "A" * 10**6 + '": 1}', "AAA is not a setting"),
        ("[1]", "expected an object"),
        ('{"NUM_CLASES": 3}', "Did you mean NUM_CLASSES"),
        ('{"BATCH_SIZE": 3}', "BATCH_SIZE is derived"),
    ],
)
def test_unusable_files_are_named(tmp_path, text, message):
    path = tmp_path / "config.json"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(ValueError, match=message) as error:
        Config.from_json(path)
    assert str(path) in str(error.value) and len(str(error.value)) <= 1000


HUGE = 10**4000


@pytest.mark.parametrize("value", [HUGE, -HUGE, 1e300, [[1], 2], {"a": [HUGE]}, "x" * 10**6])
@pytest.mark.parametrize("name", [name for name in Config.names() if name != "LR_SCHEDULE"])
def test_absurd_values_of_a_file_are_refused_quickly(name, value):
    """Or they are harmless: a name that nothing has, or an infinite limit."""
    try:
        Config.from_dict({"NUM_CLASSES": 2, name: value}).validate()
    except ValueError as error:
        assert name in str(error) and len(str(error)) < 1000
    else:
        harmless = {"BACKBONE", "COMPUTE_BACKBONE_SHAPE", "MEAN_PIXEL", "GRADIENT_CLIP_NORM"}
        assert name in harmless | {"AUGMENTATION", "LR_STEPS"}


@pytest.mark.parametrize(
    "name, value",
    [
        ("NUM_CLASSES", 10**9),
        ("NAME", "../../x"),
        ("NAME", "a\\b"),
        ("NAME", "line\nbreak"),
        ("NAME", "nul\0"),
        ("NAME", "\ud800"),
        ("NAME", "x" * 121),
        ("NAME", "\N{HIRAGANA LETTER A}" * 41),
        ("NAME", 7),
        ("IMAGE_MAX_DIM", 2**20),
        ("MASK_CHANNELS", 10**5),
        ("RPN_ANCHOR_RATIOS", [1.0] * 65),
        ("SEED", 2**32),
        ("LR_SCHEDULE", {"class_name": "CosineDecay", "config": {"initial_learning_rate": {}}}),
        ("LR_SCHEDULE", {"class_name": ["os"], "config": 7}),
    ],
)
def test_settings_have_upper_bounds(name, value):
    with pytest.raises(ValueError, match=f"^{name}") as error:
        config(**{name: value}).validate()
    assert len(str(error.value)) < 1000


def test_heads_that_are_too_large_together_are_refused():
    with pytest.raises(ValueError, match="heads would have"):
        config(FPN_CLASSIF_FC_LAYERS_SIZE=8192, POOL_SIZE=64).validate()
    config(NUM_CLASSES=20_000).validate()


@pytest.mark.parametrize("name", ["my cells", "cells v1.0", "..", "Zellen \N{MICRO SIGN}m", "a:b"])
def test_names_that_people_give(name):
    config(NAME=name).validate()


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="config.json"):
        Config.from_json(tmp_path / "config.json")


def test_display_shows_every_setting_once(capsys):
    CellConfig().display()
    text = capsys.readouterr().out
    lines = [line.split()[0] for line in text.splitlines() if line and "Configurations" not in line]
    assert lines == sorted({*CellConfig.names(), "BATCH_SIZE", "IMAGE_SHAPE", "IMAGE_META_SIZE"})
    assert "NAME                           cells" in text


def test_dialects_and_resize_modes_are_known():
    for name in ("auto", *dialects.names()):
        config(NUMERICS=name).validate()
    for mode in MODES:
        config(IMAGE_RESIZE_MODE=mode, IMAGE_MIN_DIM=768).validate()
    for settings in (d.settings for d in dialects.dialects().values()):
        assert set(settings) <= set(Config.names())


def test_the_canvas_of_shortest_edge():
    made = config(IMAGE_RESIZE_MODE="shortest_edge", IMAGE_MIN_DIM=800, IMAGE_MAX_DIM=1333)
    made.validate()
    assert made.IMAGE_SHAPE.tolist() == [1344, 1344, 3]


# --- Copies ------------------------------------------------------------------------------------
def test_validate_changes_nothing():
    c = config(STEPS_PER_EPOCH=5.0, TRAIN_BN=False, IMAGE_CHANNEL_COUNT=1, MEAN_PIXEL=[7])
    before = dict(vars(c))
    c.validate()
    assert vars(c) == before


def test_a_copy_shares_nothing_with_the_original():
    original = CellConfig(MEAN_PIXEL=[1, 2, 3], AUGMENTATION={"scale": [0.5, 2]})
    made = original.copy()
    assert type(made) is CellConfig and made.to_dict() == original.to_dict()
    made.MEAN_PIXEL[0] = 9
    made.AUGMENTATION["scale"][0] = 9
    made.SEED = 9
    assert original.MEAN_PIXEL == [1, 2, 3] and original.SEED == 0
    assert original.AUGMENTATION == {"scale": [0.5, 2]}
    made.LOSS_WEIGHTS["mrcnn_mask_loss"] = 9.0  # not even what both took from the class
    assert original.LOSS_WEIGHTS["mrcnn_mask_loss"] == 1.0


def test_a_copy_of_a_config_with_an_init_of_its_own():
    class Old(Config):
        def __init__(self, classes):  # an argument that a copy cannot know
            self.NUM_CLASSES = classes
            super().__init__()

    assert Old(5).copy().NUM_CLASSES == 5


class Mixin:
    PRE_NMS_LIMIT = 77


def test_defaults_are_for_what_nobody_has_set():
    class Mixed(Mixin, CellConfig):
        pass

    defaults = {"PRE_NMS_LIMIT": 6000, "NUM_CLASSES": 91, "SEED": 1, "MASK_CHANNELS": 8}
    c = Mixed(SEED=5)
    resolved = c.resolved(defaults)
    found = [resolved.PRE_NMS_LIMIT, resolved.NUM_CLASSES, resolved.SEED, resolved.MASK_CHANNELS]
    assert found == [77, 2, 5, 8]  # of the mixin, the subclass, the object and the defaults
    assert c.MASK_CHANNELS == 256 and type(resolved) is Mixed
    with pytest.raises(AttributeError, match="MASK_CHANEL.* Did you mean MASK_CHANNELS"):
        c.resolved({"MASK_CHANEL": 8})
    with pytest.raises(ValueError, match="MASK_CHANNELS must be .* got 0"):
        c.resolved({"MASK_CHANNELS": 0})


@pytest.mark.parametrize(
    "train_bn, norm", [(None, "frozen"), (False, "statistics"), (True, "batch")]
)
def test_train_bn_comes_before_the_dialect(train_bn, norm):
    defaults = {"BACKBONE_NORM": "frozen"}
    assert config(TRAIN_BN=train_bn).resolved(defaults).BACKBONE_NORM == norm
    chosen = config(TRAIN_BN=train_bn, BACKBONE_NORM="group")
    assert chosen.resolved(defaults).BACKBONE_NORM == "group"


def test_other_channels_take_the_std_of_the_dialect():
    """Matterport's network does not divide the pixels, for any number of channels."""
    c = config(NUMERICS="matterport", IMAGE_CHANNEL_COUNT=5, MEAN_PIXEL=np.full(5, 50.0))
    assert c.resolved(dialects.named("matterport").settings).PIXEL_STD == (1.0,) * 5
    c.PIXEL_STD = (2,) * 5
    assert c.resolved(dialects.named("matterport").settings).PIXEL_STD == (2,) * 5


def test_resolving_twice_equals_resolving_once():
    c = config(NUMERICS="matterport", TRAIN_BN=True, IMAGE_CHANNEL_COUNT=1, MEAN_PIXEL=(9,))
    once = c.resolved(dialects.named("matterport").settings)
    assert once.resolved(dialects.named("matterport").settings).to_dict() == once.to_dict()


def test_resolve_changes_the_object_or_leaves_it():
    c = config(STEPS_PER_EPOCH=5.0)
    c.resolve({"MASK_CHANNELS": 8})
    assert (c.STEPS_PER_EPOCH, c.MASK_CHANNELS) == (5, 8) and isinstance(c.STEPS_PER_EPOCH, int)
    before = dict(vars(c))
    with pytest.raises(ValueError, match="POOL_SIZE"):
        c.resolve({"MASK_SHAPE": (14, 14), "MASK_POOL_SIZE": 7, "POOL_SIZE": 0})
    assert vars(c) == before


# --- Other networks ----------------------------------------------------------------------------
class Decoder(Group):
    DECODER_CHANNELS = 32
    CHECKS = {"DECODER_CHANNELS": whole(1)}


class OtherConfig(BaseConfig, Learning, Images, Training, Decoder):
    """A network without boxes."""


def test_another_network_composes_its_own_settings(tmp_path):
    class Cells(OtherConfig):
        NUM_CLASSES = 3
        OWN = 1

    c = Cells(DECODER_CHANNELS=8, GPU_COUNT=2, IMAGES_PER_GPU=2)
    assert c.BATCH_SIZE == 4 and c.names()[-2:] == ["DECODER_CHANNELS", "OWN"]
    c.validate()
    with pytest.raises(ValueError, match="DECODER_CHANNELS must be a whole number"):
        Cells(DECODER_CHANNELS=0).validate()
    (tmp_path / "config.json").write_text(c.to_json())
    again = OtherConfig.from_json(tmp_path / "config.json")
    assert again.to_dict() == c.to_dict() and "OWN" not in c.to_dict()


def test_unknown_names_are_refused_per_network():
    with pytest.raises(AttributeError, match="RPN_NMS_THRESHOLD is not a setting"):
        OtherConfig(RPN_NMS_THRESHOLD=0.5)
    with pytest.raises(AttributeError, match="DECODER_CHANNELS is not a setting"):
        Config(DECODER_CHANNELS=8)
    c = OtherConfig(NUM_CLASSES=2)
    c.IMAGE_META_SIZE = 5  # derived in a Mask R-CNN, unknown here
    assert c.IMAGE_META_SIZE == 5
