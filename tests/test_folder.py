"""Run folders: correct times, unique names, and no files after a failed start."""

import datetime
import re
from concurrent.futures import ThreadPoolExecutor

from mrcnn.folder import ModelFolder


def test_names_have_the_current_time_and_a_number(tmp_path):
    folders = []
    for _ in range(4):
        folder = ModelFolder.new(tmp_path, "Cells")
        folder.make()
        folders.append(folder)
    times = [re.match(r"cells(\d{8}T\d{4})(-\d+)?$", folder.path.name) for folder in folders]
    now = datetime.datetime.now().strftime("%Y%m%dT%H%M")
    assert all(match and match[1] <= now for match in times)
    found = [folder.path for folder in ModelFolder.runs(tmp_path, "cells")]
    assert found == [folder.path for folder in folders]  # oldest first


def test_runs_of_one_minute_sort_by_number(tmp_path):
    names = ["a20261126T1000", *(f"a20261126T1000-{i}" for i in range(2, 12)), "a20261126T1001"]
    for name in reversed(names):
        (tmp_path / name).mkdir()
    assert [run.path.name for run in ModelFolder.runs(tmp_path, "a")] == names
    assert ModelFolder.runs(tmp_path, "b") == []


def test_models_built_before_either_writes_do_not_share(tmp_path):
    folders = [ModelFolder.new(tmp_path, "x") for _ in range(16)]
    assert not list(tmp_path.iterdir())  # nothing is made before it is needed
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ModelFolder.make, folders))
    assert len({folder.path for folder in folders}) == 16 == len(list(tmp_path.iterdir()))


def test_a_checkpoint_in_a_counted_folder_is_one(tmp_path):
    folder = ModelFolder(tmp_path / "cells20261126T1000-2", "cells")
    run, epoch = ModelFolder.of_checkpoint(folder.checkpoint(7), "cells")
    assert run.path == folder.path and epoch == 7
    assert ModelFolder.of_checkpoint(folder.checkpoint(7), "cell") is None
