"""Published weight files by name: fetched once, kept in a folder, each whole or not there."""

from __future__ import annotations

import contextlib
import difflib
import errno
import hashlib
import os
import time
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError, URLError

_TIMEOUT = 30  # seconds to connect, or without another byte
_RETRIES = 4  # attempts in a row that bring nothing new
_PAUSE = 1.0  # seconds before another attempt
_BLOCK = 2**18  # bytes read at once
_MOST = 10**9  # bytes taken of a file whose size is not known


class Published(NamedTuple):
    """One file that its makers publish.

    `size` in bytes, None: not known. `checksum` as "sha256:..." or "md5:...", perhaps the first
    digits alone, as file names carry them; None: not known.
    """

    url: str
    size: int | None
    checksum: str | None
    text: str

    @property
    def file(self) -> str:
        """Its name, as published."""
        return self.url.rsplit("/", 1)[1]


_TORCHVISION = "https://download.pytorch.org/models/"
_DETECTRON2 = "https://dl.fbaipublicfiles.com/detectron2/COCO-InstanceSegmentation/"
# AP on COCO's val2017, of Matterport's file on minival, as published with the files. MD5 digits are
# those of Detectron2's file names. A SHA-256 is public record, and torchvision's names begin it.
PUBLISHED = {
    "coco-torchvision-r50": Published(
        _TORCHVISION + "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth", 178_090_079,
        "sha256:bf2d0c1efbc936eeee2bc95a48e80ebc86b891f61b0106485937fc29f9315fc0",
        "torchvision, ResNet-50 FPN: box AP 37.9, mask AP 34.6"),
    "coco-torchvision-r50-v2": Published(
        _TORCHVISION + "maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth", 185_828_065,
        "sha256:73cbd0190fcbe3ba339921fbce2c3a0b6bb9126c9a133c85e43a2a8e060a109e",
        "torchvision, ResNet-50 FPN version 2: box AP 47.4, mask AP 41.8"),
    "coco-detectron2-r50-1x": Published(
        _DETECTRON2 + "mask_rcnn_R_50_FPN_1x/137260431/model_final_a54504.pkl", None, "md5:a54504",
        "Detectron2, ResNet-50 FPN 1x: box AP 38.6, mask AP 35.2 (CC BY-SA 3.0)"),
    "coco-detectron2-r50-3x": Published(
        _DETECTRON2 + "mask_rcnn_R_50_FPN_3x/137849600/model_final_f10217.pkl", 177_841_981,
        "sha256:9a737e290372f1f70994ebcbd89d8004dbb3ae30a605fd915a190fa4a782dd66",
        "Detectron2, ResNet-50 FPN 3x: box AP 41.0, mask AP 37.2 (CC BY-SA 3.0)"),
    "coco-detectron2-r101-3x": Published(
        _DETECTRON2 + "mask_rcnn_R_101_FPN_3x/138205316/model_final_a3ec72.pkl", None, "md5:a3ec72",
        "Detectron2, ResNet-101 FPN 3x: box AP 42.9, mask AP 38.6 (CC BY-SA 3.0)"),
    "coco-matterport": Published(
        "https://github.com/matterport/Mask_RCNN/releases/download/v2.0/mask_rcnn_coco.h5",
        257_557_808, None, "Matterport, ResNet-101 FPN: box AP 34.7, mask AP 29.6"),
    "imagenet-resnet50": Published(
        "https://github.com/fchollet/deep-learning-models/releases/download/v0.2/"
        "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        94_653_016, "md5:a268eb855778b3df3c7506639542a6af",
        "Keras, ResNet-50 of ImageNet without its top, in caffe's preprocessing"),
}  # fmt: skip


def known() -> dict[str, Published]:
    """The published files by name."""
    return dict(PUBLISHED)


def cache_folder() -> Path:
    """Where files are kept: $MRCNN_HOME, else $XDG_CACHE_HOME/mrcnn, else ~/.cache/mrcnn."""
    if home := os.environ.get("MRCNN_HOME"):
        return Path(home).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "mrcnn"


