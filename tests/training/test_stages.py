"""Which layers a stage trains: Matterport's expressions for ResNets, the graph for others."""

import re

import keras
import pytest
from keras import layers
from tiny import TinyConfig

from mrcnn.network.layers.basic import layer_weights, leaf_layers
from mrcnn.network.mask_rcnn import Network
from mrcnn.training.stages import select_layers

HEADS = r"(mrcnn\_.*)|(rpn\_.*)|(fpn\_.*)"
OLD = {
    "heads": HEADS,
    "5+": r"(res5.*)|(bn5.*)|" + HEADS,
    "4+": r"(res4.*)|(bn4.*)|(res5.*)|(bn5.*)|" + HEADS,
    "3+": r"(res3.*)|(bn3.*)|(res4.*)|(bn4.*)|(res5.*)|(bn5.*)|" + HEADS,
    "all": ".*",
}


def small(image):
    """A custom backbone."""
    maps = []
    x = layers.Conv2D(8, 3, strides=2, padding="same", name="stem")(image)
    for stage in (2, 3, 4, 5):
        x = layers.Conv2D(8, 3, strides=2, padding="same", name=f"own_{stage}")(x)
        maps.append(x)
    return maps


def network_of(backbone):
    return Network(TinyConfig(BACKBONE=backbone).resolved())


@pytest.fixture(scope="module")
def networks():
    return {name: network_of(name) for name in ("resnet18", "resnet50", "MobileNetV2", small)}


def chosen(network, stage, frozen=False):
    return select_layers(network.training, stage, frozen, network.stages)


@pytest.mark.parametrize("stage", OLD)
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_our_resnets_train_what_the_old_expressions_name(networks, name, stage):
    network = networks[name]
    weighted = [x.name for x in leaf_layers(network.training) if layer_weights(x)]
    expected = [name for name in weighted if re.fullmatch(OLD[stage], name)]
    assert chosen(network, stage) == expected
    assert chosen(network, OLD[stage]) == expected


@pytest.mark.parametrize("name", ["MobileNetV2", small], ids=["applications", "callable"])
def test_every_backbone_has_stages(networks, name):
    """With a network of keras.applications, "4+" used to train only the heads, silently."""
    network = networks[name]
    stages = [set(chosen(network, stage)) for stage in ("heads", "5+", "4+", "3+", "all")]
    for fewer, more in zip(stages[:-1], stages[1:], strict=True):
        assert fewer < more
    assert all(layer.startswith(("mrcnn_", "rpn_", "fpn_")) for layer in stages[0])


def test_a_callable_trains_its_own_layers(networks):
    names = set(chosen(networks[small], "4+")) - set(chosen(networks[small], "heads"))
    assert names == {"own_4", "own_5"}


def test_frozen_normalization_stays(networks):
    network = networks["resnet18"]
    assert not [name for name in chosen(network, "all", frozen=True) if name.startswith("bn")]


@pytest.mark.parametrize(
    "stage, words", [("head", "Did you mean 'heads'"), ("(", "regular expression"), (4, "4")]
)
def test_errors_say_what_to_do(networks, stage, words):
    with pytest.raises(ValueError, match=words):
        chosen(networks["resnet18"], stage)


def test_stages_are_asked_for():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2, name="mrcnn_x")])
    with pytest.raises(ValueError, match="stages are known"):
        select_layers(model, "4+", False)
