"""Writes weight files in the formats of PyTorch, without PyTorch."""

import io
import json
import pickle
import struct
import zipfile

import numpy as np

KINDS = {
    "float32": "FloatStorage",
    "int64": "LongStorage",
    "float16": "HalfStorage",
    "uint16": "BFloat16Storage",
}


class Writer(pickle._Pickler):
    """Pickles arrays as torch pickles tensors, and keeps their data."""

    def __init__(self, file):
        super().__init__(file, 2)
        self.storages = []

    def save(self, value, save_persistent_id=True):
        if isinstance(value, np.ndarray):
            base = value if value.base is None else value.base
            base = base.reshape(-1)
            offset = value.__array_interface__["data"][0] - base.__array_interface__["data"][0]
            strides = tuple(s // value.itemsize for s in value.strides)
            self.write(b"ctorch._utils\n_rebuild_tensor_v2\n(")
            self.write(b"(")
            super().save("storage")
            self.write(b"ctorch\n" + KINDS[str(value.dtype)].encode() + b"\n")
            super().save(str(len(self.storages)))
            super().save("cpu")
            super().save(base.size)
            self.write(b"tQ")
            super().save(offset // value.itemsize)
            super().save(value.shape)
            super().save(strides)
            super().save(False)
            super().save({})
            self.write(b"tR")
            self.storages.append(base)
        else:
            super().save(value, save_persistent_id)


def pickled(content):
    file = io.BytesIO()
    writer = Writer(file)
    writer.dump(content)
    return file.getvalue(), writer.storages


def write_zip(path, content, compression=zipfile.ZIP_STORED, change=lambda data: data):
    data, storages = pickled(content)
    members = {"data.pkl": change(data), "byteorder": b"little"}
    members |= {f"data/{number}": storage.tobytes() for number, storage in enumerate(storages)}
    members["version"] = b"3\n"
    with zipfile.ZipFile(path, "w") as file:
        for name, member in members.items():  # a ZipInfo without a time: the same file every time
            file.writestr(zipfile.ZipInfo(f"archive/{name}"), member, compression)
    return path


def write_old(path, content):
    data, storages = pickled(content)
    keys = [str(number) for number in range(len(storages))]
    with open(path, "wb") as file:
        for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
            file.write(pickle.dumps(part, 2))
        file.write(data + pickle.dumps(keys, 2))
        for storage in storages:
            file.write(struct.pack("<q", storage.size) + storage.tobytes())
    return path


def write_safe(path, header, data=b""):
    """Writes a safetensors file. A dict is written as JSON, bytes as they are."""
    text = json.dumps(header).encode() if isinstance(header, dict) else header
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def zipped(members, method=zipfile.ZIP_STORED):
    """Returns a zip file of members, which may have the same name."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as target:
        for name, data in members:
            target.NameToInfo.pop(name, None)  # Python warns of a name that is there twice
            target.writestr(zipfile.ZipInfo(name), data, method)
    return file.getvalue()


def replaced(data, old, new, which=0):
    """Replaces one occurrence; a test that finds none would show nothing."""
    parts = data.split(old)
    assert len(parts) > which + 1
    return old.join(parts[: which + 1]) + new + old.join(parts[which + 1 :])
