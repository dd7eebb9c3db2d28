"""`privedge up` as a user runs it: real folders of pictures, real servers, real queries."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from PIL import Image

from privedge.local import processes
from privedge_lab.demo.digits import Digits

pytestmark = pytest.mark.mpc

PRIVEDGE = str(Path(sys.executable).with_name("privedge"))
PROMISED = ["cohort", "owners", "config", "preset", "seconds"]
SERVERS = ("dealer", "party0", "party1")
# Every process a command starts inherits its environment, and so can be found.
MARK = "PRIVEDGE_TEST_MARK"


class Place:
    """A folder to run commands in, with all processes that come from them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.people = folder / "people"
        self.home = folder / "privedge-up" / "people"
        self.mark = uuid.uuid4().hex

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [PRIVEDGE, *map(str, arguments)],
            cwd=self.folder,
            env=os.environ | {MARK: self.mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: object) -> tuple[str, str]:
        """Standard output and error of a command that must succeed."""
        process = self.start(*arguments)
        said, complained = process.communicate(timeout=300)
        assert process.returncode == 0, complained
        return said, complained

    def left(self) -> list[psutil.Process]:
        return [process for process in psutil.process_iter() if self._ours(process)]

    def pids(self) -> dict[str, int | None]:
        return {name: processes.pid_of(self.home, name) for name in SERVERS}

    def ask(self, *files: Path, cohort: str = "people") -> list[str | None]:
        config = self.home / "client.toml"
        said, _ = self.run("query", *files, "--config", config, "--cohort", cohort, "--json")
        answers: list[str | None] = json.loads(said)["answers"]
        return answers

    def clear(self) -> None:
        for process in self.left():
            process.kill()

    def _ours(self, process: psutil.Process) -> bool:
        try:
            alive = process.status() != psutil.STATUS_ZOMBIE
            return alive and process.environ().get(MARK) == self.mark
        except psutil.Error:
            return False


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.clear()


Draw = Callable[..., Path]


