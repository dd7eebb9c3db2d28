"""Errors cross as a status and a fixed text, and come back as what they were."""

import re
from pathlib import Path

import grpc
import pytest

from privedge import errors
from privedge.errors import PrivEdgeError, Refused
from privedge.rpc.status import ERROR_ID, RETRY_AFTER, STATUS, calls_to, from_status, status_of

PEER = "party 0 (127.0.0.1:7000)"
Code = grpc.StatusCode
# Clients in other languages are written from this page.
PAGE = (Path(__file__).parents[3] / "docs/reference/errors.md").read_text()


class Failed(grpc.RpcError):
    """A failed call as a stub raises it."""

    def __init__(self, code, details="", trailing=()):
        self._code, self._details, self._trailing = code, details, trailing

    def code(self):
        return self._code

    def details(self):
        return self._details

    def trailing_metadata(self):
        return self._trailing


def every_refusal():
    return [kind for kind in vars(errors).values() if isinstance(kind, type)]


def test_every_refusal_of_our_tree_has_a_status_of_its_own():
    refusals = {k for k in every_refusal() if issubclass(k, Refused) and k is not Refused}
    # A server whose own call was cancelled says what it says of any part that it lost.
    refusals -= {errors.Cancelled}
    assert status_of(errors.Cancelled("x")) == STATUS[errors.Unreachable]
    assert refusals == set(STATUS) - {Exception}
    assert len(set(STATUS.values())) == len(STATUS)


@pytest.mark.parametrize("kind", [kind for kind in STATUS if kind is not Exception])
def test_a_status_leads_back_to_its_kind_with_one_line_that_names_the_peer(kind):
    code, text = status_of(kind("a message that stays here"))
    back = from_status(Failed(code, text), PEER)
    assert type(back) is kind
    assert str(back).startswith(f"{PEER}: {text}; ")
    assert "\n" not in str(back) and "stays here" not in str(back)


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below that heading of the page."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = re.findall(r"^\| (.*) \|$", section, re.MULTILINE)[2:]
    return [line.split(" | ") for line in lines]


OURS = rows("gRPC status codes")[:-1]  # the last row is for what nobody meant to raise
OF_GRPC = rows("What gRPC itself says")


@pytest.mark.parametrize(("code", "text", "kind", "advice"), OURS, ids=lambda cell: cell[:20])
def test_a_kind_of_error_crosses_as_the_page_says(code, text, kind, advice):
    error = getattr(errors, kind.strip("`"))
    assert status_of(error("x")) == (Code[code], text)
    back = from_status(Failed(Code[code], text), PEER)
    assert type(back) is error and str(back) == f"{PEER}: {text}; {advice}"


@pytest.mark.parametrize(("code", "kind", "said", "advice"), OF_GRPC, ids=lambda cell: cell[:20])
def test_a_status_of_grpcs_own_is_read_as_the_page_says(code, kind, said, advice):
    back = from_status(Failed(Code[code], "any text at all"), PEER)
    assert type(back).__name__ == kind.strip("`") and str(back) == f"{PEER}: {said}; {advice}"


def test_the_page_leaves_no_status_out():
    assert len(OURS) == len(STATUS) - 1 and len(OF_GRPC) == 9


def test_what_nobody_meant_to_raise_crosses_as_an_internal_error():
    assert status_of(ZeroDivisionError("secret")) == (Code.INTERNAL, "internal error")


def test_the_names_of_the_trailing_metadata_are_those_of_the_page():
    assert f"trailing metadata `{ERROR_ID}`" in PAGE and f"carries in `{RETRY_AFTER}`" in PAGE


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
def test_what_a_peer_wrote_is_never_shown(code):
    trailing = [(ERROR_ID, "\x1b[2J evil"), ("other", "evil"), ("x-bin", b"evil")]
    error = from_status(Failed(code, "evil\n\x1b[2J", trailing), PEER)
    assert isinstance(error, PrivEdgeError)
    assert "evil" not in str(error) and "\n" not in str(error)
    assert str(error).startswith(f"{PEER}: ")


