"""privedge/rpc/request_id.py: ids for logs in the metadata of a call."""

import pytest

from privedge import log
from privedge.identity.roles import Role
from privedge.rpc import request_id

A, B = "a" * 32, "0123456789abcdef" * 2


class Call:
    """A call with this metadata."""

    def __init__(self, *entries):
        self.entries = entries

    def invocation_metadata(self):
        return self.entries


def test_what_is_sent_is_received():
    (entry,) = request_id.metadata([A, B])
    assert request_id.received(Call(("user-agent", "x"), entry), Role.PARTY0) == (A, B)
    assert request_id.metadata([]) == ()
    with log.about([B]):
        assert request_id.passed_on() == request_id.metadata([B])


def test_of_many_ids_the_first_fit_into_the_metadata():
    ids = [f"{number:032x}" for number in range(1000)]
    (entry,) = request_id.metadata(ids)
    assert len(entry[1]) < 2200
    assert request_id.received(Call(entry), Role.PARTY0) == tuple(ids[:64])
    assert request_id.received(Call((request_id.KEY, ",".join(ids))), Role.PARTY0) == tuple(
        ids[:64]
    )


@pytest.mark.parametrize(
    "value", ["", "x", A.upper(), A + "0", f"{A}\n{B}", "ana," * 900, b"\x00", A + "; rm"]
)
def test_what_is_no_id_is_passed_over(value):
    assert request_id.received(Call((request_id.KEY, value)), Role.PARTY0) == ()
    assert request_id.received(Call(), Role.PARTY0) == ()


def test_an_id_among_others_that_are_none_counts():
    assert request_id.received(Call((request_id.KEY, f"mallory,{A},,{B[:-1]}")), Role.PARTY0) == (
        A,
    )


@pytest.mark.parametrize("role", [role for role in Role if not role.serves])
def test_w13_of_a_caller_that_serves_nobody_one_id_counts(role):
    (entry,) = request_id.metadata([A, B])
    assert request_id.received(Call(entry), role) == (A,)
