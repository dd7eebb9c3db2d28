"""`privedge demo` as a user runs it: it writes its files, and leaves no process running."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests import drawn_faces
from tests.integration.left_running import running_in_session_of, until_running

pytestmark = pytest.mark.mpc

QUERIES, STRANGERS = 10, 10
PROMISED = {
    "owners", "queries", "accuracy", "plaintext_accuracy", "agreement", "median_query_s",
    "rounds_per_query", "bytes_per_query_per_party",
}  # fmt: skip


def started(out: Path, *options: str, preset: str = "subspace32") -> subprocess.Popen[str]:
    """The command in a session of its own, so that all it starts can be found."""
    program = str(Path(sys.executable).with_name("privedge"))
    return subprocess.Popen(
        [program, "demo", "--preset", preset, "--out", str(out), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str, list[int]]]:
    """(folder, standard output, what is left running) after a demo over an older one's files."""
    out = tmp_path_factory.mktemp("demo")
    before = {"plaintext_accuracy": 0, "agreement": 0, "preset": ""}
    (out / "summary.json").write_text(json.dumps(before))
    (out / "mine.txt").write_text("keep")
    process = started(out, "--queries", str(QUERIES), "--json")
    said, complained = process.communicate(timeout=300)
    assert (process.returncode, complained) == (0, "")
    yield out, said, running_in_session_of(process)


def test_the_summary_has_what_is_promised_and_equals_what_is_printed(done):
    out, said, _ = done
    summary = json.loads((out / "summary.json").read_text())
    assert json.loads(said) == summary
    assert set(summary) == PROMISED | {"preset", "seconds"}
    assert (summary["owners"], summary["queries"], summary["preset"]) == (10, QUERIES, "subspace32")
    assert summary["agreement"] == 1.0
    assert summary["accuracy"] >= 0.8
    assert all(summary[name] > 0 for name in PROMISED)


def test_the_page_has_a_card_for_every_question_and_takes_nothing_from_the_network(done):
    out, _, _ = done
    page = Page()
    page.feed((out / "index.html").read_text())
    assert page.classes.count("card") == QUERIES + STRANGERS
    assert page.tags >= {"table", "caption", "th"} and "script" not in page.tags
    pictures = [attributes for tag, attributes in page.elements if tag == "img"]
    # A question, its features and their reconstruction; and one question taken apart.
    assert len(pictures) == 3 * (QUERIES + STRANGERS) + 4
    assert all(picture["alt"] for picture in pictures)
    loaded = [a[key] for _, a in page.elements for key in ("src", "href") if key in a]
    assert all(source.startswith("data:image/png;base64,") for source in loaded)


def test_the_logs_are_kept_and_nothing_else_is_touched_or_left_running(done):
    out, _, running = done
    assert {path.name for path in out.iterdir()} == {
        "index.html", "logs", "mine.txt", "summary.json"
    }  # fmt: skip
    assert (out / "mine.txt").read_text() == "keep"
    assert {path.stem for path in (out / "logs").iterdir()} == {"dealer", "party0", "party1"}
    assert running == []


def test_an_interrupted_demo_leaves_nothing_running_and_no_summary(tmp_path):
    process = started(tmp_path / "out")
    until_running(process, 2)
    process.send_signal(signal.SIGINT)
    said, complained = process.communicate(timeout=60)
    assert (process.returncode, said, complained) == (130, "", "privedge: interrupted\n")
    assert running_in_session_of(process) == []
    assert not (tmp_path / "out" / "summary.json").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--queries", "1000"], "only 359 test images"),
        (["--out", "/proc/demo"], "cannot be written"),
        (["--people", "people"], "add --faces"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(tmp_path, options, reason):
    process = started(tmp_path, *options)
    said, complained = process.communicate(timeout=60)
    assert (process.returncode, said, complained.count("\n")) == (1, "", 1)
    assert reason in complained


def test_faces_are_cut_out_learnt_from_three_photographs_and_told_from_strangers(tmp_path):
    """With drawn faces, and a detector and an encoder that stand for the recipe's."""
    recipe = tmp_path / "recipe"
    for person in range(4):
        (recipe / "people" / f"p{person}").mkdir(parents=True)
        for photo in range(5):
            picture = drawn_faces.person(person, (100 + 16 * photo, 140), seed=photo)
            picture.save(recipe / "people" / f"p{person}" / f"{photo}.png")
    encoder = drawn_faces.encoder(recipe / "encoder.onnx")
    drawn_faces.detector(recipe / "detector.onnx")
    options = ("--faces", "--encoder", str(encoder), "--json")
    process = started(tmp_path / "out", *options, preset="subspace-encoder")
    said, complained = process.communicate(timeout=300)
    assert (process.returncode, complained) == (0, "")
    summary = json.loads(said)
    assert (summary["owners"], summary["queries"], summary["agreement"]) == (2, 4, 1.0)
    page = (tmp_path / "out" / "index.html").read_text()
    assert "Whose face is it?" in page and page.count('class="card') == 4 + 2
    assert running_in_session_of(process) == []


class Page(HTMLParser):
    """Notes every element of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    @property
    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}

    @property
    def classes(self) -> list[str]:
        return [name for _, a in self.elements for name in a.get("class", "").split()]
