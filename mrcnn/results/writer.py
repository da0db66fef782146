"""Writes the detections in many images to a folder, as they come; a killed process can resume."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.errors import reading, shorten
from mrcnn.images.atomic import remove_leftovers
from mrcnn.images.journal import Journal
from mrcnn.results import files
from mrcnn.results.rows import label_image, result_to_coco, table_rows

JOURNAL = "detections.jsonl"
_START = b'{"mrcnn": 1'  # of a journal
_EXPECTED = "unfinished detections"
_ADVICE = "Remove it to start over, or choose another folder."
# Errors of the name of one file. Any other means that nothing can be written to the folder.
_OF_ONE_NAME = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.EISDIR)


class ResultWriter:
    """Writes the detections in many images to a folder, as they come.

    For each image a drawn one (`NAME.png`) and a label image (`NAME_labels.png`), and at the end,
    for all of them, `detections.json` (COCO results) and `detections.csv`. Until then each image
    has a line in `detections.jsonl`, so that a killed process loses none of them and the next one
    can `resume`. The memory does not grow with the number of images.

    Args:
        folder: str or path. Folder to write to; it is made if it is missing.
        paths: list of paths. All input files. No two share the name of an output. What an
            unfinished run has written is no input, even if the folder is searched for images.

    Attributes:
        folder: Path. The folder to write to.
        paths: list of paths. The input files.

    Raises:
        FileExistsError: an output would overwrite an input, or a file of another program.
        BlockingIOError: another process is writing to the folder.
        OSError: the folder cannot be written to.
    """

    def __init__(self, folder: str | os.PathLike, paths: Sequence[str | os.PathLike]):
        self.folder = Path(folder)
        self._done: dict[str, int] = {}  # absolute path of an input: position of its line
        self._started = False
        self._journal = Journal(self.folder / JOURNAL)
        try:
            self._header = self._read_header()
            self.paths = list(paths)
            if self._header:
                before = self._header["inputs"]
                earlier = self._outputs(files.output_stems(before)) - _resolved(before)
                self.paths = [path for path in paths if os.path.realpath(path) not in earlier]
            stems = files.output_stems(self.paths)
            for file in sorted(self._outputs(stems) & _resolved(self.paths)):
                raise FileExistsError(
                    f"output folder {self.folder}: {os.path.basename(file)} there is an input and "
                    "would be overwritten; choose another folder"
                )
            self._stems = dict(zip(map(os.path.abspath, self.paths), stems, strict=True))
        except BaseException:
            self._journal.close()
            raise

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _read_header(self):
        """Returns the first line of an unfinished run, None if there is none."""
        with open(self._journal.path, "rb") as file:
            start = file.read(len(_START))
        if start != _START[: len(start)]:
            raise FileExistsError(
                f"{self._journal.path} was not written by mrcnn; move it, or choose another folder"
            )
        for _, header in self._journal.lines():
            with reading(self._journal.path, _EXPECTED, _ADVICE):
                return {
                    "made_by": header["made_by"] or {},
                    "inputs": [*map(Path, header["inputs"])],
                }
        return None

    def _outputs(self, stems):
        """Returns the files that the two images of each input are written to."""
        folder = os.path.realpath(self.folder)
        paths = (os.path.join(folder, f"{stem}{end}") for stem in stems for end in files.ENDS)
        return {os.path.realpath(path) if os.path.islink(path) else path for path in paths}

    @property
    def remaining(self) -> list[str | os.PathLike]:
        """The input files without detections, in order."""
        return [path for path in self.paths if os.path.abspath(path) not in self._done]

    @property
    def renamed(self) -> list[tuple[str, str]]:
        """Input files whose names cannot be written: (the name in the tables, that of the PNG)."""
        rows = []
        for path in self.paths:
            text, stem = files.writable_text(path), self._stems[os.path.abspath(path)]
            if text != str(path) or files.writable_stem(Path(path).stem) != Path(path).stem:
                rows.append((text, f"{stem}.png"))
        return rows

    def resume(self, made_by: Mapping[str, Any], start_over: bool = False) -> int:
        """Takes over the images of an unfinished run in this folder, if there is one.

        Images whose file has changed since, or whose outputs are gone, are not taken over.

        Args:
            made_by: dict that JSON can hold. What the detections depend on: model and settings. It
                must be that of the unfinished run.
            start_over: bool. Whether an unfinished run is discarded. Defaults to False.

        Returns:
            int. The number of images that are done.

        Raises:
            FileExistsError: the unfinished run is of another model, of other settings or images.
        """
        made_by = json.loads(json.dumps(made_by))
        if self._header is None or start_over:
            self._start(made_by)
            return 0
        with reading(self._journal.path, _EXPECTED, _ADVICE):
            differences = _differences(self._header["made_by"], made_by) or self._take_over()
        if differences:
            raise FileExistsError(
                f"{self.folder} holds unfinished detections {'; '.join(differences[:3])}. Repeat "
                "the command that began them, choose another folder, or start over"
            )
        self._started = True
        self._remove_leftovers()
        return len(self._done)

    def _take_over(self):
        """Collects the images that are done; returns in what the run differs from this one."""
        lines = self._journal.lines()
        next(lines)  # the header
        for position, record in lines:
            path = record["path"]
            if self._is_whole(record):
                self._done[path] = position
            elif path not in self._stems and os.path.exists(path):
                return [f"in other images, such as {files.writable_text(path)}"]
        return []

    def _is_whole(self, record):
        """Whether an image of an unfinished run is as it was, and its outputs are there."""
        path, stem = record["path"], record["stem"]
        return (
            self._stems.get(path) == stem
            and _file_state(path) == record["file"]
            and all((self.folder / f"{stem}{end}").is_file() for end in files.ENDS)
            and all(isinstance(row, dict) for row in record["rows"])
            and all(isinstance(row, list) for row in record["table"])
        )

    def _start(self, made_by=None):
        self._journal.clear()
        self._journal.append({"mrcnn": 1, "made_by": made_by, "inputs": list(self._stems)})
        self._started = True
        self._remove_leftovers()

    def _remove_leftovers(self):
        names = {f"{stem}{end}" for stem in self._stems.values() for end in files.ENDS}
        names |= {"detections.json", "detections.csv"}
        remove_leftovers(self.folder, names.__contains__)

    def add(
        self,
        path: str | os.PathLike,
        image: np.ndarray,
        result: Mapping[str, Any],
        class_names: Sequence[str],
    ) -> None:
        """Writes the two images and the detections of one input.

        Args:
            path: str or path. One of the input files.
            image: `[H, W]` or `[H, W, channels]`, any dtype that detection takes.
            result: dict of `MaskRCNN.detect(..., masks="rle")`, or without masks.
            class_names: list of str. Names by class id.

        Raises:
            ValueError: this image cannot be drawn, or written under its name.
            OSError: the folder cannot be written to. What was added before is kept.
        """
        if not self._started:
            self._start()
        key = os.path.abspath(path)
        stem = self._stems[key]
        record = {"path": key, "file": _file_state(path), "stem": stem}
        record["rows"] = result_to_coco(result, 0)
        record["table"] = table_rows(result, "", class_names)
        try:
            files.save_drawing(self.folder / f"{stem}.png", image, result, class_names)
            files.save_labels(self.folder / f"{stem}_labels.png", label_image(result, image.shape))
        except OSError as error:
            if error.errno in _OF_ONE_NAME:
                raise ValueError(error.strerror) from error
            raise
        self._done[key] = self._journal.append(record)

    def finish(self) -> int:
        """Writes detections.json and detections.csv, and removes detections.jsonl.

        Returns:
            int. The number of detections.

        Raises:
            OSError: they cannot be written. detections.jsonl is kept.
        """
        count = self.write_tables()
        self._journal.remove()
        return count

    def write_tables(self) -> int:
        """Writes detections.json and detections.csv of the images so far; see `finish`."""
        if not self._started:
            self._start()
        files.save_csv(self.folder / "detections.csv", self._table())
        return files.save_rows(self.folder / "detections.json", self._rows())

    def close(self) -> None:
        """Lets others write to the folder. An unfinished run can be resumed."""
        self._journal.close()

    def _records(self):
        """Yields index, name and record of each image that is done, in the order of the inputs."""
        for index, path in enumerate(self.paths):
            position = self._done.get(os.path.abspath(path))
            if position is not None:
                yield index, files.writable_text(path), self._journal.at(position)

    def _rows(self):
        for index, name, record in self._records():
            for row in record["rows"]:
                yield {"file_name": name} | row | {"image_id": index}

    def _table(self):
        for _, name, record in self._records():
            for row in record["table"]:
                yield (name, *row[1:])


def _file_state(path):
    """Returns size and time of a file, which change when it is rewritten; None if it is gone."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


def _resolved(paths):
    return {os.path.realpath(path) for path in paths}


def _differences(before, now):
    """Returns texts that say in what two dicts differ."""
    rows = []
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            rows += _differences(old, new)
        elif old != new:
            rows.append(f"with {key} = {shorten(old)}, not {shorten(new)}")
    return rows
