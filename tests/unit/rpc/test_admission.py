"""privedge/rpc/admission.py: who may hold how many calls at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privedge.errors import Busy
from privedge.identity.roles import Identity, Role
from privedge.rpc.access import ACCESS
from privedge.rpc.admission import Admission, Quota

QUERY = "/privedge.v1.Party/Query"
UPLOAD = "/privedge.v1.Party/UploadModel"
QUOTAS = {QUERY: Quota("queries", 16, 4), UPLOAD: Quota("uploads", 8, 2)}
EVERY = [
    (Identity(role, role.value if role.serves else name), method)
    for method, roles in ACCESS.items()
    for role in sorted(roles)
    for name in ("ana", "bo")
]


def held(admission: Admission, who: Identity, method: str, tries: int) -> list:
    """What must be called to let each of the calls that were let in go."""
    leaves = []
    for _ in range(tries):
        try:
            leaves.append(admission.enter(who, admission.quota(who, method)))
        except Busy as busy:
            assert busy.retry_after_s > 0 and who.uri in str(busy)
    return leaves


@pytest.mark.parametrize("flooder", sorted(Role))
def test_w13_one_caller_with_every_call_it_may_make_takes_no_place_of_another(flooder):
    admission = Admission(QUOTAS)
    eve = Identity(flooder, flooder.value if flooder.serves else "eve")
    for method, roles in ACCESS.items():
        if flooder in roles:
            quota = admission.quota(eve, method)
            assert len(held(admission, eve, method, 2000)) <= quota.per_caller < quota.at_once
    for who, method in EVERY:
        if who != eve:
            assert len(held(admission, who, method, 1)) == 1, (who, method)


def test_w13_health_checks_admins_and_servers_have_places_of_their_own():
    admission = Admission(QUOTAS)
    for number in range(100):  # more callers than there are places
        for role in (Role.OWNER, Role.CLIENT):
            for method, roles in ACCESS.items():
                if role in roles and "Health" not in method:
                    held(admission, Identity(role, f"n{number}"), method, 100)
    check = "/grpc.health.v1.Health/Check"
    for role in Role:
        who = Identity(role, role.value if role.serves else "watch")
        assert len(held(admission, who, check, 1)) == 1
    assert len(held(admission, Identity(Role.ADMIN, "kim"), "/privedge.v1.Party/Status", 1)) == 1
    assert len(held(admission, Identity(Role.PARTY0, "party0"), "/privedge.v1.Peer/Hello", 1)) == 1


def test_w15_the_last_places_are_for_callers_who_have_none():
    admission = Admission(QUOTAS)
    greedy = [Identity(Role.CLIENT, name) for name in ("a", "b", "c", "d")]
    assert [len(held(admission, who, QUERY, 4)) for who in greedy] == [4, 4, 4, 2]
    late = [Identity(Role.CLIENT, name) for name in ("e", "f", "g")]
    assert [len(held(admission, who, QUERY, 4)) for who in late] == [1, 1, 0]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=200))
def test_places_are_given_back_exactly_once_each(steps):
    admission, open_calls = Admission({QUERY: Quota("queries", 6, 2)}), []
    for name, enters in steps:
        who = Identity(Role.CLIENT, name)
        if enters:
            open_calls += [(who, leave) for leave in held(admission, who, QUERY, 1)]
        elif open_calls:
            open_calls.pop(0)[1]()
        mine = sum(other == who for other, _ in open_calls)
        assert mine <= 2 and len(open_calls) <= 6
    for _, leave in open_calls:
        leave()
    assert len(held(admission, Identity(Role.CLIENT, "a"), QUERY, 9)) == 2
