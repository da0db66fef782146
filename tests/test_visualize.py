"""Drawing into arrays, and Matterport's matplotlib functions without a screen."""

import time
import warnings

import cv2
import matplotlib
import numpy as np
import pytest

from mrcnn import visualize as vis
from mrcnn.images import rle
from mrcnn.images.captions import ascii_text

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

NAMES = ["BG", "cat", "dog"]


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def scene(count, size=100):
    """Returns a gray image and the boxes, masks, class ids and scores of small squares."""
    side = int(np.ceil(np.sqrt(max(count, 1))))
    step = size // side
    masks = np.zeros((size, size, count), bool)
    boxes = np.zeros((count, 4), np.int32)
    for i in range(count):
        y, x = i // side * step, i % side * step
        boxes[i] = y, x, y + max(step - 3, 1), x + max(step - 3, 1)
        masks[boxes[i][0] : boxes[i][2], boxes[i][1] : boxes[i][3], i] = True
    ids = np.arange(count, dtype=np.int32) % 2 + 1
    image = np.full((size, size, 3), 90, np.uint8)
    return image, boxes, masks, ids, np.linspace(1, 0.5, count).astype(np.float32)


# --- draw_instances ------------------------------------------------------------------------------
@pytest.mark.parametrize("count", [0, 1, 7, 129])
def test_draw_any_number(count):
    image, boxes, masks, ids, scores = scene(count, 300)
    before = image.copy()
    drawn = vis.draw_instances(image, boxes, masks, ids, NAMES, scores)
    assert drawn.shape == image.shape and drawn.dtype == np.uint8
    assert (image == before).all()
    assert (drawn != image).any() == bool(count)


def test_a_result_codes_and_masks_draw_the_same():
    image, boxes, masks, ids, scores = scene(5)
    expected = vis.draw_instances(image, boxes, masks, ids, NAMES, scores)
    result = {"rois": boxes, "class_ids": ids, "scores": scores}
    codes = rle.masks_to_rles(masks)
    for part in ({"masks": masks}, {"rles": codes}):
        assert (vis.draw_instances(image, result | part, class_names=NAMES) == expected).all()
    again = vis.draw_instances(image, boxes, masks.astype(np.uint8), ids, NAMES, scores)
    assert (again == expected).all()
    vis.draw_instances(image, result)  # no masks, no names


def test_blending_and_colors():
    image, boxes, masks, ids, _ = scene(4)
    y, x = boxes[2, :2] + 20
    plain = {"boxes": False, "captions": False}
    drawn = vis.draw_instances(image, boxes, masks, ids, colors=[(1.0, 0.0, 0.0)] * 4, **plain)
    np.testing.assert_allclose(drawn[y, x], [90 * 0.55 + 255 * 0.45, 90 * 0.55, 90 * 0.55], atol=1)
    assert (vis.draw_instances(image, boxes, masks, ids, alpha=0, **plain)[y, x] == 90).all()
    drawn = vis.draw_instances(image, boxes, masks, ids, colors="class", **plain)
    places = [tuple(box[:2] + 20) for box in boxes]
    assert (drawn[places[0]] == drawn[places[2]]).all()
    assert (drawn[places[0]] != drawn[places[1]]).any()
    with pytest.raises(ValueError, match="'rainbow'"):
        vis.draw_instances(image, boxes, masks, ids, colors="rainbow")
    with pytest.raises(ValueError, match="each of 4"):
        vis.draw_instances(image, boxes, masks, ids, colors=[(1, 0, 0)])


def test_outline_is_closed_at_the_border():
    image = np.zeros((40, 40, 3), np.uint8)
    args = {"boxes": False, "captions": False, "colors": [(0, 255, 0)], "alpha": 0.2}
    drawn = vis.draw_instances(image, [[0, 0, 40, 40]], np.ones((40, 40, 1), bool), [1], **args)
    for edge in (drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1]):
        assert (edge[1:-1, 1] == 255).all()
    assert drawn[20, 20, 1] == 51


