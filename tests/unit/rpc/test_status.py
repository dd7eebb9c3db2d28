import grpc
import pytest

from privedge import errors
from privedge.errors import PrivEdgeError, Refused
from privedge.rpc.status import ERROR_ID, RETRY_AFTER, STATUS, calls_to, from_status, status_of

PEER = "party 0 (127.0.0.1:7000)"
Code = grpc.StatusCode


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


@pytest.mark.parametrize(
    ("milliseconds", "when"),
    [
        ("2592000000", "in 30 days"),
        ("90000000", "in 25 h"),
        ("82000000", "in 23 h"),
        ("61000", "in 2 min"),
        ("500", "in 1 s"),
        ("no", "ask again later"),
    ],
)
def test_a_spent_budget_says_when_there_is_some_again(milliseconds, when):
    failed = Failed(*STATUS[errors.BudgetSpent], [(RETRY_AFTER, milliseconds)])
    assert when in str(from_status(failed, PEER))
