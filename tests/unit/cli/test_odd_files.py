"""Whatever option takes a path: a pipe, a socket or a loop of links there ends in one line.

No command opens a pipe: it would wait for whoever holds the other end, perhaps for ever. Every
option of every command that takes a path is tried, so a new one has to be named in VALUES, too.
"""

import errno
import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from privedge import regular_file
from privedge.cli.main import build
from privedge.errors import PrivEdgeError
from privedge.identity import certificates
from privedge.identity.roles import Identity, Role
from privedge.ran.presets import preset
from privedge.user.checkpoint import Ran
from tests.unit.client import open_parties

APP = build()
SPEC = preset("subspace32", height=32, width=32, channels=1, components=2)
# What else a command needs, by its name; below, what its other paths are.
WORDS = {
    "upload": ["--cohort", "faces"],
    "query": ["--cohort", "faces"],
    "verify": ["--cohort", "faces", "--owner", "ana"],
    "train": ["--owner", "ana"],
    "models delete": ["0" * 32],
    "certs issue": ["owner", "ana"],
    "certs request": ["owner", "ana"],
    "certs sign": ["owner", "ana"],
    "attack attributes": ["--private", "colour"],
    "evaluate original": ["--steps", "1"],
    "split train": ["--cut", "conv1"],
    "split sweep": ["--cuts", "conv1"],
}
# Where a command writes. It must not wait for a reader there either.
WRITTEN = {"--out", "--figure", "--sheet", "--home", "--probes"}
# A file that a command does not need, it need not look at. With --preset face, they need both.
NOT_NEEDED = {
    (("query",), "--encoder"),
    (("verify",), "--encoder"),
    *(((name,), "--detector") for name in ("train", "train-all", "query", "verify")),
    (("photos", "check"), "--detector"),
}
# It would start servers: its readers are those of train-all.
STARTS_SERVERS = {(("up",), option) for option in ("--encoder", "--detector", "--spec")}


def paths_of(command) -> list:
    return [each for each in command.params if "Path" in str(each.type_descriptor.annotation)]


def every() -> Iterator[tuple[tuple[str, ...], str]]:
    def walk(command, words):
        for name, below in getattr(command, "commands", {}).items():
            yield from walk(below, (*words, name))
        if not hasattr(command, "commands"):
            every = ((words, each.opts[0]) for each in paths_of(command))
            yield from (each for each in every if each not in STARTS_SERVERS)

    return walk(typer.main.get_command(APP), ())


class Watched:
    """A pipe that notices who opens it, and lets nobody wait."""

    def __init__(self, path: Path, *, for_writers: bool) -> None:
        os.mkfifo(path)
        self.path, self.was_opened, self._over = path, False, False
        flags = os.O_RDONLY if for_writers else os.O_WRONLY
        self._thread = threading.Thread(target=self._wait, args=(flags,))
        self._thread.start()

    def _wait(self, flags: int) -> None:
        handle = os.open(self.path, flags)  # until somebody opens the other end
        self.was_opened = not self._over
        os.close(handle)

    def end(self) -> None:
        self._over = True
        handle = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        self._thread.join()
        os.close(handle)


@pytest.fixture(scope="module")
def there(tmp_path_factory) -> Iterator[dict[str, Path]]:
    """A good value for every path."""
    folder = tmp_path_factory.mktemp("there")
    pictures = np.random.default_rng(0).integers(0, 256, (8, 32, 32), np.uint8)
    (folder / "people" / "ana").mkdir(parents=True)
    for number, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(folder / "people" / "ana" / f"{number}.png")
    np.savez(folder / "set.npz", images=pictures, labels=np.arange(8) % 2)
    zeros = {name: np.zeros(shape, np.float32) for name, shape in SPEC.parameters().items()}
    Ran(SPEC, "ana", zeros).save(folder / "ana.ran")
    certificates.create_authority(folder / "ca")
    files = certificates.issue(folder / "ca", Identity(Role.OWNER, "ana"))
    request, _ = certificates.request(folder / "mine", Identity(Role.OWNER, "bo"))
    with open_parties.serving() as parties:
        yield {
            "people": folder / "people",
            "ana": folder / "people" / "ana",
            "set": folder / "set.npz",
            "ran": folder / "ana.ran",
            "ca": folder / "ca",
            "certificate": files.certificate,
            "authority": files.ca,
            "request": request,
            "config": parties.config_file(folder),
        }


# By the name of the option: which of them is good there. Options without an entry are left out.
VALUES = {
    "--config": "config",
    "images": "ana",
    "file": "ran",
    "request": "request",
    "certificate": "certificate",
    "new": "certificate",
    "--ca": "authority",
    "--data": "set",
    "data": "set",
    "disguised": "set",
    "--key": "ran",
    "--network": "ran",
    "folders": "people",
}


def value_of(words: tuple[str, ...], option: str, there: dict[str, Path], new: Path) -> Path | None:
    if option == "folder":
        return there["ca" if words[0] == "certs" else "people"]
    if option == "--out":
        return new / "new"
    return there[VALUES[option]] if option in VALUES else None


