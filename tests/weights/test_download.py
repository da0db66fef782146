"""Downloads from a local server that can be told to misbehave."""

import hashlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mrcnn.cli import main
from mrcnn.compat import download as compat_download
from mrcnn.weights import download as module
from mrcnn.weights import transfer
from mrcnn.weights.download import Published, download, known, path_or_download

BODY = bytes(range(256)) * 2000
OTHER = BODY[::-1]
SIZE = len(BODY)  # 512,000: two blocks
FILE = "weights.bin"


class Server(ThreadingHTTPServer):
    """Serves `body` at every address and records the requests."""

    daemon_threads = True
    request_queue_size = 20

    def __init__(self):
        self.body, self.tags = BODY, {"ETag": '"one"'}
        self.ranges = self.if_range = True  # which request headers it honors
        self.lengths = True  # whether it sends Content-Length; "chunked": the length of each piece
        self.codes, self.cuts = [], []  # of the next responses: status, and where the body is cut
        self.reset = False  # whether a cut body ends with an error
        self.delay = 0  # seconds before each 100,000 bytes
        self.shift = 0  # bytes by which Content-Range is wrong
        self.requests, self.sent = [], 0
        super().__init__(("127.0.0.1", 0), Handler)

    def requested_ranges(self):
        return [headers.get("Range") for _, headers in self.requests]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.close_connection = True
        server, body, start = self.server, self.server.body, 0
        server.requests.append((self.path, dict(self.headers)))
        code = server.codes.pop(0) if server.codes else 200
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range") in server.tags.values() or not server.if_range
        headers = dict(server.tags)
        if code == 200 and wanted and server.ranges and same:
            start = int(wanted[1])
            code, span = 206, f"{start + server.shift}-{len(body) - 1}"
            if start >= len(body):
                code, span = 416, "*"
            headers["Content-Range"] = f"bytes {span}/{len(body)}"
        body = body[start:] if code < 300 else b""
        if server.lengths == "chunked":
            headers["Transfer-Encoding"] = "chunked"
        elif server.lengths:
            headers["Content-Length"] = str(len(body))
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.send_body(body)

    def send_body(self, body):
        cut = self.server.cuts.pop(0) if self.server.cuts else None
        body = body[:cut]
        pieces = [body[start : start + 100_000] for start in range(0, len(body), 100_000)]
        for piece in pieces + [b""] * (cut is None):  # an empty piece ends a chunked body
            time.sleep(self.server.delay)
            if self.server.lengths == "chunked":
                piece = b"%x\r\n%b\r\n" % (len(piece), piece)
            try:
                self.wfile.write(piece)
            except OSError:  # the client was killed or has closed the connection
                return
        self.server.sent += len(body)
        if cut is not None and self.server.reset:
            time.sleep(0.05)  # so that the bytes arrive before the reset
            linger = b"\1\0\0\0\0\0\0\0"
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(module, "_PAUSE", 0.001)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(urllib.request, "_opener", None)  # it caches the proxies
    server = Server()
    publish(monkeypatch, server)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def publish(monkeypatch, server, size=SIZE, checksum=None, address=None):
    """Adds the server's file to the table as "a"."""
    checksum = checksum or f"sha256:{hashlib.sha256(server.body).hexdigest()}"
    url = f"http://{address or f'127.0.0.1:{server.server_port}'}/{FILE}"
    checksum = None if checksum == "unknown" else checksum
    monkeypatch.setitem(module.PUBLISHED, "a", Published(url, size, checksum, "a file"))


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


def interrupt(server, folder, after=200_000):
    """Leaves a partial file with the first bytes."""
    server.cuts, server.codes = [after], [200, 404]
    with pytest.raises(ConnectionError):
        download("a", folder)
    assert (folder / f"{FILE}.part").read_bytes() == server.body[:after]
    server.requests.clear()