@pytest.fixture(scope="module")
def draw(some_digits: Digits) -> Draw:
    """draw(folder, digit, count) writes so many pictures of that digit."""

    def written(folder: Path, digit: int, count: int = 12, mode: str = "L") -> Path:
        folder.mkdir(parents=True)
        for number, image in enumerate(some_digits.train_images[digit][:count]):
            Image.fromarray(image).convert(mode).save(folder / f"{number:02}.png")
        return folder

    return written


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, draw: Draw) -> Iterator[tuple[Place, str, str]]:
    """(place, standard output, standard error) of `up people --keep --json`."""
    place = Place(tmp_path_factory.mktemp("kept"))
    for digit, name in enumerate(("Ana María", "ben", "cleo")):
        draw(place.people / name, digit)
    draw(place.people / "__MACOSX" / "ben", 1, count=1)
    (place.people / "ben" / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    (place.people / "to sort").mkdir()
    yield place, *place.run("up", "people", "--keep", "--json", "--preset", "subspace32")
    place.clear()


def test_the_line_for_machines_has_what_is_promised(kept):
    place, said, _ = kept
    found = json.loads(said)
    assert said.count("\n") == 1 and list(found) == PROMISED
    assert found["cohort"] == "people" and found["preset"] == "subspace32"
    assert found["owners"] == ["ana-maria", "ben", "cleo"]
    assert found["config"] == str(place.home / "client.toml")
    assert found["seconds"] > 0
    # The parties have checked the values of all three models before they became active.
    for party in ("party0", "party1"):
        assert "[cohorts.model_check]" in (place.home / f"{party}.toml").read_text()


def test_w79_a_second_command_asks_it_privately(kept):
    place, _, _ = kept
    people = place.people
    asked = [people / "Ana María" / "01.png", people / "ben" / "02.png", people / "cleo" / "03.png"]
    assert place.ask(*asked) == ["ana-maria", "ben", "cleo"]


def test_what_was_passed_over_or_renamed_is_said_in_a_line_each(kept):
    _, _, complained = kept
    lines = complained.splitlines()
    assert all(line.startswith("privedge: note: ") for line in lines)
    for part in ("__MACOSX", "to sort", "ben/cut.jpg", "'Ana María' is ana-maria"):
        assert len([line for line in lines if part in line]) == 1


def test_only_this_user_can_read_what_it_keeps_and_the_pictures_are_left_alone(kept):
    place, _, _ = kept
    kept_files = [place.home.parent, *place.home.parent.rglob("*")]
    assert [path for path in kept_files if path.lstat().st_mode & 0o077] == []
    assert sorted(entry.name for entry in place.folder.iterdir()) == ["people", "privedge-up"]
    pictures = [file for file in place.people.rglob("*") if file.is_file()]
    assert len(pictures) == 3 * 12 + 2 and all(f.suffix in (".png", ".jpg") for f in pictures)


def test_only_what_the_command_leaves_running_is_the_servers(kept):
    place, _, _ = kept
    running = place.left()
    servers = {process.pid for process in running if process.ppid() not in {p.pid for p in running}}
    assert servers == set(place.pids().values())


def test_a_kept_service_is_noticed_mended_brought_up_to_date_and_stopped(place, draw):
    for digit, name in enumerate(("ana", "ben")):
        draw(place.people / name, digit)
    place.run("up", "people", "--keep", "--json")
    first = place.pids()
    assert None not in first.values()

    said, _ = place.run("up", "people", "--keep")
    assert said.startswith(
        "people runs already: ana, ben, 24 pictures, ran32-fine\n2 of 2 pictures"
    )
    assert "On one machine this protects nobody" in said
    assert place.pids() == first
    # The printed line, as it is, in a shell.
    line, stop = (each for each in said.splitlines() if each.startswith(("ask:", "stop:")))
    assert stop.endswith("privedge up people --stop")
    asked = subprocess.run(
        line.removeprefix("ask:"), shell=True, cwd=place.folder, capture_output=True, text=True
    )
    assert asked.stdout.endswith(": ana\n"), asked.stderr

    psutil.Process(first["party1"]).kill()
    said, _ = place.run("up", "people")  # without --keep: it was kept before, and stays
    mended = place.pids()
    assert mended["party1"] not in (None, first["party1"])
    assert (mended["dealer"], mended["party0"]) == (first["dealer"], first["party0"])
    assert place.ask(place.people / "ben" / "00.png") == ["ben"]

    models = {file.name: file.stat().st_mtime_ns for file in (place.home / "models").iterdir()}
    draw(place.people / "cleo", 2)
    (place.people / "ben" / "00.png").unlink()
    found = json.loads(place.run("up", "people", "--json")[0])
    assert found["owners"] == ["ana", "ben", "cleo"]
    again = {file.name: file.stat().st_mtime_ns for file in (place.home / "models").iterdir()}
    assert set(again) == {"ana.ran", "ben.ran", "cleo.ran"}
    assert [name for name in models if again[name] == models[name]] == ["ana.ran"]
    assert place.ask(place.people / "cleo" / "00.png") == ["cleo"]

    assert place.run("up", "people", "--stop")[0] == f"{place.home}: stopped\n"
    assert place.left() == [] and set(place.pids().values()) == {None}
    assert place.run("up", "--stop", "people")[0] == f"{place.home}: nothing is running\n"


@pytest.fixture
def serving(place: Place, draw: Draw) -> tuple[Place, subprocess.Popen[str]]:
    """One owner's service that runs until it is told to stop."""
    draw(place.people / "ana", 0, count=30)
    draw(place.folder / "other", 1, count=6)
    process = place.start("up", "people", "--json")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["owners"] == ["ana"]
    return place, process


def test_one_owner_alone_goes_by_its_threshold_and_sigterm_leaves_nothing(serving):
    place, process = serving
    own, other = place.people / "ana", place.folder / "other"
    answers = place.ask(*sorted(own.iterdir()), *sorted(other.iterdir()))
    assert answers[:30].count("ana") >= 24 and answers[30:] == [None] * 6

    refused = place.start("up", "people")
    assert "another `privedge up` is running there" in refused.communicate(timeout=120)[1]
    assert refused.returncode == 1

    process.terminate()
    said, complained = process.communicate(timeout=120)
    assert (process.returncode, said) == (0, "")
    assert complained.count("\n") == 1 and "ana is the only owner" in complained
    assert place.left() == []


def test_a_server_that_ends_ends_the_command_with_its_name(serving):
    place, process = serving
    psutil.Process(place.pids()["dealer"]).kill()
    _, complained = process.communicate(timeout=120)
    assert process.returncode == 1
    assert complained.splitlines()[-1].startswith("privedge: the dealer ended: ")
    assert place.left() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_command_that_is_ended_while_servers_start_leaves_nothing(place, draw, number):
    draw(place.people / "ana", 0)
    draw(place.people / "ben", 1)
    process = place.start("up", "people", "--keep")
    while len([pid for pid in place.pids().values() if pid]) < 2:
        assert process.poll() is None
    process.send_signal(number)
    said, complained = process.communicate(timeout=120)
    assert said == ""
    if number == signal.SIGINT:
        assert (process.returncode, complained) == (130, "privedge: interrupted\n")
    else:
        psutil.wait_procs(place.left(), timeout=120)
    assert place.left() == []


def test_a_command_that_is_told_to_end_while_it_trains_leaves_nothing_half_written(place, draw):
    for digit in range(3):
        draw(place.people / f"owner-{digit}", digit)
    process = place.start("up", "people", "--preset", "ran32")
    models = place.home / "models"
    while not models.is_dir() or not list(models.iterdir()):
        assert process.poll() is None
    process.terminate()
    said, _ = process.communicate(timeout=120)
    assert (process.returncode, said) == (143, "")
    psutil.wait_procs(place.left(), timeout=60)
    assert place.left() == []
    assert [file.name for file in models.iterdir() if file.name.startswith(".")] == []
    assert set(place.pids().values()) == {None}


@pytest.mark.slow
def test_two_parties_and_nobody_else_answer(place, draw):
    for digit, name in enumerate(("ana", "ben")):
        draw(place.people / name, digit)
    arguments = ("up", "people", "--keep", "--json", "--preset", "subspace32")
    place.run(*arguments, "--randomness", "two-party")
    pids = place.pids()
    assert pids["dealer"] is None and pids["party0"] and pids["party1"]
    picture = sorted((place.people / "ben").iterdir())[-1]
    assert place.ask(picture) == ["ben"]
    # What runs is what was asked for, and is replaced when it is not.
    place.run(*arguments, "--randomness", "two-party")
    assert place.pids() == pids
    place.run(*arguments)
    assert all(place.pids().values())
    assert place.ask(picture) == ["ben"]
