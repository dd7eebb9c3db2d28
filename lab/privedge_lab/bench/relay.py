"""Simulate distance between processes of one machine: relay TCP with a delay, at full bandwidth.

`Relay` starts `python -m privedge_lab.bench.relay SECONDS`, in a process of its own so that its
work does not disturb the measurement. It reads an address per line on standard input, and answers
with the address to dial instead. Bytes are passed on unchanged, TLS included, `SECONDS` after they
came, in each direction.
"""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Queue

from privedge.errors import Unreachable

_CHUNK_BYTES = 1 << 16
# Chunks on their way in one direction. 64 MiB are far more than a delay of seconds needs here; the
# bound only keeps memory finite should the receiver stop reading.
_CHUNKS = 1 << 10
_DIAL_S = 5.0

# (when it is due, bytes)
_OnTheirWay = Queue[tuple[float, bytes]]


class Relay:
    """The relay process. Use as a context manager."""

    def __init__(self, delay_s: float) -> None:
        """Start the process; `delay_s` is the delay in one direction, half a round trip."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "privedge_lab.bench.relay", str(delay_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Relay":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def to(self, address: str) -> str:
        """Return the address (HOST:PORT) to dial instead of `address`, which need not listen yet.

        Raises Unreachable.
        """
        said = ""
        if self._process.stdin is not None and self._process.stdout is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.write(f"{address}\n")
                self._process.stdin.flush()
                said = self._process.stdout.readline()
        if not said:
            raise Unreachable("the delaying relay ended")
        return said.strip()

    def close(self) -> None:
        """End the process, and with it every connection."""
        self._process.kill()
        self._process.communicate()


def main(delay_s: float) -> None:
    """Relay to every address on standard input, until it ends."""
    for line in iter(sys.stdin.readline, ""):
        host, _, port = line.strip().rpartition(":")
        door = socket.create_server(("127.0.0.1", 0))
        _in_background(_stand_in, door, (host, int(port)), delay_s)
        own_host, own_port = door.getsockname()
        sys.stdout.write(f"{own_host}:{own_port}\n")
        sys.stdout.flush()


def _stand_in(door: socket.socket, target: tuple[str, int], delay_s: float) -> None:
    while True:
        caller, _ = door.accept()
        try:
            called = socket.create_connection(target, _DIAL_S)
        except OSError:
            # The target does not listen yet: the caller sees its connection close, and tries again.
            caller.close()
            continue
        called.settimeout(None)
        _in_background(_both_ways, caller, called, delay_s)


def _both_ways(caller: socket.socket, called: socket.socket, delay_s: float) -> None:
    """Relay in both directions until both ends have closed, or one is lost."""
    with caller, called:
        threads = []
        for here, there in ((caller, called), (called, caller)):
            here.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            on_their_way: _OnTheirWay = Queue(_CHUNKS)
            threads.append(_in_background(_take, here, on_their_way, delay_s))
            threads.append(_in_background(_pass_on, here, there, on_their_way))
        for thread in threads:
            thread.join()


def _take(source: socket.socket, on_their_way: _OnTheirWay, delay_s: float) -> None:
    """Read chunks and note when each is due. An empty chunk marks the end."""
    chunk = b"?"
    while chunk:
        try:
            chunk = source.recv(_CHUNK_BYTES)
        except OSError:
            chunk = b""
        on_their_way.put((time.monotonic() + delay_s, chunk))


def _pass_on(source: socket.socket, target: socket.socket, on_their_way: _OnTheirWay) -> None:
    chunk, lost = b"?", False
    while chunk:
        due, chunk = on_their_way.get()
        if lost:
            continue
        time.sleep(max(0.0, due - time.monotonic()))
        try:
            if chunk:
                target.sendall(chunk)
            else:
                target.shutdown(socket.SHUT_WR)
        except OSError:
            # A sender must learn that the other end is lost.
            lost = True
            with suppress(OSError):
                source.shutdown(socket.SHUT_RDWR)


def _in_background(run: Callable[..., None], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=run, args=arguments, daemon=True)
    thread.start()
    return thread


if __name__ == "__main__":
    main(float(sys.argv[1]))
