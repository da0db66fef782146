"""The network side of a download: bytes as they arrive, at a minimum rate, or an error in time."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError

TIMEOUT = 30  # seconds to connect, and to wait for the next bytes
# A download must bring at least so many bytes in so many seconds: 10 kB/s, a tenth of a slow mobile
# connection. Otherwise a server that sends a byte now and then holds the caller forever.
SLOWEST_SECONDS = 30
SLOWEST_BYTES = 300_000
_BLOCK_BYTES = 2**18  # read at a time
_BLOCKS = 8  # read ahead of the disk


class NetworkError(Exception):
    """The network failed.

    Args:
        reason: str or exception.
        retry: bool. Whether another attempt may help. Defaults to True.
        restart: bool. Whether that attempt must not resume the partial file. Defaults to False.
    """

    def __init__(self, reason: Any, retry: bool = True, restart: bool = False):
        super().__init__(str(reason) or type(reason).__name__)
        self.retry = retry
        self.restart = restart


class Pace:
    """Raises an error if a download is slower than the minimum rate, over all its attempts."""

    def __init__(self):
        self.received = 0
        self.since = time.monotonic()

    def add(self, count: int) -> None:
        """Counts bytes, and checks the rate of the last seconds.

        Args:
            count: int. Bytes that have arrived.

        Raises:
            NetworkError: too few in the last seconds. Another attempt does not help.
        """
        self.received += count
        seconds = time.monotonic() - self.since
        if seconds < SLOWEST_SECONDS:
            return
        if self.received < SLOWEST_BYTES * seconds / SLOWEST_SECONDS:
            reason = f"too slow: {self.received:,} bytes in {seconds:.0f} seconds"
            raise NetworkError(reason, retry=False)
        self.received = 0
        self.since = time.monotonic()


@contextlib.contextmanager
def opened(
    url: str, headers: dict[str, str], resumed: bool
) -> Iterator[tuple[Any, Iterator[bytes]]]:
    """Sends a request.

    The request runs in a thread of its own: the timeout of a socket begins again with every byte,
    so that it does not end a server that sends its headers byte by byte.

    Args:
        url: str. The address.
        headers: dict of str. The headers of the request.
        resumed: bool. Whether a connection has worked before.

    Yields:
        Tuple of the response (with `status` and `headers`) and an iterator of blocks of bytes.

    Raises:
        NetworkError: no connection, no answer in time, or an error of the server.
    """
    request = urllib.request.Request(url, headers=headers)
    arrived: queue.Queue = queue.Queue(_BLOCKS)
    stopped = threading.Event()
    thread = threading.Thread(target=_receive, args=(request, arrived, stopped), daemon=True)
    thread.start()
    try:
        with _translated(resumed):
            response = _next(arrived)
        yield response, _blocks(arrived)
    finally:
        stopped.set()
        with contextlib.suppress(queue.Empty):  # the thread may be waiting for a free place
            while True:
                arrived.get_nowait()


def _receive(request, arrived, stopped):
    """Puts the response into a queue, then its blocks, then b"" or an exception."""
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            arrived.put(response)
            block = b"-"
            while block and not stopped.is_set():
                # Returns what has arrived, so that a lost connection loses nothing.
                block = response.read1(_BLOCK_BYTES)
                arrived.put(block)
    except BaseException as error:
        arrived.put(error)


def _next(arrived):
    try:
        found = arrived.get(timeout=TIMEOUT)
    except queue.Empty:
        raise TimeoutError("timed out") from None
    if isinstance(found, BaseException):
        raise found
    return found


def _blocks(arrived):
    while True:
        with _translated(resumed=True):
            block = _next(arrived)
        if not block:
            return
        yield block


@contextlib.contextmanager
def _translated(resumed):
    """Turns errors of the network into `NetworkError`, to tell them from errors of the disk."""
    try:
        yield
    except HTTPError as error:
        error.close()
        restart = error.code == 416  # the server has no bytes beyond the partial file
        reason = f"HTTP {error.code} {error.reason}"
        raise NetworkError(reason, retry=restart or error.code >= 500, restart=restart) from error
    except URLError as error:  # a connection that never worked will not work in a second
        raise NetworkError(error.reason, retry=resumed) from error
    except (OSError, HTTPException) as error:
        raise NetworkError(error) from error
