"""A client that asks with canaries, of two servers that answer as honest parties do, or do not."""

import json
from collections.abc import Iterator

import numpy as np
import pytest
from open_parties import OpenParty, Parties, serving

from parties.mpc.predict import Rule, predict
from privedge.client.query import Client
from privedge.errors import ConfigError, IntegrityError, ManifestMismatch
from privedge.sharing.fixed_point import SCALE
from privedge.wire import party_pb2 as pb
from privedge_lab.evaluation.tampering import Made
from privedge_lab.reference.clear import ClearEngine
from privedge_lab.reference.run import as_tensor, as_words

MADE = Made(0)


def answered(header, query):
    """What honest parties answer."""
    verify = header.WhichOneof("question") == "verify"
    at = MADE.cohort.owners.index(header.verify.owner) if verify else None
    rule = Rule(0.7, rivals=MADE.rivals, public_owners=2, verify_position=at)
    parameters = {name: as_tensor(each) for name, each in MADE.parameters.items()}
    return as_words(predict(ClearEngine(), MADE.spec, parameters, as_tensor(query), rule))


class MadeParty(OpenParty):
    """One with the made cohort, which remembers how many rows it was asked."""

    rows: list[int]
    rivals = MADE.rivals

    def DescribeCohort(self, request, context):
        return pb.DescribeCohortResponse(
            spec_json=MADE.spec.to_json(),
            margin=0.7,
            owners=MADE.cohort.owners,
            snapshot_id="s",
            max_batch=64,
            rivals=20,
            rivals_sha256=MADE.rivals.digest,
            public_owners=2,
            rivals_rows=self.rivals.to_bytes() if request.with_rivals else b"",
        )


class Tampering:
    """What one party makes of the answers: adds to a column of rows."""

    def __init__(self) -> None:
        self.change = lambda words: words
        self.rows: list[int] = []

    def __call__(self, header, query):
        self.rows.append(len(query))
        return self.change(answered(header, query).copy())


@pytest.fixture
def tampering() -> Tampering:
    return Tampering()


@pytest.fixture
def parties(tampering) -> Iterator[Parties]:
    with serving(MadeParty, tampering) as running:
        yield running


def vectors(of: str, count: int = 1) -> np.ndarray:
    return np.concatenate([MADE.asked(of).view(np.int64) / SCALE for _ in range(count)])


def names(reply) -> list[str | None]:
    return [answer.owner for answer in reply.answers]


@pytest.mark.parametrize(("count", "rows"), [(0, 1), (1, 2), (3, 4), (7, 8)])
def test_canaries_go_along_and_are_left_out(parties, tampering, count, rows):
    with Client(parties.config, integrity=f"canaries:{count}") as client:
        reply = client.identify(vectors("owner"), "made")
    assert (names(reply), reply.canaries, tampering.rows) == (["owner-0"], count, [rows])


def test_a_large_batch_has_canaries_in_every_query(parties, tampering):
    given = np.concatenate([vectors("owner", 35), vectors("stranger", 35)])
    with Client(parties.config, integrity="canaries:3") as client:
        reply = client.identify(given, "made")
    assert names(reply) == ["owner-0"] * 35 + [None] * 35
    assert (reply.canaries, tampering.rows) == (10, [64, 16])


def test_verify_has_them_by_itself_and_identify_has_not(parties, tampering):
    with Client(parties.config) as client:
        assert names(client.verify(vectors("owner"), "owner-0", "made")) == ["owner-0"]
        assert names(client.verify(vectors("owner"), "owner-1", "made")) == [None]
        assert names(client.identify(vectors("owner"), "made")) == ["owner-0"]
    with Client(parties.config, integrity="none") as client:
        assert names(client.verify(vectors("owner"), "owner-0", "made")) == ["owner-0"]
    assert tampering.rows == [4, 4, 1, 1]


def test_a_public_owner_is_unknown(parties):
    with Client(parties.config) as client:
        assert names(client.identify(MADE.rivals.rows[:3], "made")) == [None] * 3


