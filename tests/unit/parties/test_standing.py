"""parties/party/models/standing.py: deployments, epochs and processes of two parties."""

import shutil
from contextlib import ExitStack, closing, suppress

import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from test_model_service import ANA, BEN, COHORT, Parties, settings

from parties.party.edge.codec import said_from_wire, said_to_wire
from parties.party.models.registry import Epochs, Registry
from parties.party.models.standing import Said, Standing, this_process
from parties.party.upkeep.adopt import Wish, adopt
from parties.wire import peer_pb2
from privedge.errors import ManifestMismatch, ShareError, TermsDiffer

D, OTHER = "d" * 32, "e" * 32


@pytest.fixture
def standing(tmp_path):
    def make(party, epochs, process="p-here"):
        registry = Registry(f"sqlite:///{tmp_path / f'{party}.sqlite'}")
        stack.enter_context(closing(registry))
        registry.belong("f" * 32, party, epochs)
        return Standing(registry, party, process)

    with ExitStack() as stack:
        yield make


def test_party_1_draws_the_deployment_and_party_0_takes_it_over(tmp_path):
    with ExitStack() as stack:
        parties = Parties(tmp_path, stack)
        assert parties.leader.standing.mine.deployment == ""
        assert parties.meet() == ((), ())
        drawn = parties.follower.standing.mine.deployment
        assert len(drawn) == 32 and parties.leader.standing.mine.deployment == drawn
        assert parties.meet() == ((), ())
        assert parties.follower.standing.mine.deployment == drawn


@settings_of_hypothesis(max_examples=30)
@given(
    known=st.integers(0, 50), said=st.integers(0, 50), own=st.integers(0, 50), seen=st.integers()
)
def test_w19_an_epoch_below_one_that_was_seen_is_named_and_a_higher_one_is_kept(
    tmp_path_factory, known, said, own, seen
):
    path = tmp_path_factory.mktemp("registry") / "registry.sqlite"
    with closing(Registry(f"sqlite:///{path}")) as registry:
        registry.belong("f" * 32, 1, Epochs(D, own=own, peer=known))
        lines = Standing(registry, 1).hear(Said(D, said, seen))
        assert len(lines) == (said < known) + (own < seen)
        assert all("adopt --above N" in line for line in lines)
        assert registry.epochs.peer == max(known, said)


def test_w23_another_deployment_is_named_and_not_remembered(standing):
    here = standing(0, Epochs(D, own=3, peer=7))
    (line,) = here.hear(Said(OTHER, 90, 3))
    assert "deployment dddddddd here, eeeeeeee there" in line
    assert here.mine.seen == 7
    with pytest.raises(TermsDiffer):
        here.require(Said(OTHER, 90, 3))


def test_a_release_without_epochs_is_served_until_it_has_said_one(standing):
    new = standing(1, Epochs("", own=3, peer=0))
    assert new.hear(None) == ()
    new.hear(Said("", 1))
    assert new.hear(None) == ("state: no epoch there, 1 before",)


def test_w24_a_second_process_is_told_by_whom_it_is_refused(standing):
    here = standing(1, Epochs(D, own=3, peer=1))
    with here.watched("p-first"), here.watched("p-first"):
        assert here.mine.leader == "p-first"
        here.require(Said(D, 1, 3, "p-first"))
        for refused in (
            lambda: here.require(Said(D, 9, 3, "p-second")),
            lambda: here.watched("p-second").__enter__(),
        ):
            with pytest.raises(TermsDiffer, match="process p-first of party 0 is at work"):
                refused()
    here.require(Said(D, 9, 3, "p-second"))
    with here.watched("p-second"):
        assert here.mine.leader == "p-second"


def test_a_process_keeps_its_name():
    assert this_process() == this_process()
    said = Said(process=this_process())
    assert said_from_wire(message(said_to_wire(said))) == said


def message(state):
    return peer_pb2.Terms(state=state)


@given(
    st.builds(
        Said,
        deployment=st.sampled_from(["", D]),
        epoch=st.integers(0, 1 << 62),
        seen=st.integers(0, 1 << 62),
        process=st.sampled_from(["", "p-host.1.abcd"]),
        leader=st.sampled_from(["", "p-host.2.abcd"]),
    )
)
def test_what_is_said_comes_through_the_wire(said):
    assert said_from_wire(message(said_to_wire(said))) == said
    assert said_from_wire(peer_pb2.Terms()) is None


@pytest.mark.parametrize(
    "state",
    [{"deployment": "short"}, {"epoch": (1 << 62) + 1}, {"seen": (1 << 64) - 1}],
    ids=["deployment", "epoch", "seen"],
)
def test_what_no_party_says_is_malformed(state):
    with pytest.raises(ShareError):
        said_from_wire(message(peer_pb2.StateEpoch(**state)))


def test_a_name_that_is_no_word_is_not_shown():
    said = said_from_wire(message(peer_pb2.StateEpoch(process="a\nb", leader="\x1b[1m")))
    assert (said.process, said.leader) == ("unreadable", "unreadable")


# --- W-19: a whole folder restored ----------------------------------------------------------------


def snapshot(folder, party):
    shutil.copytree(folder / f"party{party}", folder / f"before{party}")


def restored(folder, party):
    shutil.rmtree(folder / f"party{party}")
    shutil.copytree(folder / f"before{party}", folder / f"party{party}")


def uploads(parties, first):
    parties.activated(BEN)


def replaces(parties, first):
    parties.activated(ANA)


def deletes(parties, first):
    parties.leader.delete(first, ANA)
    parties.follower.delete(first, ANA)


@pytest.fixture(params=[uploads, replaces, deletes], ids=lambda happens: happens.__name__)
def older(request, tmp_path):
    """Both parties' folders after something has happened, and copies from before it."""
    with ExitStack() as stack:
        parties = Parties(tmp_path, stack)
        parties.meet()
        first = parties.activated(ANA)
    for party in (0, 1):
        snapshot(tmp_path, party)
    with ExitStack() as stack:
        parties = Parties(tmp_path, stack)
        parties.meet()
        request.param(parties, first)
        parties.meet()
    return tmp_path


def shares(folder, party):
    """Of a party, in the folder or in the trash."""
    return sorted(path.read_bytes() for path in (folder / f"party{party}").glob("*/*.words"))


@pytest.mark.parametrize("party", [0, 1])
def test_w19_a_restored_older_folder_is_named_by_both_and_takes_no_share(older, party):
    kept = shares(older, 1 - party)
    restored(older, party)
    with ExitStack() as stack:
        parties = Parties(older, stack)
        for lines in parties.meet():
            assert [f"party {party} has an older" in line for line in lines] == [True]
        if party == 0:
            with pytest.raises(TermsDiffer):
                parties.leader.synchronise()
    assert shares(older, 1 - party) == kept


@pytest.mark.parametrize("party", [0, 1])
def test_w19_an_operator_can_go_on_with_it_and_even_then_no_share_is_lost(older, party):
    kept = shares(older, 1 - party)
    restored(older, party)
    adopt(settings(older, party), Wish(above=1000, forget_spending=True))
    with ExitStack() as stack:
        parties = Parties(older, stack)
        assert parties.meet() == ((), ())
        with suppress(ManifestMismatch):  # party 1 may lack what its older registry lacks
            parties.leader.synchronise()
        if party == 0 and len(kept) > 1:
            # Its list counts, and party 1 has taken back from the trash what is on it.
            assert parties.agree and parties.leader.snapshot(COHORT).owners == ("ana",)
    assert shares(older, 1 - party) == kept