def line_of(words, odd: str, path: Path, there: dict[str, Path], new: Path) -> list[str]:
    """The command with `path` as the option `odd`."""
    command = typer.main.get_command(APP)
    for word in words:
        command = command.commands[word]
    line = [*words]
    if odd == "--config" and words[0] in ("train", "train-all", "photos"):
        line += ["--cohort", "faces"]
    given = {each.opts[0]: value_of(words, each.opts[0], there, new) for each in paths_of(command)}
    needed = {each.opts[0] for each in paths_of(command) if each.required} | {"--config"}
    for option, value in given.items():
        chosen = path if option == odd else value if option in needed else None
        if chosen is not None:
            line += [option, str(chosen)] if option.startswith("--") else [str(chosen)]
    return [*line, *WORDS.get(" ".join(words), ())]


def odd_file(kind: str, path: Path) -> Path:
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(os.path.relpath(path))
    else:
        path.symlink_to(path)
    return path


def refused_in_one_line(done) -> bool:
    if isinstance(done.exception, PrivEdgeError):
        return "\n" not in str(done.exception)
    return done.exit_code == 2 or (done.exit_code == 1 and done.output.count("\n") == 1)


@pytest.mark.parametrize(("words", "option"), [*every()], ids=lambda each: str(each))
def test_no_command_waits_for_a_pipe(words, option, there, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pipe = Watched(tmp_path / "pipe", for_writers=option in WRITTEN)
    try:
        done = CliRunner().invoke(APP, line_of(words, option, pipe.path, there, tmp_path))
    finally:
        pipe.end()
    assert not pipe.was_opened
    assert refused_in_one_line(done) or (words, option) in NOT_NEEDED, done.output
    assert pipe.path.is_fifo()


@pytest.mark.parametrize("kind", ["socket", "loop"])
@pytest.mark.parametrize(("words", "option"), [*every()], ids=lambda each: str(each))
def test_a_socket_or_a_loop_of_links_is_refused_in_one_line(
    words, option, kind, there, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    path = odd_file(kind, tmp_path / "odd")
    done = CliRunner().invoke(APP, line_of(words, option, path, there, tmp_path))
    assert refused_in_one_line(done) or (words, option) in NOT_NEEDED, done.output


# --- What all of them read with -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (os.mkfifo, "is a pipe"),
        (Path.mkdir, "is a folder"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device"),
        (lambda path: odd_file("socket", path), "is a socket"),
        (lambda path: odd_file("loop", path), os.strerror(errno.ELOOP)),
        (lambda path: None, os.strerror(errno.ENOENT)),
    ],
    ids=["pipe", "folder", "device", "socket", "loop", "nothing"],
)
@pytest.mark.parametrize("read", [regular_file.read, regular_file.opened, regular_file.require])
def test_nothing_but_a_regular_file_is_read(tmp_path, monkeypatch, make, why, read):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "odd")
    with pytest.raises(OSError, match=why):
        read(tmp_path / "odd")


def test_a_link_to_a_file_is_followed_and_its_bytes_are_all_read(tmp_path):
    (tmp_path / "file").write_bytes(bytes(range(256)) * 4096)
    (tmp_path / "link").symlink_to("file")
    assert regular_file.read(tmp_path / "link") == bytes(range(256)) * 4096


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(tmp_path, monkeypatch):
    """Between the look at a file and its opening, somebody may replace it."""
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    before = regular_file.require

    def replaced(path):
        found = before(path)
        (tmp_path / "pipe").rename(path)
        return found

    monkeypatch.setattr(regular_file, "require", replaced)
    with pytest.raises(OSError, match="is a pipe"):
        regular_file.opened(tmp_path / "file")


# Modules that read what privedge itself has written or shipped, by names of its own.
OWN_FILES = {
    "privedge/local/deployment.py",
    "privedge/local/processes.py",
    "lab/privedge_lab/bench/asker.py",
    "lab/privedge_lab/bench/children.py",
    "lab/privedge_lab/bench/processor.py",
    "lab/privedge_lab/bench/spu/party.py",
    "lab/privedge_lab/bench/stock/files.py",
}
# What these open is in memory, or was opened by that module.
FROM_MEMORY = {
    "privedge/regular_file.py",
    "privedge/ran/refusals.py",
    "privedge/ran/npz.py",
    "lab/privedge_lab/evaluation/disturbances.py",
}
OPENS = re.compile(
    r"\.read_(bytes|text)\(|np\.load\(|\bopen\(.*\"rb?\"|\b(safe_open|Image\.open|ZipFile)\("
)


def test_whoever_reads_a_named_file_reads_it_through_the_one_module():
    root = Path(__file__).parents[3]
    found = set()
    for path in [*root.glob("privedge/**/*.py"), *root.glob("lab/privedge_lab/**/*.py")]:
        text = path.read_text()
        if OPENS.search(text) and not re.search(
            "^ *from privedge import .*regular_file", text, re.M
        ):
            found.add(str(path.relative_to(root)))
    assert found == OWN_FILES | FROM_MEMORY
