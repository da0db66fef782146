"""Files of PyTorch without PyTorch: the tests write them in its formats."""

import struct
import zipfile

import numpy as np
import pytest
from writers import write_old, write_safe, write_zip

from mrcnn.weights.files.tensors import read_safetensors, read_torch


def example():
    rng = np.random.default_rng(0)
    return {
        "model": {
            "conv.weight": rng.normal(size=(4, 3, 2, 2)).astype("float32"),
            "bn.num_batches_tracked": np.array(7, "int64"),
            "turned": rng.normal(size=(5, 3)).astype("float32").T,
            "part": rng.normal(size=10).astype("float32")[4:8],
            "half": rng.normal(size=3).astype("float16"),
            "none": np.zeros((0, 4), "float32"),
        },
        "epoch": 3,
    }


def check(found):
    expected = example()
    assert found["epoch"] == 3 and list(found["model"]) == list(expected["model"])
    for name, array in expected["model"].items():
        assert found["model"][name].dtype == array.dtype
        np.testing.assert_array_equal(found["model"][name], array)


@pytest.mark.parametrize("write", [write_zip, write_old])
def test_both_formats(tmp_path, write):
    check(read_torch(write(tmp_path / "model.pth", example())))


def test_bfloat16(tmp_path):
    values = np.array([1.0, -2.5, 3e38], "float32")
    upper = (values.view("uint32") >> 16).astype("uint16")
    found = read_torch(write_zip(tmp_path / "a.pth", {"a": upper}))["a"]
    np.testing.assert_allclose(found, values, rtol=0.01)


def test_arrays_are_views_that_cannot_be_written(tmp_path):
    found = read_torch(write_zip(tmp_path / "a.pth", example()))["model"]["conv.weight"]
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 1


# --- What is refused -----------------------------------------------------------------------------
def test_a_zip_bomb(tmp_path):
    path = write_zip(tmp_path / "a.pth", {"a": np.zeros(10**6, "float32")}, zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="a.pth.*compressed"):
        read_torch(path)


def test_a_command_in_a_checkpoint(tmp_path):
    evil = b"\x80\x02cos\nsystem\n(X\x05\x00\x00\x00touchtR."
    path = write_zip(tmp_path / "a.pth", {}, change=lambda data: evil)
    with pytest.raises(ValueError, match="a.pth is refused because it contains os.system"):
        read_torch(path)


@pytest.mark.parametrize("write", [write_zip, write_old])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated(tmp_path, write, share):
    path = write(tmp_path / "a.pth", {"a": np.arange(5000, dtype="float32")})
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match="a.pth"):
        read_torch(path)


@pytest.mark.parametrize(
    "old, new, message",
    [
        (b"K\x04K\x03K\x02K\x02", b"K\x04K\x03K\x02K\x03", "exceeds its storage"),
        (b"FloatStorage", b"DoubleStorage", "has 192 bytes"),
        (b"K0tQ", b"K\xfftQ", "255 numbers has 192 bytes"),
    ],
)
def test_shapes_that_disagree(tmp_path, old, new, message):
    content = {"a": example()["model"]["conv.weight"]}
    path = write_zip(tmp_path / "a.pth", content, change=lambda data: data.replace(old, new))
    with pytest.raises(ValueError, match=message):
        read_torch(path)


def test_no_file(tmp_path):
    for read in (read_torch, read_safetensors):
        with pytest.raises(FileNotFoundError, match="nothing.pth"):
            read(tmp_path / "nothing.pth")


# --- safetensors ---------------------------------------------------------------------------------
def test_safetensors(tmp_path):
    a, b = np.arange(6, dtype="float32").reshape(2, 3), np.array(5, "int64")
    header = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "I64", "shape": [], "data_offsets": [24, 32]},
        "c": {"dtype": "BF16", "shape": [1], "data_offsets": [32, 34]},
    }
    data = a.tobytes() + b.tobytes() + b"\x80\x3f"
    found = read_safetensors(write_safe(tmp_path / "a.safetensors", header, data))
    np.testing.assert_array_equal(found["a"], a)
    assert found["b"] == 5 and found["b"].shape == () and found["c"].tolist() == [1.0]


@pytest.mark.parametrize(
    "header, message",
    [
        (b"{ ", "a safetensors file: Expecting"),
        (b"[1]", "header"),
        ({"a": 1}, "header"),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 800]}}, "800 bytes"),
        ({"a": {"dtype": "F32", "shape": [200], "data_offsets": [0, 800]}}, "end at byte 800"),
        ({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}}, "shape"),
        ({"a": {"dtype": "OBJ", "shape": [1], "data_offsets": [0, 4]}}, "OBJ"),
    ],
)
def test_damaged_safetensors(tmp_path, header, message):
    path = write_safe(tmp_path / "a.safetensors", header, b"1234")
    with pytest.raises(ValueError, match=f"a.safetensors cannot be read.*{message}"):
        read_safetensors(path)
    path.write_bytes(struct.pack("<Q", 2**60) + b"{}")
    with pytest.raises(ValueError, match="its header has"):
        read_safetensors(path)
