"""Common to all commands: listing, help, wrong usage, settings, exit codes and backends."""

import os
import subprocess
import sys

import pytest

import mrcnn
from mrcnn import cli as package
from mrcnn.cli import commands, main
from mrcnn.cli.shared.options import parse_settings


@pytest.mark.parametrize(
    "words, text",
    [
        (["paint"], "invalid choice: 'paint'"),
        (["train", "--epochs", "0"], "at least 1"),
        (["train"], "no data: give --data PATH"),
        (["train", "--images", "a"], "needs either --annotations"),
        (["train", "--images", "a", "--annotations", "b", "--labels", "c"], "needs either"),
        (["train", "--dataset", "shapes", "--images", "a"], "--dataset excludes --images"),
        (["train", "--dataset", "shapes", "--set", "NUM_CLASES=2"], "Did you mean NUM_CLASSES?"),
        (["train", "--dataset", "shapes", "--set", "SEED"], "expected KEY=VALUE"),
        (["train", "--dataset", "shapes", "--set", "BATCH_SIZE=2"], "set IMAGES_PER_GPU"),
        (["train", "--dataset", "shapes", "--weights", "nowhere"], "no such file or folder"),
        (["train", "--resume", "nowhere"], "no run of mrcnn train"),
        (["evaluate", "nowhere", "--dataset", "shapes"], "MODEL 'nowhere' is not there"),
        (["info", "nowhere"], "give a model folder"),
    ],
)
def test_wrong_usage(cli, tmp_path, monkeypatch, words, text):
    monkeypatch.chdir(tmp_path)
    code, out, err = cli(*words)
    assert code == 2 and text in err and err.startswith("mrcnn") and err.count("\n") == 1
    assert "Traceback" not in err


def test_settings():
    given = ["NAME=cells", "SEED=null", "MEAN_PIXEL=[1, 2, 3]", "USE_MASKS=False", "NUM_CLASSES=3"]
    given += ["AUGMENTATION={'fliplr': 0.5}", "RPN_ANCHOR_SCALES=(8, 16)", "BACKBONE=resnet18"]
    assert parse_settings(given) == {
        "NAME": "cells",
        "SEED": None,
        "MEAN_PIXEL": (1, 2, 3),
        "USE_MASKS": False,
        "NUM_CLASSES": 3,
        "AUGMENTATION": {"fliplr": 0.5},
        "RPN_ANCHOR_SCALES": (8, 16),
        "BACKBONE": "resnet18",
    }


def test_problems_in_data_are_not_usage(cli, tmp_path):
    (tmp_path / "a.json").write_text("{")
    words = ["train", "--images", tmp_path, "--annotations", tmp_path / "a.json"]
    code, _, err = cli(*words)
    assert code == 1 and one_line_error(err, "train") and "a.json" in err


def test_debug_shows_the_traceback(tmp_path):
    (tmp_path / "a.json").write_text("{")
    words = ["train", "--images", tmp_path, "--annotations", tmp_path / "a.json", "--debug"]
    with pytest.raises(ValueError, match="a.json"):
        main([str(word) for word in words])


def one_line_error(err, command):
    return err.startswith(f"mrcnn {command}: error: ") and err.count("\n") == 1


@pytest.mark.parametrize(
    "words, text",
    [
        (["trian"], "Did you mean train?"),
        (["train", "--imgs", "a"], "Did you mean --images?"),
        (["train", "--learnin_rate", "1"], "Did you mean --learning-rate?"),
        (["train", "--dataset", "shape"], "Did you mean shapes?"),
        (["convert", "demo", "--to", "torchvison"], "Did you mean torchvision?"),
        (["train", "--dataset", "shapes", "--image-size", "500"], "--image-size: must be"),
        (["train", "--dataset", "shapes", "--image-size", "500"], "got 500: give 448 or 512"),
        (["evaluate", "demo", "--dataset", "shapes", "--image-size", "20"], "got 20: give 64"),
        (["train", "--dataset", "shapes", "--layers", "head"], "did you mean heads?"),
        (["train", "--dataset", "shapes", "--layers", "4"], "did you mean 4+?"),
        (["train", "--dataset", "shapes", "--name", "my nuts/2"], "give my_nuts_2"),
        (["train", "--dataset", "shapes", "--count", "2", "--set", "NAME=a b"], "give a_b"),
    ],
)
def test_wrong_words_get_a_suggestion(cli, tmp_path, monkeypatch, words, text):
    monkeypatch.chdir(tmp_path)
    code, _, err = cli(*words)
    assert code == 2 and text in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


