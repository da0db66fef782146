"""Published weight files by name: downloaded once, verified, and kept in a cache folder."""

from __future__ import annotations

import contextlib
import difflib
import errno
import hashlib
import itertools
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from mrcnn.weights import transfer
from mrcnn.weights.transfer import NetworkError

logger = logging.getLogger("mrcnn")

_RETRIES = 4  # retries in a row that receive nothing new
_ATTEMPTS = 100  # in all, so that a server cannot send the file byte by byte
_PAUSE = 1.0  # seconds before a retry
_BLOCK_BYTES = 2**18  # of a file, read at a time
_MAX_BYTES = 10**9  # limit for a file of unknown size

Progress = Callable[[int, int | None], None]


class Published(NamedTuple):
    """A published weight file.

    Attributes:
        url: str. Where it is downloaded from.
        size: int or None. Its size in bytes. None: unknown.
        checksum: str or None. `"sha256:..."` or `"md5:..."`. The digits may be only the first
            ones, as in the names of some files. These find damage, but a file with the same first
            digits can be made in seconds. None: unknown.
        text: str. One line that says what it is.
    """

    url: str
    size: int | None
    checksum: str | None
    text: str

    @property
    def file(self) -> str:
        """The name of the file, as published."""
        return self.url.rsplit("/", 1)[1]

    @property
    def is_verified(self) -> bool:
        """Whether the checksum is a whole one, so that no other file passes for this one."""
        algorithm, _, digits = (self.checksum or "").partition(":")
        return len(digits) == {"sha256": 64, "md5": 32}.get(algorithm)


_TORCHVISION = "https://download.pytorch.org/models/"
_DETECTRON2 = "https://dl.fbaipublicfiles.com/detectron2/COCO-InstanceSegmentation/"
# The APs are those published with the files: on COCO val2017, and on minival for Matterport's file.
# The MD5 digits come from Detectron2's file names. The SHA-256 sums are public; torchvision's file
# names contain their first digits.
PUBLISHED = {
    "coco-torchvision-r50": Published(
        _TORCHVISION + "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth",
        178_090_079,
        "sha256:bf2d0c1efbc936eeee2bc95a48e80ebc86b891f61b0106485937fc29f9315fc0",
        "torchvision, ResNet-50 FPN: box AP 37.9, mask AP 34.6",
    ),
    "coco-torchvision-r50-v2": Published(
        _TORCHVISION + "maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth",
        185_828_065,
        "sha256:73cbd0190fcbe3ba339921fbce2c3a0b6bb9126c9a133c85e43a2a8e060a109e",
        "torchvision, ResNet-50 FPN version 2: box AP 47.4, mask AP 41.8",
    ),
    "coco-detectron2-r50-1x": Published(
        _DETECTRON2 + "mask_rcnn_R_50_FPN_1x/137260431/model_final_a54504.pkl",
        None,
        "md5:a54504",
        "Detectron2, ResNet-50 FPN 1x: box AP 38.6, mask AP 35.2 (CC BY-SA 3.0)",
    ),
    "coco-detectron2-r50-3x": Published(
        _DETECTRON2 + "mask_rcnn_R_50_FPN_3x/137849600/model_final_f10217.pkl",
        177_841_981,
        "sha256:9a737e290372f1f70994ebcbd89d8004dbb3ae30a605fd915a190fa4a782dd66",
        "Detectron2, ResNet-50 FPN 3x: box AP 41.0, mask AP 37.2 (CC BY-SA 3.0)",
    ),
    "coco-detectron2-r101-3x": Published(
        _DETECTRON2 + "mask_rcnn_R_101_FPN_3x/138205316/model_final_a3ec72.pkl",
        None,
        "md5:a3ec72",
        "Detectron2, ResNet-101 FPN 3x: box AP 42.9, mask AP 38.6 (CC BY-SA 3.0)",
    ),
    "coco-matterport": Published(
        "https://github.com/matterport/Mask_RCNN/releases/download/v2.0/mask_rcnn_coco.h5",
        257_557_808,
        None,
        "Matterport, ResNet-101 FPN: box AP 34.7, mask AP 29.6",
    ),
    "imagenet-resnet50": Published(
        "https://github.com/fchollet/deep-learning-models/releases/download/v0.2/"
        "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        94_653_016,
        "md5:a268eb855778b3df3c7506639542a6af",
        "Keras, ResNet-50 of ImageNet without its top, in caffe's preprocessing",
    ),
}


def known() -> dict[str, Published]:
    """Returns the published files by name."""
    return dict(PUBLISHED)


