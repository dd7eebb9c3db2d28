"""The calls that a server serves after the hellos of others, and one line with the reason."""

import logging

import pytest

from parties.serving.handshake import NO_HANDSHAKE, Handshake, Heard
from privedge import __version__
from privedge.errors import CohortDiffers, ManifestMismatch, NotReady, TermsDiffer

ROUNDING = Heard(__version__, ("rounding: exact here, one-unit there", "workers: 2 here, 1 there"))
MARGIN = Heard(__version__, (), {"digits": ("margin: 0.8 here, 0.7 there",)})
SAME = Heard(__version__)


@pytest.fixture
def handshake() -> Handshake:
    return Handshake()


def lines(caplog) -> list[tuple[int, str]]:
    said = [(record.levelno, record.getMessage()) for record in caplog.records]
    caplog.clear()
    return said


@pytest.fixture(autouse=True)
def everything_is_logged(caplog):
    caplog.set_level(logging.INFO)


def test_before_anybody_has_said_anything_all_is_served(handshake):
    handshake.require("digits")
    assert handshake.differences == ()


def test_w60_terms_that_differ_stop_everything_until_they_agree(handshake, caplog):
    served = []
    handshake.watch(served.append)
    handshake.hear("party 1", ROUNDING)
    named = "rounding: exact here, one-unit there; workers: 2 here, 1 there"
    with pytest.raises(NotReady, match=f"^party 1 disagrees on {named}$") as refused:
        handshake.require("digits")
    assert refused.type is TermsDiffer
    assert handshake.differences == tuple(f"party 1: {line}" for line in ROUNDING.lines)
    assert lines(caplog) == [
        (logging.ERROR, f"party 1 disagrees on {named}; nothing is served until both agree")
    ]
    handshake.hear("party 1", SAME)
    handshake.require("digits")
    assert handshake.differences == ()
    assert served == [True, False, True]
    assert lines(caplog) == [(logging.INFO, "party 1 agrees on all terms")]


def test_w60_a_cohort_that_differs_stops_only_itself(handshake, caplog):
    served = []
    handshake.watch(served.append)
    handshake.hear("party 1", MARGIN)
    handshake.require("faces")
    said = "party 1 disagrees on margin: 0.8 here, 0.7 there"
    with pytest.raises(ManifestMismatch, match=f"^cohort digits: {said}$") as refused:
        handshake.require("digits")
    assert refused.type is CohortDiffers
    assert served == [True, True]
    assert handshake.differences == ("party 1: cohort digits: margin: 0.8 here, 0.7 there",)
    ((level, line),) = lines(caplog)
    assert level == logging.WARNING and "cohort digits: margin: 0.8 here, 0.7 there" in line


def test_what_one_server_said_stands_beside_what_another_said(handshake):
    handshake.hear("party 1", SAME)
    handshake.hear("the dealer", Heard("", ("mpc: 4 here, 5 there",)))
    with pytest.raises(TermsDiffer, match=r"^the dealer disagrees on mpc: 4 here, 5 there$"):
        handshake.require("digits")
    handshake.hear("party 1", ROUNDING)
    with pytest.raises(TermsDiffer, match=r"^party 1 disagrees on .*; the dealer disagrees on "):
        handshake.require("digits")
    handshake.hear("the dealer", SAME)
    handshake.hear("party 1", SAME)
    handshake.require("digits")


def test_the_same_answer_after_a_reconnect_is_not_logged_again(handshake, caplog):
    for found in (SAME, ROUNDING, MARGIN):
        handshake.hear("party 1", found)
        assert len(lines(caplog)) == 1
        handshake.hear("party 1", found)
        assert lines(caplog) == []


def test_w68_another_release_is_one_line_and_no_refusal(handshake, caplog):
    handshake.hear("party 1", Heard("99.0"))
    handshake.require("digits")
    levels, said = zip(*lines(caplog), strict=True)
    assert set(levels) == {logging.INFO}
    assert said[-1] == f"party 1 runs release 99.0, this server runs {__version__}"


def test_w68_a_server_without_the_handshake_is_named_as_one(handshake, caplog):
    handshake.hear("party 1", Heard(lines=(NO_HANDSHAKE,)))
    with pytest.raises(TermsDiffer, match=r"^party 1 runs a version without the handshake$"):
        handshake.require("digits")
    ((level, line),) = lines(caplog)
    assert level == logging.ERROR
    assert line.startswith("party 1 runs a version without the handshake; ")


def test_a_line_stays_readable_however_much_differs(handshake, caplog):
    cohorts = {f"c{n}": ("not configured here",) for n in range(10_000)}
    handshake.hear("party 1", Heard("", (), cohorts))
    ((_, line),) = lines(caplog)
    assert len(line) < 2000 and "and 9980 more" in line
    assert len(handshake.differences) == 21
    with pytest.raises(CohortDiffers):
        handshake.require("c9999")