def test_scale_enlarges_image_masks_and_boxes():
    image, boxes, masks, ids, scores = scene(4, 30)
    drawn = vis.draw_instances(image, boxes, masks, ids, NAMES, scores, scale=4)
    assert drawn.shape == (120, 120, 3)
    plain = vis.draw_instances(image, boxes, masks, ids, scale=4, captions=False)
    y1, x1, y2, x2 = boxes[3] * 4
    assert (plain[(y1 + y2) // 2, (x1 + x2) // 2] != 90).any() and (plain[y2 + 3, x1] == 90).all()
    with pytest.raises(ValueError, match="scale"):
        vis.draw_instances(image, boxes, scale=1.5)


@pytest.mark.parametrize("box", [[0, 0, 20, 20], [0, 280, 20, 300], [285, 290, 300, 300]])
def test_captions_stay_inside_the_image(box):
    image = np.full((300, 300, 3), 90, np.uint8)
    args = {"class_ids": [1], "class_names": ["BG", "wine glass"], "colors": [(0, 255, 0)]}
    drawn = vis.draw_instances(image, [box], boxes=False, **args)
    inside = vis.draw_instances(image, [[140, 100, 200, 160]], boxes=False, **args)
    assert 300 < (drawn != 90).any(-1).sum() == (inside != 90).any(-1).sum()  # all of it


def test_captions_never_hide_each_other():
    image = np.full((300, 300, 3), 90, np.uint8)
    boxes = np.array([[100, 100, 140, 160]]) + np.arange(6)[:, None] * 5
    colors = list(vis.palette(6))
    args = {"class_names": NAMES, "boxes": False}
    drawn = vis.draw_instances(image, boxes, None, [1] * 6, colors=colors, **args)
    visible = [(drawn == color).all(-1).sum() for color in colors]
    for i, color in enumerate(colors):  # each is drawn completely or not at all
        alone = vis.draw_instances(image, boxes[i : i + 1], None, [1], colors=[color], **args)
        assert visible[i] in (0, (alone == color).all(-1).sum())
    assert np.count_nonzero(visible) >= 2


def test_crowded_images_have_no_captions():
    image, boxes, masks, ids, scores = scene(400, 500)
    half = slice(0, 200)  # below them is room for captions of a few
    parts = boxes[half], masks[..., half], ids[half]
    plain = vis.draw_instances(image, *parts, captions=False)
    assert (vis.draw_instances(image, *parts, NAMES, scores[half]) == plain).all()
    texts = ["here"] * 200  # captions that the user asks for are always drawn
    assert (vis.draw_instances(image, *parts, captions=texts) != plain).any()


def test_four_hundred_instances_are_fast():
    image, boxes, masks, ids, scores = scene(400, 600)
    start = time.perf_counter()
    vis.draw_instances(image, boxes, masks, ids, NAMES, scores)
    assert time.perf_counter() - start < 5  # takes 0.3 s


def test_names_outside_ascii():
    assert ascii_text("Zellkörper", 3) == "Zellkorper" and ascii_text("細胞", 3) == "class 3"


def test_counts_that_differ_are_reported_with_shapes():
    image, boxes, masks, ids, scores = scene(4)
    for call in (vis.draw_instances, vis.display_instances):
        with pytest.raises(ValueError, match=r"\(4, 4\).*\(4,\).*\(100, 100, 3\)"):
            call(image, boxes, masks[..., :3], ids, NAMES)
        with pytest.raises(ValueError, match=r"scores \(2,\)"):
            call(image, boxes, masks, ids, NAMES, scores[:2])
    with pytest.raises(ValueError, match="50x100 .*100x100"):
        vis.draw_instances(image, boxes, masks[:50], ids)


@pytest.mark.parametrize(
    "image",
    [
        np.arange(64, dtype=np.uint8).reshape(8, 8),
        np.arange(64, dtype=np.uint16).reshape(8, 8, 1) * 300,
        np.arange(64, dtype=np.int64).reshape(8, 8),
        np.linspace(0, 1, 192).reshape(8, 8, 3),
        np.linspace(-120, 130, 192, dtype=np.float32).reshape(8, 8, 3),
        np.eye(8, dtype=bool),
        np.dstack([np.arange(64, dtype=np.uint8).reshape(8, 8)] * 4),
    ],
)
def test_any_image_can_be_drawn(image):
    shown = vis.to_display(image)
    assert shown.shape == (8, 8, 3) and shown.dtype == np.uint8 and shown.std() > 0


def test_sixteen_bits_are_stretched_not_cast():
    image = np.linspace(1000, 3000, 10000).astype(np.uint16).reshape(100, 100)
    shown = vis.to_display(image)
    assert shown.min() == 0 and shown.max() == 255 and (np.diff(shown[..., 0].ravel()) >= 0).all()
    assert vis.to_display(np.full((4, 4), 700, np.uint16)).shape == (4, 4, 3)
    with pytest.raises(ValueError, match=r"\(3,\)"):
        vis.to_display(np.zeros(3))


def test_palette_is_stable_and_distinct():
    assert (vis.palette(500)[:7] == vis.palette(7)).all() and vis.palette(0).shape == (0, 3)
    assert len(np.unique(vis.palette(400), axis=0)) == 400
    first = vis.palette(12).astype(int)
    gaps = np.abs(first[:, None] - first).sum(-1) + np.eye(12, dtype=int) * 999
    assert gaps.min() > 60


def test_save_instances(tmp_path):
    image, boxes, masks, ids, scores = scene(3)
    path = tmp_path / "näher" / "a.png"
    vis.save_instances(path, image, boxes, masks, ids, NAMES, scores, scale=2)
    saved = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert (saved == vis.draw_instances(image, boxes, masks, ids, NAMES, scores, scale=2)).all()
    with pytest.raises(ValueError, match=r"\.xyz"):
        vis.save_instances(tmp_path / "a.xyz", image, boxes)
    assert [p.name for p in tmp_path.iterdir()] == ["näher"]


# --- Matterport's functions ----------------------------------------------------------------------
def test_display_instances_makes_and_shows_a_figure(monkeypatch):
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(1))
    image, boxes, masks, ids, scores = scene(4)
    scores[1], boxes[3] = 0, 0
    before = image.copy()
    vis.display_instances(image, boxes, masks, ids, NAMES, scores, title="t")
    ax = plt.gca()
    assert shown == [1] and ax.get_title() == "t" and (image == before).all()
    assert [t.get_text() for t in ax.texts] == ["cat 1.000", "dog", "cat 0.667"]  # no zero box
    assert ax.get_xlim() == (-10, 110) and ax.get_ylim() == (110, -10)
    _, own = plt.subplots()
    vis.display_instances(image, boxes, masks, ids, NAMES, ax=own, captions=list("abcd"))
    assert shown == [1] and [t.get_text() for t in own.texts] == ["a", "b", "c"]


def test_display_instances_without_instances_or_masks(capsys):
    image, boxes, masks, ids, _ = scene(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vis.display_instances(image, boxes, masks, ids, NAMES)
    assert "No instances to display" in capsys.readouterr().out
    image, boxes, masks, ids, scores = scene(3)
    vis.display_instances(image.astype(np.uint16) * 100, boxes, None, ids, NAMES, scores)
    vis.display_instances(image, boxes, masks.astype(np.uint8), ids, NAMES, colors=[(1, 0, 0)] * 3)


def test_display_differences():
    image, boxes, masks, ids, _ = scene(3)
    _, ax = plt.subplots()
    scores = np.array([0.6, 0.9, 0.7])
    vis.display_differences(image, boxes, ids, masks, boxes, [1, 1, 1], scores, masks, NAMES, ax=ax)
    texts = [t.get_text() for t in ax.texts]
    assert texts == ["", "", "", "0.90 / 1.00", "0.70 / 1.00", "0.60 / 1.00"]
    assert "GT=green" in ax.get_title()
    none = np.zeros((0, 4)), np.zeros(0, int)
    vis.display_differences(image, *none, masks[..., :0], boxes, ids, scores, masks, NAMES, ax=ax)
    vis.display_differences(
        image, boxes, ids, masks, *none, np.zeros(0), masks[..., :0], NAMES, ax=ax
    )


def test_apply_mask_and_draw_box_write_in_place():
    image = np.full((20, 20, 3), 100, np.uint8)
    mask = np.zeros((20, 20), bool)
    mask[:5] = True
    assert vis.apply_mask(image, mask, (1.0, 0.0, 0.5)) is image
    assert image[0, 0].tolist() == [177, 50, 113] and image[10, 10].tolist() == [100] * 3
    assert vis.draw_box(image, np.array([6, 6, 15, 15]), [255, 0, 0]) is image
    assert image[6, 6].tolist() == image[16, 8].tolist() == [255, 0, 0]
    assert image[10, 10].tolist() == [100] * 3


def test_random_colors():
    colors = vis.random_colors(5)
    assert len(set(colors)) == 5 and all(max(c) == 1.0 for c in colors)
    assert all(max(c) == 0.7 for c in vis.random_colors(3, bright=False))
    assert vis.random_colors(0) == []


def test_the_other_figures_draw(capsys):
    image, boxes, masks, ids, scores = scene(5)
    ids[0] = 0
    vis.display_images(
        [image, image[..., 0], image[..., :1], image.astype(np.uint16)], list("abcd")
    )
    assert [ax.get_title() for ax in plt.gcf().axes] == list("abcd")
    vis.display_top_masks(image, masks, ids, NAMES)
    assert [ax.get_title() for ax in plt.gcf().axes][1:] == ["cat", "dog", "BG", "-"]
    vis.display_top_masks(image, masks.astype(np.uint8), ids, NAMES)  # sums are unsigned
    assert [ax.get_title() for ax in plt.gcf().axes][1:] == ["cat", "dog", "BG", "-"]
    mini = np.random.default_rng(0).random((5, 28, 28))
    vis.draw_rois(image, boxes, boxes + 1, mini, ids, NAMES, limit=3)
    assert "Positive ROIs:  4" in capsys.readouterr().out
    vis.plot_precision_recall(0.5, [1, 0.5, 0], [0, 0.5, 1])
    assert plt.gca().get_title() == "Precision-Recall Curve. AP@50 = 0.500"
    vis.plot_overlaps(ids, [1, 2], [0.9, 0.8], np.eye(2, 4), NAMES)
    assert "1.000\nwrong" in [t.get_text() for t in plt.gca().texts]
    vis.draw_boxes(image, boxes, boxes + 2, masks, list("abcde"), [0, 1, 2, 2, 1], "title")
    vis.draw_boxes(image, refined_boxes=boxes)
    with pytest.raises(ValueError, match="boxes"):
        vis.draw_boxes(image)
    plt.gcf().canvas.draw()


def test_tables(capsys, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "IPython", None)

    class Weight:
        def __init__(self, name):
            self.path = name

    class Conv2D:
        weights = [Weight("k"), Weight("b")]

        def get_weights(self):
            return [np.array([[1.0, 2000.0]]), np.zeros(2)]

    class Dense(Conv2D):
        pass

    class Model:
        def get_trainable_layers(self):
            return [Conv2D(), Dense()]

    vis.display_weight_stats(Model())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("WEIGHT NAME") and "Overflow?" in lines[1]
    assert "dead?" not in lines[2] and "dead?" in lines[4]


def test_fewer_names_than_classes():
    """Classes without a name are called "class 2", in every drawing."""
    image, boxes, masks, ids, scores = scene(4)
    ids = ids + 1  # 2 and 3; there are names up to 1
    names = ["BG", "cat"]
    vis.draw_instances(image, boxes, masks, ids, names, scores)
    vis.display_instances(image, boxes, masks, ids, names, scores)
    assert [text.get_text()[:7] for text in plt.gca().texts] == ["class 2", "class 3"] * 2
    vis.display_differences(image, boxes, ids, masks, boxes, ids, scores, masks, names)
    vis.display_top_masks(image, masks, ids, names)
    vis.plot_overlaps(ids, ids, scores, np.eye(4), names)
    vis.draw_rois(image, boxes, boxes, np.ones((4, 28, 28)), ids, names)
