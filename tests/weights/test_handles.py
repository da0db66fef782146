"""Files of many tensors take one of the few file handles that a process may have."""

import resource
import subprocess
import sys

import numpy as np
import pytest
from writers import write_old, write_safe, write_zip

COUNT = 307  # tensors of torchvision's Mask R-CNN
CODE = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
from mrcnn.weights.files import tensors
found = getattr(tensors, sys.argv[1])(sys.argv[2])
assert [array[0] for array in found.values()] == list(range(int(sys.argv[3])))
"""


def write_many_safe(path, arrays):
    header = {}
    for number, name in enumerate(arrays):
        header[name] = {
            "dtype": "F32",
            "shape": [4],
            "data_offsets": [16 * number, 16 * number + 16],
        }
    return write_safe(path, header, b"".join(array.tobytes() for array in arrays.values()))


@pytest.mark.parametrize(
    "write, read, name",
    [
        (write_zip, "read_torch", "a.pth"),
        (write_old, "read_torch", "a.pth"),
        (write_many_safe, "read_safetensors", "a.safetensors"),
    ],
)
def test_307_tensors_with_32_file_handles(tmp_path, write, read, name):
    arrays = {f"a{i}": np.full(4, i, "float32") for i in range(COUNT)}
    path = tmp_path / name
    write(path, arrays)
    command = [sys.executable, "-c", CODE, read, str(path), str(COUNT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_handle_is_left(tmp_path):
    """An error names the file; and what was opened is closed with the last array."""
    from mrcnn.weights.files.tensors import read_torch

    path = write_zip(tmp_path / "a.pth", {"a": np.zeros(4, "float32")})
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        for _ in range(300):
            read_torch(path)
        kept = []
        with pytest.raises(OSError, match="a.pth cannot be read as a PyTorch checkpoint: Too many"):
            for _ in range(300):
                kept.append(read_torch(path))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(kept) > 100
