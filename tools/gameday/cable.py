"""A cable between two processes: it can be listened to, altered, slowed down, held and cut."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Literal, Self

# Up is towards the server, down is towards whoever dialled.
Way = Literal["up", "down"]
# Of one connection: whoever dialled, and the server.
_Ends = tuple[socket.socket, socket.socket]
_CHUNK_BYTES = 65536


def _unchanged(raw: bytes) -> bytes:
    return raw


def _flipped(raw: bytes) -> bytes:
    return raw[:-9] + bytes([raw[-9] ^ 1]) + raw[-8:] if len(raw) > 9 else raw


class Cable:
    """TCP connections to `target` through this process. Use as a context manager.

    up, down: what was sent each way, if it is recorded.
    alter: what becomes of a chunk, for each way.
    delay_s: how long each chunk takes, each way.
    """

    def __init__(
        self,
        target: str,
        alter: Callable[[bytes], bytes] = _unchanged,
        *,
        records: bool = True,
    ) -> None:
        """Listen on a free port of this machine: `address`."""
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self.alter: dict[Way, Callable[[bytes], bytes]] = {"up": alter, "down": _unchanged}
        self.delay_s = 0.0
        self._records = records
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.up, self.down = bytearray(), bytearray()
        self._lock = threading.Condition()
        self._held: frozenset[Way] = frozenset()
        self._closing = threading.Event()
        # How many pumps each connection still has, and which connections are over.
        self._open: dict[_Ends, int] = {}
        self._ended: set[_Ends] = set()
        self._accepting = threading.Thread(target=self._accept)
        self._threads: list[threading.Thread] = []
        self._accepting.start()

    def hold(self, *ways: Way) -> None:
        """Let nothing pass that way, as if packets were lost; connections stay open."""
        with self._lock:
            self._held = frozenset(ways)
            self._lock.notify_all()

    def spoil(self, *ways: Way) -> None:
        """Flip one bit of each chunk that way, until it is healed."""
        self.alter |= dict.fromkeys(ways, _flipped)

    def heal(self) -> None:
        """Let everything pass, unchanged and at once; what was held is delivered first."""
        self.alter, self.delay_s = {"up": _unchanged, "down": _unchanged}, 0.0
        self.hold()

    def cut(self) -> None:
        """End all connections that are open now."""
        with self._lock:
            self._ended |= self._open.keys()
            for ends in self._open:
                for end in ends:
                    _hang_up(end)
            self._lock.notify_all()

    def __enter__(self) -> Self:
        """Return the cable."""
        return self

    def __exit__(self, *_: object) -> None:
        """End every connection and thread."""
        self._closing.set()
        self.hold()
        _hang_up(self._listener)
        self._accepting.join(20)
        self.cut()
        for thread in self._threads:
            thread.join(20)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            ends = (client, server)
            with self._lock:
                self._open[ends] = 2
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            for source, sink, way in ((client, server, "up"), (server, client, "down")):
                thread = threading.Thread(target=self._pump, args=(ends, source, sink, way))
                self._threads.append(thread)
                thread.start()

    def _pump(self, ends: _Ends, source: socket.socket, sink: socket.socket, way: Way) -> None:
        try:
            while raw := source.recv(_CHUNK_BYTES):
                if self._records:
                    (self.up if way == "up" else self.down).extend(raw)
                self._closing.wait(self.delay_s)
                with self._lock:
                    self._lock.wait_for(lambda: way not in self._held or ends in self._ended)
                sink.sendall(self.alter[way](raw))
        except OSError:
            return
        finally:
            self._end(ends)

    def _end(self, ends: _Ends) -> None:
        """Hang up; the second of the two pumps closes."""
        for end in ends:
            _hang_up(end)
        with self._lock:
            self._ended.add(ends)
            self._lock.notify_all()
            self._open[ends] -= 1
            if self._open[ends] == 0:
                del self._open[ends]
                self._ended.discard(ends)
                for end in ends:
                    end.close()


def _hang_up(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