def download(name, folder=None, progress=None) -> Path:
    """The file of a name: the one in the folder where that is whole, else fetched.

    Args:
        name: of `known()`.
        folder: to keep it in; None: `cache_folder()`.
        progress: see `fetch`.

    Raises:
        ValueError: no such name, with those that there are; or as `fetch`.
        OSError: as `fetch`.
    """
    if name not in PUBLISHED:
        raise ValueError(f"No published file is called {name!r}. {_names(name)}")
    folder = cache_folder() if folder is None else Path(folder)
    return fetch(PUBLISHED[name], folder / PUBLISHED[name].file, progress)


def path_or_download(name_or_path, progress=None) -> Path:
    """The file or folder of that path where there is one, else the published file of that name.

    Raises:
        FileNotFoundError: neither, with the names that there are.
        ValueError, OSError: as `fetch`.
    """
    if Path(name_or_path).exists():
        return Path(name_or_path)
    if name_or_path in PUBLISHED:
        return download(name_or_path, progress=progress)
    neither = f"{name_or_path}: no such file, and no published file of that name."
    raise FileNotFoundError(f"{neither} {_names(name_or_path)}")


def _names(wrong) -> str:
    near = difflib.get_close_matches(str(wrong), PUBLISHED, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    return f"{hint}There are: {', '.join(PUBLISHED)}."


def fetch(row: Published, path, progress=None) -> Path:
    """Brings a published file to a path, unless it is there and whole.

    What a broken attempt brought stays beside it (`.part`), and the next one goes on from there.
    Of two processes that ask for one file, the second waits and takes what the first brought.

    Args:
        row: of `known()`.
        path: of the file to be written; its folder is made when missing.
        progress: function of the bytes that are there and of all bytes, None where not known.

    Returns:
        The path.

    Raises:
        ValueError: what came is not the file: size or checksum differ. Nothing of it is kept.
        OSError: it cannot be reached or written; with reason, path and what to do.
    """
    path = Path(path)
    try:
        if _misfit(row, path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with _alone(path.with_name(f"{path.name}.lock")):
                if misfit := _misfit(row, path):  # no other process has brought it meanwhile
                    _Fetch(row, path, misfit, progress).run()
    except OSError as error:
        if error.errno is None:  # explained already
            raise
        text = f"cannot keep {path}: {error.strerror}. Free space, or choose another folder"
        raise OSError(error.errno, f"{text} (MRCNN_HOME)", str(path)) from error
    return path


def _misfit(row, path) -> str | None:
    """What is wrong with a file; None: its size and checksum fit, as far as they are known."""
    if not path.is_file():
        return "no such file"
    size = path.stat().st_size
    if row.size not in (None, size):
        return f"{row.size:,} bytes expected, got {size:,}"
    if row.checksum is None:
        return None
    algorithm, digits = row.checksum.split(":")
    found = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    found = found.hexdigest()[: len(digits)]
    return None if found == digits else f"{algorithm} {digits} expected, got {found}"


class _Broken(Exception):
    """The network failed. `again`: another attempt may help; `anew`: without the part."""

    def __init__(self, reason, again=True, anew=False):
        super().__init__(str(reason) or type(reason).__name__)
        self.again, self.anew = again, anew


@contextlib.contextmanager
def _network(begun=True):
    """What the network raises, as `_Broken`: it is told apart from what the disk raises."""
    try:
        yield
    except HTTPError as error:
        error.close()
        anew = error.code == 416  # there is nothing beyond the part
        reason = f"HTTP {error.code} {error.reason}"
        raise _Broken(reason, again=anew or error.code >= 500, anew=anew) from error
    except URLError as error:  # no connection: where none was, waiting brings none
        raise _Broken(error.reason, again=begun) from error
    except (OSError, HTTPException) as error:
        raise _Broken(error) from error


class _Fetch:
    """The work of `fetch`. `misfit` says what is wrong with the file that is there."""

    def __init__(self, row, path, misfit, progress):
        self.row, self.path, self.misfit, self.progress = row, path, misfit, progress
        self.part = path.with_name(f"{path.name}.part")
        self.tag = path.with_name(f"{path.name}.part.tag")  # of the version that the part is of

    def run(self):
        left, most = _RETRIES, self._done()
        while True:
            try:
                self._receive()
                break
            except _Broken as error:
                if error.anew:
                    self._forget()
                left = _RETRIES if self._done() > most else left - 1
                most = max(most, self._done())
                if left < 0 or not error.again:
                    raise self._unreachable(error) from error
                time.sleep(_PAUSE)
        with open(self.part, "r+b") as file:
            os.fsync(file.fileno())
        if misfit := _misfit(self.row, self.part):
            self._forget()
            raise self._refused(misfit)
        os.replace(self.part, self.path)
        self._forget()

    def _done(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _forget(self):
        self.part.unlink(missing_ok=True)
        self.tag.unlink(missing_ok=True)

    def _receive(self):
        """One request: for the rest of the part where its version is known, else for all."""
        tag = self.tag.read_text("latin-1") if self.tag.exists() else ""
        done = self._done() if tag.isprintable() and tag else 0
        if done and done == self.row.size:
            return
        headers = {"User-Agent": "mrcnn"}
        if done:
            headers |= {"Range": f"bytes={done}-", "If-Range": tag}
        request = urllib.request.Request(self.row.url, headers=headers)
        with _network(begun=done > 0):
            answer = urllib.request.urlopen(request, timeout=_TIMEOUT)
        with answer:
            self._take(answer, done, tag)

    def _take(self, answer, done, tag):
        """Adds a body to the part, or puts it in its place."""
        rest = answer.status == 206
        span = answer.headers.get("Content-Range", "")
        if rest and not (span.startswith(f"bytes {done}-") and tag == _version(answer)):
            raise _Broken("the server answered with the rest of another version", anew=True)
        total = span.rpartition("/")[2] if rest else answer.headers.get("Content-Length", "")
        total = int(total) if total.isdecimal() else self.row.size
        most = self.row.size or _MOST
        if total is not None and (total > most or total < (self.row.size or 0)):
            raise self._refused(f"{most:,} bytes expected, {total:,} announced")
        with open(self.part, "ab") as file:
            if not rest:
                done = 0
                file.truncate(0)  # before its tag changes
                self.tag.write_text(_version(answer), "latin-1")
            while True:
                with _network():
                    block = answer.read1(_BLOCK)  # what is there: a break loses nothing
                done += len(block)
                if not block or done > most:
                    break
                file.write(block)
                if self.progress:
                    self.progress(done, total)
        if done > most:
            self._forget()
            raise self._refused(f"at most {most:,} bytes expected, more came")
        if done < (total or 0):
            raise _Broken(f"the connection ended after {done:,} of {total:,} bytes")

    def _refused(self, misfit) -> ValueError:
        return ValueError(
            f"What came from {self.row.url} is not {self.row.file}: {misfit}. Nothing of it was "
            "kept. Try again; where a proxy or a login page answers in its place, download it "
            f"elsewhere and put it at {self.path}"
        )

    def _unreachable(self, reason) -> ConnectionError:
        done, there = self._done(), self.path.exists()
        return ConnectionError(
            f"{self.row.file} cannot be downloaded from {self.row.url} ({reason}). "
            + f"The file that is there does not fit: {self.misfit}. " * there
            + f"{done:,} bytes are kept: the next attempt goes on if the server can. " * (done > 0)
            + "Behind a proxy, set https_proxy. On a machine without network, download it "
            f"elsewhere and put it into the folder {self.path.parent} as {self.path}; a script "
            "may also be given the path of the file."
        )


def _version(answer) -> str:
    """What tells two versions of a file apart: a strong ETag, else the date, else nothing."""
    etag = answer.headers.get("ETag", "W/")
    return answer.headers.get("Last-Modified", "") if etag.startswith("W/") else etag


@contextlib.contextmanager
def _alone(path):
    """Lets one process at a time in. The lock ends with the process that holds it."""
    while True:
        with open(path, "ab") as file:
            _lock(file)
            try:
                held = os.path.samestat(os.fstat(file.fileno()), os.stat(path))
            except FileNotFoundError:
                held = False
            if not held:
                continue  # the last holder has removed it: others lock a new one
            try:
                yield
            finally:
                with contextlib.suppress(OSError):  # Windows keeps a file that is open
                    os.unlink(path)
            return


def _lock(file):
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt
    else:
        return fcntl.flock(file, fcntl.LOCK_EX)
    while True:
        try:
            return msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        except OSError as error:
            if error.errno != errno.EDEADLK:  # held by another for ten seconds
                raise