def cache_folder() -> Path:
    """Returns the folder of downloaded files.

    It is `$MRCNN_HOME` if set, otherwise `$XDG_CACHE_HOME/mrcnn`, otherwise `~/.cache/mrcnn`.
    """
    if home := os.environ.get("MRCNN_HOME"):
        return Path(home).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "mrcnn"


def download(
    name: str, folder: str | os.PathLike | None = None, progress: Progress | None = None
) -> Path:
    """Returns the path of a published file, and downloads it first if needed.

    Args:
        name: str. A key of `known()`.
        folder: str or path. Where the file is kept. Defaults to None: `cache_folder()`.
        progress: callable. See `fetch`. Defaults to None.

    Raises:
        ValueError: no published file has this name (the message lists all names), or the
            downloaded file is not the published one.
        OSError: the file cannot be downloaded or written.
    """
    if name not in PUBLISHED:
        raise ValueError(f"No published file is called {name!r}. {_suggestion(name)}")
    folder = cache_folder() if folder is None else Path(folder)
    return fetch(PUBLISHED[name], folder / PUBLISHED[name].file, progress)


def path_or_download(name_or_path: str | os.PathLike, progress: Progress | None = None) -> Path:
    """Returns an existing path as it is, or downloads the published file of that name.

    Args:
        name_or_path: str or path. A file, a folder, or a key of `known()`.
        progress: callable. See `fetch`. Defaults to None.

    Raises:
        FileNotFoundError: neither a path nor a published name; the message lists all names.
        ValueError: the downloaded file is not the published one.
        OSError: the file cannot be downloaded or written.
    """
    if Path(name_or_path).exists():
        return Path(name_or_path)
    if isinstance(name_or_path, str) and name_or_path in PUBLISHED:
        return download(name_or_path, progress=progress)
    raise FileNotFoundError(
        f"{name_or_path}: no such file, and no published file has that name. "
        f"{_suggestion(str(name_or_path))}"
    )