# --- The table -----------------------------------------------------------------------------------
def test_names_carry_the_checksums_that_the_table_states():
    assert set(known()) == {
        *("coco-torchvision-r50", "coco-torchvision-r50-v2", "coco-detectron2-r50-1x"),
        *("coco-detectron2-r50-3x", "coco-detectron2-r101-3x", "coco-matterport"),
        "imagenet-resnet50",
    }
    for row in known().values():
        assert row.url.startswith("https://") and row.file and "/" not in row.file
        assert row.size or row.checksum  # one of them identifies the file
        if row.checksum:
            assert re.fullmatch(
                "(sha256:[0-9a-f]{64}|md5:([0-9a-f]{6}|[0-9a-f]{32}))", row.checksum
            )
    for name in ("coco-torchvision-r50", "coco-torchvision-r50-v2"):
        digits = known()[name].file.removesuffix(".pth").rsplit("-", 1)[1]
        assert known()[name].checksum.startswith(f"sha256:{digits}")
    for name in ("coco-detectron2-r50-1x", "coco-detectron2-r101-3x"):
        assert known()[name].file == f"model_final_{known()[name].checksum[4:]}.pkl"


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(
        ValueError, match="'coco-materport'. Did you mean coco-matterport.*Available names"
    ):
        download("coco-materport")


