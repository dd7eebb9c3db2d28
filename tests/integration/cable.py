"""A cable between two processes, for tests that listen to it or cut it."""

import socket
import threading


class Cable:
    """A TCP connection in two halves that somebody records, and may alter towards the server."""

    def __init__(self, target, alter=lambda raw: raw):
        host, port = target.split(":")
        self._target, self._alter = (host, int(port)), alter
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.up, self.down = bytearray(), bytearray()
        self._sockets = [self._listener]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self):
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
            self._sockets += [client, server]
            for source, sink, record, alter in (
                (client, server, self.up, self._alter),
                (server, client, self.down, lambda raw: raw),
            ):
                thread = threading.Thread(target=self._pump, args=(source, sink, record, alter))
                self._threads.append(thread)
                thread.start()

    def _pump(self, source, sink, record, alter):
        try:
            while raw := source.recv(65536):
                record += raw
                sink.sendall(alter(raw))
        except OSError:
            return
        finally:
            for end in (source, sink):
                _hang_up(end)

    def cut(self):
        """End all connections that are open now."""
        for end in self._sockets[1:]:
            _hang_up(end)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for end in self._sockets:
            _hang_up(end)
        for thread in self._threads:
            thread.join(20)
        for end in self._sockets:
            end.close()


def _hang_up(end):
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
