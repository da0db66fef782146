"""The groups of settings, their checks, and Keras schedules as settings."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from mrcnn import settings
from mrcnn.config import DERIVED, Config
from mrcnn.settings import checks
from mrcnn.training.schedule import build_optimizer

GROUPS = [group for group in Config.__mro__ if issubclass(group, settings.Group)]
GROUPS = [group for group in GROUPS if not issubclass(group, Config.__bases__[0])]


def test_every_setting_is_defined_once_next_to_its_check():
    seen = []
    for group in GROUPS:
        own = [name for name in vars(group) if name.isupper() and name not in ("CHECKS", "DERIVED")]
        derived = set(vars(group).get("DERIVED", ()))
        assert derived == {name for name in own if isinstance(vars(group)[name], property)}
        if group is not settings.Group:
            assert set(group.CHECKS) == set(own) - derived, group.__name__
        seen += own
    assert len(seen) == len(set(seen))
    assert sorted(seen) == sorted([*Config.names(), *DERIVED])


def test_every_default_except_the_number_of_classes_is_valid():
    wrong = {
        name
        for group in GROUPS
        for name, check in group.CHECKS.items()
        if not check.accepts(getattr(Config, name))
    }
    assert wrong == {"NUM_CLASSES"}


@pytest.mark.parametrize(
    "check, good, bad",
    [
        (checks.whole(1), [1, np.int32(5)], [0, 1.0, True, "1", None, np.ones(1), float("nan")]),
        (checks.number(), [-1e9, 0, np.float32(2)], ["1", None, float("nan"), 1j]),
        (checks.number(0), [0, 1e9, float("inf")], [-1e-9]),
        (checks.number(0, 1), [0, 1, 0.5], [1.001, -0.001]),
        (checks.positive, [1e-9, np.int64(1)], [0, -1, "a"]),
        (checks.one_of(None, "a"), [None, "a"], ["b", 0, np.array(["a", "b"]), [], {}]),
        (checks.flag, [True, False, np.True_], [None, "yes", 2]),
        (checks.or_none(checks.whole(1)), [None, 1], [0, "None"]),
        (checks.sequence(checks.positive), [[], (1,), np.ones(3)], [1, "11", None, {1: 2}, [0]]),
        (checks.sequence(checks.positive, 2), [[1, 2]], [[1], np.ones((2, 2)), np.array(1.0)]),
        (checks.text_or_function, ["a", len], [None, 1]),
    ],
)
def test_checks(check, good, bad):
    assert [value for value in good if not check.accepts(value)] == []
    assert [value for value in bad if check.accepts(value)] == []


def test_the_words_of_checks():
    assert checks.number(0, 1).expected == "a number from 0 to 1"
    assert checks.number(0).expected == "a number of at least 0"
    pair = checks.or_none(checks.sequence(checks.whole(1), count=2))
    assert pair.expected == "a sequence of 2 values, each a whole number of at least 1, or None"


@pytest.mark.parametrize("value", [50.0, np.float32(50), np.float64(50)])
def test_whole_floats_are_converted(value):
    converted = checks.or_none(checks.whole(1)).convert(value)
    assert converted == 50 and type(converted) is int
    assert checks.whole(1).convert(33.5) == 33.5
    assert checks.whole(1).convert(float("inf")) == float("inf")


# --- Schedules of Keras ------------------------------------------------------------------------


class Unregistered(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, rate=0.1):
        self.rate = rate

    def __call__(self, step):
        return self.rate

    def get_config(self):
        return {"rate": self.rate}


@keras.saving.register_keras_serializable("test_settings")
class Registered(Unregistered):
    pass


@pytest.mark.parametrize(
    "schedule", [keras.optimizers.schedules.CosineDecay(0.01, 100, warmup_steps=5), Registered(0.3)]
)
def test_a_schedule_of_keras_survives_config_json(tmp_path, schedule):
    config = Config(NAME="a", NUM_CLASSES=2, LR_SCHEDULE=schedule)
    config.validate()
    path = tmp_path / "config.json"
    path.write_text(config.to_json(), encoding="utf-8")
    again = Config.from_json(path)
    again.validate()
    made = again.resolved().LR_SCHEDULE
    assert type(made) is type(schedule) and made.get_config() == schedule.get_config()
    assert again.to_dict() == config.to_dict()
    np.testing.assert_allclose(made(30), schedule(30))


class NotPlain(Registered):
    def get_config(self):
        return {"rate": object()}


class WithoutConfig(Registered):
    def get_config(self):
        raise NotImplementedError


@pytest.mark.parametrize("kind", [Unregistered, NotPlain, WithoutConfig])
def test_a_schedule_that_cannot_be_saved(kind):
    config = Config(NUM_CLASSES=2, LR_SCHEDULE=kind())
    config.validate()
    with pytest.raises(ValueError, match="LR_SCHEDULE = .*cannot be saved.*register_keras"):
        config.to_json()


@pytest.mark.parametrize(
    "saved, message",
    [
        ({"class_name": "Missing", "config": {}}, "'Missing'.*not registered"),
        ({"class_name": "deserialize", "config": {}}, "no schedule of Keras"),
        ({"class_name": "os.system", "config": {"command": "true"}}, "no schedule of Keras"),
        ({"config": {}}, "None, which is no schedule"),
        ({"class_name": "CosineDecay"}, "cannot be built"),
        ({"class_name": "CosineDecay", "config": {"rate": 1}}, "CosineDecay cannot be built"),
    ],
)
def test_a_saved_schedule_that_cannot_be_built(saved, message):
    with pytest.raises(ValueError, match=f"LR_SCHEDULE.*{message}"):
        Config.from_dict(
            {"NUM_CLASSES": 2, "LR_SCHEDULE": json.loads(json.dumps(saved))}
        ).validate()


def test_a_function_is_no_schedule():
    with pytest.raises(ValueError, match="LR_SCHEDULE must be .*LearningRateSchedule, got"):
        Config(NUM_CLASSES=2, LR_SCHEDULE=lambda step: 0.1).validate()


def test_a_schedule_of_keras_warms_up_itself():
    schedule = keras.optimizers.schedules.CosineDecay(0.01, 100)
    with pytest.raises(ValueError, match="WARMUP_STEPS must be 0 with a Keras"):
        Config(NUM_CLASSES=2, LR_SCHEDULE=schedule, WARMUP_STEPS=3).validate()


def test_config_does_not_import_keras():
    code = (
        "import sys; from mrcnn.config import Config\n"
        "Config.from_dict({'NUM_CLASSES': 2, 'LR_SCHEDULE': 'cosine'}).resolved().to_json()\n"
        "sys.exit('keras' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_optimizer_follows_a_schedule_of_keras():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.5, 0.25])
    config = Config(NUM_CLASSES=2, LR_SCHEDULE=schedule).resolved()
    weight = keras.Variable(1.0)
    optimizer = build_optimizer(config, 0.001, 10, [weight])
    rates = []
    for _ in range(5):
        rates.append(float(optimizer.learning_rate))
        optimizer.apply([keras.ops.zeros(())])
    assert rates == [0.5, 0.5, 0.5, 0.25, 0.25]
