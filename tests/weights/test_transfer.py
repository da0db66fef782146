"""Downloads from a server that sends one byte at a time."""

import socket
import threading
import time
import urllib.request

import pytest

from mrcnn.weights import download as module
from mrcnn.weights import transfer
from mrcnn.weights.download import Published, download

FILE = "weights.bin"


@pytest.fixture
def raw_server(monkeypatch):
    """Returns a function that publishes a server which sends bytes of any kind, one at a time."""
    stop = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)
    monkeypatch.setattr(module, "_PAUSE", 0.001)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(urllib.request, "_opener", None)

    def send(connection, data):
        with connection:
            connection.recv(10_000)
            for byte in data:
                if stop.wait(0.005):
                    return
                try:
                    connection.sendall(bytes([byte]))
                except OSError:
                    return

    def serve(data):
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            threading.Thread(target=send, args=(connection, data), daemon=True).start()

    def begin(data):
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/{FILE}"
        monkeypatch.setitem(module.PUBLISHED, "a", Published(address, None, None, "a file"))
        thread = threading.Thread(target=serve, args=(data,))
        thread.start()
        threads.append(thread)

    threads = []
    yield begin
    stop.set()
    for thread in threads:
        thread.join()
    listener.close()


@pytest.mark.parametrize("kind", ["headers", "body", "size of a chunk"])
def test_a_server_that_sends_byte_by_byte(raw_server, tmp_path, monkeypatch, kind):
    """No timeout of a socket ends this: each byte comes in time."""
    monkeypatch.setattr(transfer, "TIMEOUT", 0.2)
    monkeypatch.setattr(transfer, "SLOWEST_SECONDS", 0.2)
    monkeypatch.setattr(module, "_RETRIES", 1)
    head = b"HTTP/1.1 200 OK\r\n"
    rest = {
        "headers": b"X: " + b"a" * 60_000,
        "body": b"Content-Length: 60000\r\n\r\n" + bytes(60_000),
        "size of a chunk": b"Transfer-Encoding: chunked\r\n\r\n1;" + b"a" * 60_000,
    }
    raw_server(head + rest[kind])
    start = time.monotonic()
    with pytest.raises(ConnectionError, match="timed out|too slow: [0-9]+ bytes") as caught:
        download("a", tmp_path)
    assert "set https_proxy" in str(caught.value)
    assert time.monotonic() - start < 5