def _suggestion(name: str) -> str:
    near = difflib.get_close_matches(name, PUBLISHED, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    return f"{hint}Available names: {', '.join(PUBLISHED)}."


def fetch(row: Published, path: str | os.PathLike, progress: Progress | None = None) -> Path:
    """Downloads a published file, unless the path already holds a complete copy.

    The bytes of an interrupted download are kept beside the file (`.part`), and the next call
    resumes from them. If two processes ask for one file, the second waits for the first and uses
    its result.

    Args:
        row: Published. The file, a value of `known()`.
        path: str or path. Where to write it. A missing folder is created.
        progress: callable. Called with the number of bytes received and the total number, which is
            None if unknown. Defaults to None.

    Returns:
        The path.

    Raises:
        ValueError: size or checksum of the downloaded file are wrong. It is deleted.
        OSError: the file cannot be downloaded or written. The message says why and what to do.
    """
    path = Path(path)
    try:
        if _mismatch(row, path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with _exclusive(path.with_name(f"{path.name}.lock")):
                # Another process may have downloaded it in the meantime.
                if mismatch := _mismatch(row, path):
                    _Download(row, path, mismatch, progress).run()
    except OSError as error:
        if error.errno is None:  # it already has a message of ours
            raise
        text = f"cannot write {path}: {error.strerror}. Free disk space or choose another folder"
        raise OSError(error.errno, f"{text} (set MRCNN_HOME)", str(path)) from error
    return path


def _mismatch(row: Published, path: Path) -> str | None:
    """Returns what is wrong with a file, or None if its size and checksum are as published."""
    if not path.is_file():
        return "no such file"
    size = path.stat().st_size
    if row.size not in (None, size):
        return f"expected {row.size:,} bytes, got {size:,}"
    if row.checksum is None:
        return None
    algorithm, expected = row.checksum.split(":")
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    found = digest.hexdigest()[: len(expected)]
    return None if found == expected else f"expected {algorithm} {expected}, got {found}"


class _Download:
    """One download with its retries.

    Args:
        row: Published.
        path: Path. Where the complete file goes.
        mismatch: str. What is wrong with the file at `path`.
        progress: callable or None. See `fetch`.
    """

    def __init__(self, row, path, mismatch, progress):
        self.row = row
        self.path = path
        self.mismatch = mismatch
        self.progress = progress
        self.part = path.with_name(f"{path.name}.part")
        # Names the version of the file on the server that the partial file belongs to.
        self.tag = path.with_name(f"{path.name}.part.tag")

    def run(self):
        self._receive_with_retries()
        with open(self.part, "r+b") as file:
            os.fsync(file.fileno())
        if mismatch := _mismatch(self.row, self.part):
            self._discard()
            raise self._invalid(mismatch)
        os.replace(self.part, self.path)
        self._discard()
        if not self.row.is_verified:
            logger.warning(
                "%s is not verified: its publisher states no whole checksum. Its contents are "
                "those that %s sent.",
                self.path,
                self.row.url.split("/")[2],
            )

    def _receive_with_retries(self):
        retries, most = _RETRIES, self._received()
        pace = transfer.Pace()
        for attempt in itertools.count(1):
            try:
                self._receive(pace)
                return
            except NetworkError as error:
                if error.restart:
                    self._discard()
                # Only attempts that receive nothing new count.
                retries = _RETRIES if self._received() > most else retries - 1
                most = max(most, self._received())
                if retries < 0 or attempt == _ATTEMPTS or not error.retry:
                    raise self._unreachable(error) from error
                time.sleep(_PAUSE)

    def _received(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _discard(self):
        self.part.unlink(missing_ok=True)
        self.tag.unlink(missing_ok=True)

    def _receive(self, pace):
        """Sends one request: for the rest of the file if the version is known, else for all."""
        tag = self.tag.read_text("latin-1") if self.tag.exists() else ""
        done = self._received() if tag.isprintable() and tag else 0
        if done and done == self.row.size:
            return
        headers = {"User-Agent": "mrcnn"}
        if done:
            headers |= {"Range": f"bytes={done}-", "If-Range": tag}
        with transfer.opened(self.row.url, headers, resumed=done > 0) as (response, blocks):
            self._write(response, blocks, done, tag, pace)

    def _write(self, response, blocks, done, tag, pace):
        """Appends a response to the partial file, or replaces the partial file with it."""
        if self.row.url.startswith("https:") and not response.url.startswith("https:"):
            raise self._invalid(f"the server redirects to {response.url[:200]}, expected https")
        resumes = response.status == 206
        span = response.headers.get("Content-Range", "")
        if resumes and not (span.startswith(f"bytes {done}-") and tag == _version(response)):
            raise NetworkError("the server sent a part of another version", restart=True)
        # "bytes 100-199/200" ends with the total size.
        total = span.rpartition("/")[2] if resumes else response.headers.get("Content-Length", "")
        total = int(total) if total.isdecimal() and len(total) < 20 else self.row.size
        limit = self.row.size or _MAX_BYTES
        if total is not None and (total > limit or total < (self.row.size or 0)):
            raise self._invalid(f"expected {limit:,} bytes, the server announced {total:,}")
        with open(self.part, "ab") as file:
            if not resumes:
                done = 0
                file.truncate(0)  # before the tag changes
                self.tag.write_text(_version(response), "latin-1")
            for block in blocks:
                done += len(block)
                if done > limit:
                    break
                file.write(block)
                pace.add(len(block))
                if self.progress:
                    self.progress(done, total)
        if done > limit:
            self._discard()
            raise self._invalid(f"expected at most {limit:,} bytes, received more")
        if done < (total or 0):
            raise NetworkError(f"the connection ended after {done:,} of {total:,} bytes")

    def _invalid(self, mismatch) -> ValueError:
        return ValueError(
            f"The file downloaded from {self.row.url} is not {self.row.file}: {mismatch}. It was "
            "discarded. Try again. If a proxy or a login page answers instead of the server, "
            f"download the file elsewhere and save it as {self.path}."
        )

    def _unreachable(self, reason) -> ConnectionError:
        done = self._received()
        text = f"{self.row.file} cannot be downloaded from {self.row.url} ({reason}). "
        if self.path.exists():
            text += f"The existing file is not the published one: {self.mismatch}. "
        if done:
            text += f"{done:,} bytes are kept; the next attempt resumes if the server allows it. "
        return ConnectionError(
            f"{text}If you are behind a proxy, set https_proxy. If this machine has no network, "
            f"download the file elsewhere and save it in the folder {self.path.parent} as "
            f"{self.path.name}, or pass the path of your copy instead of the name."
        )


def _version(response) -> str:
    """Returns what identifies a version of a file: a strong ETag, else the date, else ""."""
    etag = response.headers.get("ETag", "W/")
    return response.headers.get("Last-Modified", "") if etag.startswith("W/") else etag


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Lets one process at a time into the block. The lock ends with the process that holds it."""
    while True:
        with open(path, "ab") as file:
            _lock(file)
            try:
                held = os.path.samestat(os.fstat(file.fileno()), os.stat(path))
            except FileNotFoundError:
                held = False
            if not held:
                continue  # the last holder has removed it, and others lock a new file
            try:
                yield
            finally:
                with contextlib.suppress(OSError):  # Windows does not remove an open file
                    os.unlink(path)
            return


def _lock(file):
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
        return
    import msvcrt

    while True:
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
            return
        except OSError as error:
            if error.errno != errno.EDEADLK:  # another process held it for ten seconds
                raise