def test_path_or_download(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MRCNN_HOME", str(tmp_path / "home"))
    assert path_or_download(tmp_path) == tmp_path
    file = tmp_path / "own.h5"
    file.write_bytes(b"")
    assert path_or_download(str(file)) == file
    assert path_or_download("a") == tmp_path / "home" / FILE
    assert len(server.requests) == 1
    with pytest.raises(
        FileNotFoundError, match="b.h5: no such file, and no published.*coco-matter"
    ):
        path_or_download(tmp_path / "b.h5")


def test_the_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for name in ("MRCNN_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert module.cache_folder() == tmp_path / ".cache" / "mrcnn"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert module.cache_folder() == tmp_path / "xdg" / "mrcnn"
    monkeypatch.setenv("MRCNN_HOME", "~/own")
    assert module.cache_folder() == tmp_path / "own"


# --- Complete files ------------------------------------------------------------------------------
def test_a_file_is_downloaded_once(server, tmp_path):
    seen = []
    path = download("a", tmp_path / "new" / "folder", lambda *figures: seen.append(figures))
    assert path == tmp_path / "new" / "folder" / FILE
    assert path.read_bytes() == BODY
    assert left_in(path.parent) == [FILE]
    assert seen == sorted(seen) and seen[-1] == (SIZE, SIZE) and len(seen) > 1
    assert download("a", tmp_path / "new" / "folder") == path
    assert server.requested_ranges() == [None]


@pytest.mark.parametrize("damaged", [BODY[:-1], OTHER])
def test_a_damaged_file_is_downloaded_again(server, tmp_path, damaged):
    (tmp_path / FILE).write_bytes(damaged)
    assert download("a", tmp_path).read_bytes() == BODY


@pytest.mark.parametrize("lengths", [True, False])
def test_a_short_checksum_without_a_size_is_enough(server, tmp_path, monkeypatch, lengths):
    server.lengths = lengths
    publish(monkeypatch, server, None, f"md5:{hashlib.md5(BODY).hexdigest()[:6]}")
    seen = []
    download("a", tmp_path, lambda *figures: seen.append(figures))
    assert seen[-1] == (SIZE, SIZE if lengths else None)
    (tmp_path / FILE).write_bytes(OTHER)
    assert download("a", tmp_path).read_bytes() == BODY


def test_a_file_of_which_only_the_size_is_known(server, tmp_path, monkeypatch):
    publish(monkeypatch, server, SIZE, "unknown")
    (tmp_path / FILE).write_bytes(BODY[1:])
    assert download("a", tmp_path).read_bytes() == BODY
    download("a", tmp_path)
    assert len(server.requests) == 1


def test_a_complete_file_needs_no_lock(server, tmp_path, monkeypatch):
    download("a", tmp_path)
    monkeypatch.setattr(module, "_exclusive", None)  # the folder may be read-only
    assert download("a", tmp_path) == tmp_path / FILE


# --- Lost connections ----------------------------------------------------------------------------
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("lengths", [True, False, "chunked"])
def test_a_lost_connection_is_resumed(server, tmp_path, reset, lengths):
    server.cuts, server.reset, server.lengths = [100_000, 0, 50_000], reset, lengths
    assert download("a", tmp_path).read_bytes() == BODY
    assert server.requested_ranges() == [None, "bytes=100000-", "bytes=100000-", "bytes=150000-"]
    assert server.sent == SIZE  # nothing is sent twice
    assert left_in(tmp_path) == [FILE]


def test_the_next_call_resumes(server, tmp_path):
    interrupt(server, tmp_path)
    assert left_in(tmp_path) == [FILE + ".part", FILE + ".part.tag"]
    seen = []
    assert download("a", tmp_path, lambda *figures: seen.append(figures)).read_bytes() == BODY
    assert server.requested_ranges() == ["bytes=200000-"]
    assert server.requests[0][1]["If-Range"] == '"one"'
    assert seen[0][0] > 200_000
    assert left_in(tmp_path) == [FILE]


def test_attempts_that_receive_something_do_not_count(server, tmp_path):
    server.cuts = [10_000] * 20
    assert download("a", tmp_path).read_bytes() == BODY
    assert len(server.requests) == 21


def test_attempts_that_receive_nothing_end(server, tmp_path):
    server.cuts = [200_000] + [0] * 50
    with pytest.raises(
        ConnectionError, match="ended after 200,000 of 512,000.*200,000 bytes are kept"
    ):
        download("a", tmp_path)
    assert len(server.requests) == 1 + 1 + module._RETRIES


def test_without_ranges_the_download_starts_over(server, tmp_path):
    server.ranges, server.cuts = False, [100_000]
    assert download("a", tmp_path).read_bytes() == BODY
    assert server.sent == SIZE + 100_000


@pytest.mark.parametrize("tags", [{}, {"ETag": 'W/"one"'}])
def test_a_partial_file_of_unknown_version_is_not_resumed(server, tmp_path, tags):
    server.tags = tags
    interrupt(server, tmp_path)
    assert download("a", tmp_path).read_bytes() == BODY
    assert server.requested_ranges() == [None]


def test_the_date_identifies_a_version_too(server, tmp_path):
    server.tags = {"ETag": 'W/"one"', "Last-Modified": "Mon, 02 Mar 2020 10:00:00 GMT"}
    interrupt(server, tmp_path)
    assert download("a", tmp_path).read_bytes() == BODY
    assert server.requests[0][1]["If-Range"] == server.tags["Last-Modified"]


def test_a_damaged_tag_is_ignored(server, tmp_path):
    interrupt(server, tmp_path)
    (tmp_path / f"{FILE}.part.tag").write_bytes(b"\0\0\0")  # as after a crash of the machine
    assert download("a", tmp_path).read_bytes() == BODY
    assert server.requested_ranges() == [None]


@pytest.mark.parametrize("if_range", [True, False])  # False: a server that ignores If-Range
def test_two_versions_are_never_mixed(server, tmp_path, monkeypatch, if_range):
    publish(monkeypatch, server, SIZE, "unknown")
    interrupt(server, tmp_path)
    server.body, server.tags, server.if_range = OTHER, {"ETag": '"two"'}, if_range
    assert download("a", tmp_path).read_bytes() == OTHER
    assert server.requested_ranges() == ["bytes=200000-", None][: 1 if if_range else 2]


def test_a_range_that_was_not_requested_is_not_appended(server, tmp_path, monkeypatch):
    publish(monkeypatch, server, SIZE, "unknown")
    interrupt(server, tmp_path)
    server.shift = -1
    assert download("a", tmp_path).read_bytes() == BODY
    assert server.requested_ranges() == ["bytes=200000-", None]


def test_a_partial_file_longer_than_the_file(server, tmp_path, monkeypatch):
    publish(monkeypatch, server, None)
    interrupt(server, tmp_path)
    (tmp_path / f"{FILE}.part").write_bytes(OTHER + b"more")
    assert download("a", tmp_path).read_bytes() == BODY  # after status 416
    assert server.requested_ranges() == [f"bytes={SIZE + 4}-", None]


def test_a_complete_partial_file_is_used(server, tmp_path):
    interrupt(server, tmp_path)
    (tmp_path / f"{FILE}.part").write_bytes(BODY)  # interrupted before it was renamed
    assert download("a", tmp_path).read_bytes() == BODY
    assert server.requests == []


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.codes = [503, 200]
    assert download("a", tmp_path).read_bytes() == BODY


# --- Wrong files ---------------------------------------------------------------------------------
def test_a_wrong_checksum(server, tmp_path, monkeypatch):
    publish(monkeypatch, server, SIZE, "md5:000000")
    with pytest.raises(ValueError, match="is not weights.bin: expected md5 000000, got") as caught:
        download("a", tmp_path)
    assert str(tmp_path / FILE) in str(caught.value) and "Try again" in str(caught.value)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("size", [SIZE - 1, SIZE + 1, 5 * SIZE])
def test_a_wrong_size_announced(server, tmp_path, monkeypatch, size):
    publish(monkeypatch, server, size)
    with pytest.raises(ValueError, match=f"expected {size:,} bytes, the server announced 512,000"):
        download("a", tmp_path)
    assert left_in(tmp_path) == []


def test_a_login_page_does_not_delete_the_partial_file(server, tmp_path):
    interrupt(server, tmp_path)
    server.body, server.ranges = b"<html>Welcome to our hotel", False
    with pytest.raises(ValueError, match="expected 512,000 bytes, the server announced 26"):
        download("a", tmp_path)
    server.body, server.ranges = BODY, True
    assert download("a", tmp_path).read_bytes() == BODY
    assert server.requested_ranges()[-1] == "bytes=200000-"


def test_more_than_the_known_size(server, tmp_path, monkeypatch):
    server.lengths, seen = False, []
    publish(monkeypatch, server, 300_000)
    with pytest.raises(ValueError, match="expected at most 300,000 bytes, received more"):
        download("a", tmp_path, lambda done, total: seen.append(done))
    assert max(seen) <= 300_000
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("lengths", [True, False])
def test_more_than_the_limit(server, tmp_path, monkeypatch, lengths):
    server.lengths = lengths
    publish(monkeypatch, server, None)
    monkeypatch.setattr(module, "_MAX_BYTES", 300_000)
    with pytest.raises(
        ValueError, match="300,000 bytes, (the server announced 512,000|received more)"
    ):
        download("a", tmp_path)
    assert left_in(tmp_path) == []


# --- Errors of network and disk ------------------------------------------------------------------
def explains(error, folder):
    """Whether the message names the file, its URL and folder, and what to do."""
    url = module.PUBLISHED["a"].url
    needed = f"{FILE} cannot", url, f"in the folder {folder} as {FILE}", "set https_proxy"
    advice = "download the file elsewhere", "or pass the path of your copy"
    return all(text in str(error) for text in (*needed, *advice))


@pytest.mark.parametrize("code", [403, 404])
def test_a_file_that_is_not_served(server, tmp_path, code):
    server.codes = [code]
    with pytest.raises(ConnectionError, match=f"HTTP {code}") as caught:
        download("a", tmp_path)
    assert explains(caught.value, tmp_path)
    assert len(server.requests) == 1
    assert left_in(tmp_path) == []


def test_a_refused_connection(server, tmp_path, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        publish(monkeypatch, server, address=f"127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(ConnectionError, match="refused") as caught:
            download("a", tmp_path)
    assert explains(caught.value, tmp_path)


def test_no_network(server, tmp_path, monkeypatch):
    def lookup(*_, **__):
        looked_up.append(1)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    looked_up = []
    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    publish(monkeypatch, server, address="published.invalid")
    with pytest.raises(ConnectionError, match="name resolution") as caught:
        download("a", tmp_path)
    assert explains(caught.value, tmp_path)
    assert looked_up == [1]  # no retry
    (tmp_path / FILE).write_bytes(OTHER)
    with pytest.raises(
        ConnectionError, match="existing file is not the published one: expected sha256 .*, got"
    ):
        download("a", tmp_path)
    (tmp_path / FILE).write_bytes(BODY)
    assert download("a", tmp_path) == tmp_path / FILE  # saved there by hand


def test_a_server_that_stops_sending(server, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "TIMEOUT", 0.05)
    monkeypatch.setattr(module, "_RETRIES", 1)
    server.delay = 0.3
    with pytest.raises(ConnectionError, match="timed out") as caught:
        download("a", tmp_path)
    assert explains(caught.value, tmp_path)


def test_a_file_in_endless_pieces(server, tmp_path, monkeypatch):
    """Every attempt brings one byte more, so that none of them brought nothing."""
    monkeypatch.setattr(module, "_ATTEMPTS", 6)
    server.ranges, server.cuts = False, list(range(1, 100))
    with pytest.raises(ConnectionError, match="ended after 6 of 512,000"):
        download("a", tmp_path)
    assert len(server.requests) == 6


def test_a_length_of_5000_digits(server, tmp_path, monkeypatch):
    server.tags = {"ETag": '"one"', "Content-Length": "9" * 5000}
    server.lengths = False
    assert download("a", tmp_path).read_bytes() == BODY


def test_an_unverified_file_is_said(server, tmp_path, monkeypatch, caplog):
    digits = hashlib.md5(BODY).hexdigest()
    for checksum, verified in ((digits[:6], False), (digits, True)):
        publish(monkeypatch, server, None, f"md5:{checksum}")
        assert module.PUBLISHED["a"].is_verified == verified
        caplog.clear()
        download("a", tmp_path / checksum)
        assert ("weights.bin is not verified" in caplog.text) != verified
    unverified = {name for name, row in known().items() if not row.is_verified} - {"a"}
    assert unverified == {"coco-detectron2-r50-1x", "coco-detectron2-r101-3x", "coco-matterport"}


def test_the_proxy_of_the_environment(server, tmp_path, monkeypatch):
    publish(monkeypatch, server, address="published.invalid")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    assert download("a", tmp_path).read_bytes() == BODY
    assert server.requests[0][0] == f"http://published.invalid/{FILE}"


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="cannot write .*weights.bin: .*choose another folder"):
        download("a", tmp_path / "file")


def test_a_full_disk_is_not_a_network_error(server, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(
        OSError, match="cannot write .*No space left on device. Free disk space"
    ) as caught:
        download("a", tmp_path)
    assert not isinstance(caught.value, ConnectionError)
    assert len(server.requests) == 1


# --- Several processes ---------------------------------------------------------------------------
def begin(folder):
    """Starts another process that downloads the file."""
    code = (
        "from mrcnn.weights.download import PUBLISHED, Published, download\n"
        f"PUBLISHED['a'] = Published(*{tuple(module.PUBLISHED['a'])!r})\n"
        f"print(download('a', {str(folder)!r}))"
    )
    command = [sys.executable, "-c", code]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_several_processes(server, tmp_path):
    server.delay = 0.07
    processes = [begin(tmp_path) for _ in range(3)]
    for process in processes:
        out, err = process.communicate(timeout=20)
        assert (out.strip(), err) == (str(tmp_path / FILE), "")
    assert (tmp_path / FILE).read_bytes() == BODY
    assert server.requested_ranges() == [None]
    assert left_in(tmp_path) == [FILE]


def test_several_threads(server, tmp_path):
    server.delay = 0.02
    threads = [threading.Thread(target=download, args=("a", tmp_path)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / FILE).read_bytes() == BODY
    assert server.requested_ranges() == [None]
    assert left_in(tmp_path) == [FILE]


def test_a_lock_file_that_was_removed_is_not_used(tmp_path, monkeypatch):
    def lock_late(file):
        locked.append(file)
        if len(locked) == 1:
            path.unlink()
        lock(file)

    path, lock, locked = tmp_path / "lock", module._lock, []
    monkeypatch.setattr(module, "_lock", lock_late)
    with module._exclusive(path):
        assert path.exists() and len(locked) == 2
    assert not path.exists()


def test_a_killed_process(server, tmp_path):
    server.delay = 0.1
    process, part = begin(tmp_path), tmp_path / f"{FILE}.part"
    while process.poll() is None and not (part.exists() and part.stat().st_size >= 200_000):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / FILE).exists()
    received, server.delay = part.stat().st_size, 0
    assert download("a", tmp_path).read_bytes() == BODY  # the lock has ended with the process
    assert server.requested_ranges() == [None, f"bytes={received}-"]
    assert left_in(tmp_path) == [FILE]


# --- Callers -------------------------------------------------------------------------------------
def test_download_trained_weights(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compat_download, "_COCO", module.PUBLISHED["a"])
    path = tmp_path / "mask_rcnn_coco.h5"
    compat_download.download_trained_weights(str(path))
    assert path.read_bytes() == BODY
    assert capsys.readouterr().out.splitlines() == [
        f"Downloading pretrained model to {path} ...",
        "... done downloading pretrained model!",
    ]
    path.unlink()
    compat_download.download_trained_weights(path, verbose=0)
    assert path.read_bytes() == BODY and capsys.readouterr().out == ""
    assert left_in(tmp_path) == [path.name]
    assert compat_download.COCO_MODEL_URL.endswith("/v2.0/mask_rcnn_coco.h5")


def test_the_command(server, tmp_path, capsys):
    assert main(["download", "--folder", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(known()) + 1 and server.requests == []
    assert any(re.search("coco-matterport +258 MB +Matterport", line) for line in lines)
    assert any(re.search("r50-1x +size unknown ", line) for line in lines)
    assert str(tmp_path) in lines[-1]
    assert main(["download", "a", "--folder", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / FILE}\n"
    assert main(["download", "a", "b", "--folder", str(tmp_path / "none")]) == 2
    assert re.search("'b'.*There are: coco-torchvision-r50, ", capsys.readouterr().err)
    assert not (tmp_path / "none").exists()