def test_a_changed_batch_is_not_reported_and_leaves_evidence(parties, tampering, tmp_path):
    def change(words):
        words[:, 0] += 1
        return words

    tampering.change = change
    with Client(parties.config) as client:  # without canaries it is believed
        assert names(client.identify(vectors("stranger"), "made")) == ["owner-0"]
    config = parties.config.model_copy(update={"evidence": tmp_path, "integrity": "canaries:3"})
    with Client(config) as client:
        for ask in (client.identify, lambda given, cohort: client.verify(given, "owner-0", cohort)):
            with pytest.raises(IntegrityError, match="one of the three operators dev") as caught:
                ask(vectors("stranger"), "made")
            (file,) = tmp_path.iterdir()
            assert json.loads(file.read_text())["query"] == caught.value.request_id
            assert caught.value.request_id in str(caught.value)
            file.unlink()


def test_a_stranger_that_honest_parties_name_twice_is_like_an_owner(parties, tampering):
    # Every row that is nobody's, but the client's own, is taken for owner 3 in the first query;
    # in the second one, the same row.
    like: set[bytes] = set()

    def taken_for_an_owner(header, query):
        assert header.again == (len(query) == 16)  # for which budgets keep as many rows
        words = answered(header, query).copy()
        # No other stranger is like an owner by chance.
        words[:, 1 if len(query) == 4 else 0 : 10] = 0
        nobody = [row for row in range(len(query)) if not words[row].any()]
        if not like:
            like.add(query[nobody[0]].tobytes())
        for row in nobody:
            words[row, 3] += query[row].tobytes() in like
        tampering.rows.append(len(query))
        return words

    with serving(MadeParty, taken_for_an_owner) as running:
        config = running.config.model_copy(update={"integrity": "canaries:3"})
        with Client(config) as client:
            reply = client.identify(vectors("owner"), "made")
    assert (names(reply), tampering.rows) == (["owner-0"], [4, 16])


def test_a_stranger_that_was_named_and_may_not_be_asked_about_again_is_an_alarm(tmp_path):
    # Whoever has named a stranger knows the second question by its rows, and could refuse it.
    def names_a_stranger_once(header, query):
        if len(query) > 4:
            raise RuntimeError("refused")
        words = answered(header, query).copy()
        nobody = [row for row in range(len(query)) if not words[row].any()]
        words[nobody[0], 3] += 1
        return words

    with serving(MadeParty, names_a_stranger_once) as running:
        config = running.config.model_copy(
            update={"integrity": "canaries:3", "evidence": tmp_path / "new" / "evidence"}
        )
        with Client(config) as client, pytest.raises(IntegrityError, match="refused") as caught:
            client.identify(vectors("owner"), "made")
    (file,) = (tmp_path / "new" / "evidence").iterdir()
    assert file.name in str(caught.value)
    assert [each["kind"] for each in json.loads(file.read_text())["canaries"]]


@pytest.mark.parametrize("said", ["canaries:5", "canaries:-1", "3", "yes"])
def test_a_setting_that_there_is_not_is_refused(parties, said):
    with pytest.raises(ConfigError, match="integrity: one of none, canaries:0"):
        Client(parties.config, integrity=said)


def test_rivals_that_are_not_those_of_the_description_are_refused(parties, monkeypatch):
    monkeypatch.setattr(MadeParty, "rivals", MADE.rivals.of(MADE.rivals.rows[::-1], (128,)))
    refused = pytest.raises(ManifestMismatch, match="public rivals are not those")
    with Client(parties.config, integrity="canaries:3") as client, refused:
        client.identify(vectors("owner"), "made")


def test_images_of_one_subject_have_none(parties, tampering):
    refused = pytest.raises(ConfigError, match="images of one subject get one answer")
    with Client(parties.config, integrity="canaries:3") as client, refused:
        client.identify(vectors("owner", 2), "made", one_subject=True)
    assert tampering.rows == []
