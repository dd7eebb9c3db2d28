"""A real browser without a screen: Debian's chromium, spoken to through its debugging pipe.

The DevTools protocol over two file descriptors: JSON messages, each ended by a zero byte. No port
is opened, no driver is needed.
"""

import fcntl
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_LONGEST_S = 60
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
    *("--disable-dev-shm-usage", "--disable-background-networking", "--remote-debugging-pipe"),
)


class Browser:
    """One page in one browser. `requested` are the addresses it asked for, in order."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = read, write
        self._numbers = itertools.count(1)
        self._buffer = b""
        self._session: str | None = None
        self.requested: list[str] = []
        self.complaints: list[str] = []
        self._events: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of one command; AssertionError with what the browser says if it fails."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def show(self, page: Path, *, width: int, height: int = 800, dark: bool = False) -> None:
        """Open `page` in a window of this many CSS pixels, and wait until it is loaded."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 500,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self._events.clear()
        self.call("Page.navigate", url=page.resolve().as_uri())
        while "Page.loadEventFired" not in self._events:
            self._next()

    def value(self, expression: str) -> Any:
        """What a JavaScript expression is on the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """A key, down and up."""
        codes = {"Tab": 9, "Enter": 13}
        typed = {"text": "\r"} if key == "Enter" else {}
        for more in ({"type": "keyDown", **typed}, {"type": "keyUp"}):
            self.call(
                "Input.dispatchKeyEvent",
                key=key, code=key, windowsVirtualKeyCode=codes[key], **more,
            )  # fmt: skip

    def screenshot(self) -> str:
        """A PNG of the window, as base64."""
        return str(self.call("Page.captureScreenshot", format="png")["data"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], _LONGEST_S)
            assert ready, "the browser does not answer"
            more = os.read(self._read, 1 << 16)
            assert more, "the browser has ended"
            self._buffer += more
        raw, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(raw)
        self._note(message)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        method = message.get("method", "")
        self._events.append(method)
        if method == "Network.requestWillBeSent":
            self.requested.append(message["params"]["request"]["url"])
        if method in ("Log.entryAdded", "Runtime.exceptionThrown", "Network.loadingFailed"):
            self.complaints.append(json.dumps(message["params"])[:500])


@contextmanager
def browser(home: Path) -> Iterator[Browser]:
    """A browser with a fresh profile in `home`, ended afterwards with all its processes."""
    assert CHROMIUM is not None
    (their_read, write), (read, their_write) = os.pipe(), os.pipe()
    # Above 4, so that the shell's redirections do not run over each other.
    theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (their_read, their_write)]
    for end in (their_read, their_write):
        os.close(end)
    command = f'exec "$0" "$@" 3<&{theirs[0]} 4>&{theirs[1]}'
    process = subprocess.Popen(
        ["bash", "-c", command, CHROMIUM, *_FLAGS, f"--user-data-dir={home}"],
        pass_fds=theirs,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    for end in theirs:
        os.close(end)
    try:
        yield Browser(read, write)
    finally:
        os.close(write)
        os.close(read)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