# --- Commands ------------------------------------------------------------------------------------
def test_help_and_version(cli):
    code, out, _ = cli("--help")
    assert code == 0 and all(f"    {name} " in out for name in commands())
    for name in commands():
        code, out, _ = cli(name, "--help")
        assert code == 0 and out.startswith(f"usage: mrcnn {name} ")
        assert "Exit codes: 0 fine, 1 " in out and f"Example:\n  mrcnn {name}" in out
    assert cli("--version")[1] == f"mrcnn {mrcnn.__version__}\n"


def test_help_says_every_default(cli):
    """The help of an optional argument names its default."""
    free = {
        "--data",
        "--help",
        "--debug",
        "--set",
        "--dataset",
        "--images",
        "--annotations",
        "--labels",
    }
    free |= {"--val-annotations", "--val-labels", "--no-mask", "--style"}
    free |= {"--fix", "--compare", "--val", "--plot", "--option", "--group", "--version"}
    parsers = [package.build_parser()]
    for parser in parsers:
        for action in parser._actions:
            if isinstance(action.choices, dict):  # the commands of a group
                parsers += action.choices.values()
            elif action.option_strings and not action.required:
                if action.option_strings[-1] in free:
                    continue
                assert "default" in action.help, (parser.prog, action.option_strings)
    assert len(parsers) > len(commands())


def test_a_command_is_one_file(cli, tmp_path, monkeypatch):
    """A module in the folder of commands, and nothing else, is listed, explained and run."""
    (tmp_path / "greet.py").write_text(
        "HELP = 'Greet somebody.'\n"
        "EXAMPLE = 'mrcnn greet Ann'\n"
        "def add_arguments(parser):\n"
        "    parser.add_argument('name')\n"
        "def run(args):\n"
        "    print('Hello', args.name)\n"
        "    return 3\n"
    )
    (tmp_path / "_parts.py").write_text("")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    try:
        assert "Greet somebody." in cli("--help")[1]
        assert cli("greet", "Ann") == (3, "Hello Ann\n", "")
        assert cli("greet")[0] == 2
    finally:
        sys.modules.pop("mrcnn.cli.greet", None)


def test_help_is_instant():
    code = (
        "import sys\n"
        "from mrcnn.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'tensorflow', 'keras', 'cv2', 'numpy', 'matplotlib', 'skimage', 'rich'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# --- Backends ------------------------------------------------------------------------------------
def start(code, backend, hidden=()):
    """Runs Python with a backend of Keras, without the hidden packages."""
    lines = [
        "import sys",
        "from importlib.machinery import PathFinder",
        "find = PathFinder.find_spec",
        "def find_others(name, path=None, target=None):",
        f"    return None if name in {tuple(hidden)!r} else find(name, path, target)",
        "PathFinder.find_spec = find_others",
        code,
    ]
    env = os.environ | {"KERAS_BACKEND": backend}
    return subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, env=env
    )


INFO = "from mrcnn.cli import main; sys.exit(main(['info']))"


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_info_with_every_backend(backend):
    """Keras on JAX and on PyTorch does not report devices that do not exist."""
    pytest.importorskip(backend)
    done = start(INFO, backend)
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"backend        {backend}\n" in done.stdout
    assert "devices        cpu" in done.stdout or "devices        gpu" in done.stdout


@pytest.mark.parametrize("code", [INFO, "import mrcnn; mrcnn.MaskRCNN"])
@pytest.mark.parametrize(
    "backend, hidden, text",
    [
        ("jax", ["jax"], "'jax' is not installed. Install it: pip install jax; or choose"),
        ("torch", ["torch", "jax"], "choose an installed one: KERAS_BACKEND=tensorflow."),
        ("jx", [], "no backend 'jx' (KERAS_BACKEND or keras.json); there are tensorflow, jax,"),
        ("", ["tensorflow"], "pip install tensorflow"),
    ],
)
def test_a_missing_backend_is_explained(code, backend, hidden, text):
    done = start(code, backend, hidden)
    assert done.returncode == 1 and text in done.stderr.splitlines()[-1], done.stderr[-2000:]
    if code == INFO:
        assert one_line_error(done.stderr, "info")
