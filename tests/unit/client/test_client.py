"""The Client class: the pictures it accepts, many threads, forks, and its errors."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import open_parties
import pytest
from open_parties import COHORT, NAMES, PICTURES, Parties, serving
from PIL import Image

from privedge.client import exchange
from privedge.client.query import Client
from privedge.errors import (
    Cancelled,
    Closed,
    ConfigError,
    ImageError,
    LimitExceeded,
    ManifestMismatch,
    SnapshotChanged,
    UnknownCohort,
    UnknownModel,
    Unreachable,
)

WITHIN_S = 20


@pytest.fixture
def parties() -> Iterator[Parties]:
    with serving() as running:
        yield running


@pytest.fixture
def client(parties) -> Iterator[Client]:
    with Client(parties.config) as asking:
        yield asking


def owners(reply) -> list[str | None]:
    return [answer.owner for answer in reply.answers]


# --- What is taken --------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """Four files, one of each owner."""
    (tmp_path / "faces").mkdir()
    for number, pixels in enumerate(PICTURES):
        Image.fromarray(pixels).save(tmp_path / "faces" / f"{number}.png")
    return tmp_path / "faces"


@pytest.mark.parametrize(
    "form",
    [
        lambda folder: folder,
        str,
        lambda folder: sorted(folder.iterdir()),
        lambda folder: [str(file) for file in sorted(folder.iterdir())],
        lambda _: [Image.fromarray(each) for each in PICTURES],
        lambda _: PICTURES,
        lambda _: PICTURES[..., None].repeat(3, 3),
        lambda _: list(PICTURES),
    ],
    ids=["folder", "text", "paths", "texts", "pictures", "array", "colour", "arrays"],
)
def test_every_form_of_the_same_pictures_gets_the_same_answers(client, folder, form):
    # Four are asked in two batches: the parties take three at once.
    assert owners(client.identify(form(folder), COHORT)) == list(NAMES)
    assert owners(client.verify(form(folder), "bo", COHORT)) == [None, "bo", None, None]


@pytest.mark.parametrize(
    "form", [np.asarray, Image.fromarray, lambda pixels: pixels[..., None].repeat(3, 2)]
)
def test_w47_one_picture_gets_one_answer(client, form):
    assert owners(client.identify(form(PICTURES[2]), COHORT)) == ["cleo"]


@pytest.mark.parametrize(
    "wrong",
    [
        (PICTURES / 255).astype(np.float32),
        PICTURES.astype(np.uint16) * 257,
        PICTURES > 127,
        PICTURES[:0],
        np.zeros((0, 32, 32)),
        [],
        None,
        "none.png",
    ],
    ids=["float", "uint16", "bool", "none", "empty", "no list", "nothing", "no file"],
)
def test_w47_what_is_no_picture_is_refused_before_anything_is_sent(client, parties, wrong):
    with pytest.raises(ImageError):
        client.identify(wrong, COHORT)
    assert [party.queries for party in parties.servicers] == [0, 0]


def test_a_configuration_may_be_named_by_text_and_a_client_says_what_it_can_ask(parties, tmp_path):
    with Client.from_file(str(parties.config_file(tmp_path))) as client:
        assert client.describe(COHORT).owners == NAMES
        assert client.cohorts() == (COHORT,)
    with pytest.raises(ConfigError, match=r"none\.toml"):
        Client.from_file("none.toml")


def test_the_cohorts_to_ask_are_those_that_both_parties_serve_alike(client, parties):
    first, second = parties.servicers
    first.cohorts |= {"a": "1", "b": "1", "z": "1"}
    second.cohorts |= {"a": "2", "b": "1", "c": "1"}
    assert client.cohorts() == ("b", COHORT)


def test_nobody_is_verified_without_a_name(client):
    with pytest.raises(UnknownModel, match="must be a name, got NoneType"):
        client.verify(PICTURES[:1], None, COHORT)


@pytest.mark.parametrize("name", ["", "di\udcff", "a b", "a" * 65, None, 7])
def test_a_name_that_no_cohort_can_have_is_an_unknown_cohort(client, name):
    with pytest.raises(UnknownCohort, match="no cohort can have this name") as refusal:
        client.identify(PICTURES, name)
    assert str(refusal.value).isascii()


def test_an_owner_who_is_not_in_the_cohort_cannot_be_verified(client):
    with pytest.raises(UnknownModel, match="eve"):
        client.verify(PICTURES[0], "eve", COHORT)


# --- Many at once ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("threads", "each"), [(16, 2), (32, 4)])
def test_w75_one_client_serves_many_threads_at_once(threads, each):
    asked = [(number + turn) % 4 for number in range(threads) for turn in range(each)]
    together = threading.Barrier(threads)

    def ask(number: int) -> list[str | None]:
        together.wait(WITHIN_S)
        mine = asked[number * each : (number + 1) * each]
        return [owners(client.identify(PICTURES[index], COHORT))[0] for index in mine]

    with (
        serving() as parties,
        Client(parties.config) as client,
        ThreadPoolExecutor(threads) as pool,
    ):
        found = [name for names in pool.map(ask, range(threads)) for name in names]
    assert found == [NAMES[index] for index in asked]


def test_w75_queries_that_wait_do_not_keep_others_waiting(parties, client):
    started, release = threading.Barrier(3), threading.Event()

    def slow(header, context):
        if header.WhichOneof("question") == "verify":
            started.wait(WITHIN_S)
            release.wait(WITHIN_S)

    parties.servicers[1].before = slow
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(client.verify, PICTURES[0], "ana", COHORT) for _ in range(2)]
        started.wait(WITHIN_S)
        assert owners(client.identify(PICTURES[1], COHORT)) == ["bo"]
        assert not any(each.done() for each in waiting)
        release.set()
        assert [owners(each.result()) for each in waiting] == [["ana"], ["ana"]]


FORKED = """
import os, sys
from privedge.client.query import Client
from privedge.errors import Closed
from PIL import Image