def test_the_id_of_an_internal_error_is_passed_on():
    error = Failed(Code.INTERNAL, "internal error", [(ERROR_ID, "1f2e3d4c")])
    assert str(from_status(error, PEER)) == f"{PEER}: internal error 1f2e3d4c; ask its operator"


def test_a_cancelled_call_is_a_kind_of_its_own():
    error = from_status(Failed(Code.CANCELLED, "Locally cancelled by application!"), PEER)
    assert type(error) is errors.Cancelled and isinstance(error, errors.Unreachable)


def test_c47_what_grpc_says_of_altered_bytes_is_a_lost_connection():
    altered = Failed(Code.UNKNOWN, "Stream removed (Unwrap failed (TSI_DATA_CORRUPTED))")
    assert type(from_status(altered, PEER)) is errors.Unreachable


def test_inside_the_block_a_failed_call_becomes_ours_and_other_errors_pass():
    with pytest.raises(errors.Unreachable, match="cannot be reached"), calls_to(PEER):
        raise Failed(Code.UNAVAILABLE, "Socket closed")
    with pytest.raises(KeyError), calls_to(PEER):
        raise KeyError


HOUR_MS = 3600 * 1000


@pytest.mark.parametrize(
    ("milliseconds", "advice"),
    [
        (31 * 24 * HOUR_MS, "there is some again in 31 days"),
        (48 * HOUR_MS + 1, "there is some again in 3 days"),
        (48 * HOUR_MS, "there is some again in 2 days"),
        (48 * HOUR_MS - 1, "there is some again in 48 h"),
        (HOUR_MS, "there is some again in 1 h"),
        (HOUR_MS - 1, "there is some again in 60 min"),
        (60_000, "there is some again in 1 min"),
        (59_999, "there is some again in 60 s"),
        (500, "there is some again in 1 s"),
        (0, "ask again later, or ask the operators for more"),
        ("no", "ask again later, or ask the operators for more"),
    ],
)
def test_a_spent_budget_says_when_there_is_some_again(milliseconds, advice):
    failed = Failed(*STATUS[errors.BudgetSpent], [(RETRY_AFTER, str(milliseconds))])
    assert str(from_status(failed, PEER)) == f"{PEER}: the budget is spent; {advice}"


@pytest.mark.parametrize(
    ("kind", "longest_s"),
    [(errors.Busy, 60), (errors.Restarting, 60), (errors.BudgetSpent, 31 * 24 * 3600)],
)
def test_a_hint_of_when_to_come_again_is_believed_up_to_a_bound(kind, longest_s):
    def hinted(milliseconds: str, name: str = RETRY_AFTER) -> float:
        trailing = [("other", "5"), (name, milliseconds), (RETRY_AFTER, "7")]
        return from_status(Failed(*STATUS[kind], trailing), PEER).retry_after_s

    assert hinted("1500") == 1.5
    assert hinted(str(longest_s * 1000)) == hinted(str(longest_s * 1000 + 1)) == longest_s
    assert hinted("9" * 10) == longest_s
    # What is no number of so many digits is no hint; the first of two counts.
    assert [hinted(said) for said in ("9" * 11, "-5", "1.5", "", "\u0661")] == [0] * 5
    assert hinted("1500", "retry") == 0.007
    assert from_status(Failed(*STATUS[kind], None), PEER).retry_after_s == 0
    assert from_status(Failed(*STATUS[kind], [(RETRY_AFTER, b"1500")]), PEER).retry_after_s == 0


def test_the_id_of_an_internal_error_is_no_longer_than_ours_are():
    error = Failed(Code.INTERNAL, "internal error", [(ERROR_ID, "a" * 17)])
    assert str(from_status(error, PEER)) == f"{PEER}: internal error {'a' * 16}; ask its operator"