image = Image.new("L", (32, 32))
client = Client.from_file(sys.argv[1])
client.identify(image, "faces")
child = os.fork()
if not child:
    for use in (client.cohorts, lambda: client.describe("x"), lambda: client.identify(image, "x")):
        try:
            use()
        except Closed as error:
            print(error, flush=True)
    client.close()
    with Client.from_file(sys.argv[1]) as own:
        print(own.identify(image, "faces").answers, flush=True)
    os._exit(7)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), client.identify(image, "faces").answers)
client.close()
"""


def test_w75_a_forked_process_is_told_at_once_and_can_have_a_client_of_its_own(parties, tmp_path):
    command = [sys.executable, "-c", FORKED, str(parties.config_file(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *refused, own, parents = done.stdout.splitlines()
    assert len(refused) == 3 and all("create a client after the fork" in line for line in refused)
    assert own == "(Answer(owner=None),)" and parents == f"7 {own}"


def test_a_closed_client_says_so(parties):
    client = Client(parties.config)
    client.close()
    client.close()
    for use in (client.cohorts, lambda: client.identify(PICTURES, COHORT)):
        with pytest.raises(Closed, match="is closed"):
            use()


# --- How it fails ---------------------------------------------------------------------------------


def refusing(error: Exception):
    def before(header, context):
        raise error

    return before


def test_a_picture_is_encoded_once_however_often_the_cohort_changes(client, parties, folder):
    file = folder / "3.png"

    def changed_once(header, context):
        parties.servicers[0].before = lambda header, context: None
        file.unlink()
        raise SnapshotChanged("another model since")

    parties.servicers[0].before = changed_once
    assert owners(client.identify(file, COHORT)) == ["dora"]


def test_a_cohort_that_changes_again_and_again_is_an_error(client, parties):
    parties.servicers[1].before = refusing(SnapshotChanged("again"))
    with pytest.raises(SnapshotChanged):
        client.identify(PICTURES[0], COHORT)
    assert parties.servicers[1].queries == 3


@pytest.mark.parametrize("party", [0, 1])
def test_a_refusal_at_one_party_ends_the_call_to_the_other(client, parties, party):
    stays, left = threading.Event(), threading.Event()

    def stuck(header, context):
        context.add_callback(left.set)
        stays.set()
        assert left.wait(WITHIN_S)

    def refuse(header, context):
        assert stays.wait(WITHIN_S)
        raise LimitExceeded("too much")

    parties.servicers[party].before = refuse
    parties.servicers[1 - party].before = stuck
    with pytest.raises(LimitExceeded, match=f"party {party}"):
        client.identify(PICTURES[0], COHORT)
    assert left.wait(WITHIN_S)


@pytest.mark.parametrize("party", [0, 1])
def test_the_party_that_knows_why_is_heard_even_if_the_other_gave_up_first(client, parties, party):
    gone = threading.Event()

    def gives_up(header, context):
        context.add_callback(gone.set)
        raise Unreachable("the other party")

    def knows_why(header, context):
        assert gone.wait(WITHIN_S)
        raise ManifestMismatch("other models there")

    parties.servicers[party].before = gives_up
    parties.servicers[1 - party].before = knows_why
    with pytest.raises(ManifestMismatch, match=f"party {1 - party}"):
        client.identify(PICTURES[0], COHORT)


def test_two_parties_that_both_gave_up_are_not_waited_for(client, parties, monkeypatch):
    monkeypatch.setattr(exchange, "_REASON_S", 3600)
    for party in parties.servicers:
        party.before = refusing(Unreachable("the other party"))
    with pytest.raises(Unreachable):
        client.identify(PICTURES[0], COHORT)


def test_a_call_that_a_party_cancels_is_an_error_of_its_own_kind(client, parties):
    for party in parties.servicers:
        party.before = lambda header, context: context.cancel()
    with pytest.raises(Cancelled):
        client.identify(PICTURES[0], COHORT)


def test_w48_a_cohort_with_an_owner_called_unknown_is_not_asked(parties, client, monkeypatch):
    """Its answers could not be told from those for strangers."""
    monkeypatch.setattr(open_parties, "NAMES", (*NAMES[:-1], "Unknown"))
    with pytest.raises(ManifestMismatch, match="'Unknown' is no name of an owner"):
        client.identify(PICTURES, COHORT)
    assert [party.queries for party in parties.servicers] == [0, 0]


# --- Names in pages -------------------------------------------------------------------------------


def in_pages(*pages):
    """Pages of names by their start."""
    starts = [sum(map(len, pages[:number])) for number in range(len(pages))]
    return dict(zip(starts, pages, strict=True))


@pytest.mark.parametrize("older", [(), (0,), (1,), (0, 1)])
def test_w71_names_in_pages_are_those_of_an_older_release(parties, client, older):
    for number, party in enumerate(parties.servicers):
        party.pages = None if number in older else in_pages(NAMES[:1], NAMES[1:3], NAMES[3:])
    assert client.describe(COHORT).owners == tuple(NAMES)
    assert owners(client.identify(PICTURES, COHORT)) == list(NAMES)


@pytest.mark.parametrize(
    "pages",
    [
        {},
        in_pages(NAMES[:2]),
        in_pages(NAMES[:2], NAMES),
        in_pages(("eve", *NAMES[1:])),
        in_pages(NAMES[::-1]),
    ],
)
def test_w71_names_that_only_one_party_tells_are_refused(parties, client, pages):
    for party in parties.servicers:
        party.pages = pages
    with pytest.raises(ManifestMismatch, match="does not tell the names that both parties have"):
        client.identify(PICTURES, COHORT)
    assert [party.queries for party in parties.servicers] == [0, 0]
