import pytest
from hypothesis import given
from hypothesis import strategies as st

from privedge.errors import CertificateError
from privedge.identity.roles import NAME, NOBODY, Identity, Role

names = st.from_regex(NAME, fullmatch=True).filter(lambda name: name.lower() != NOBODY)


@given(names, st.sampled_from([Role.OWNER, Role.CLIENT, Role.ADMIN]))
def test_an_identity_survives_its_uri(name, role):
    assert Identity.from_uri(Identity(role, name).uri) == Identity(role, name)


@given(st.text())
def test_any_other_uri_is_refused_or_says_exactly_what_was_written(text):
    uri = f"spiffe://privedge/{text}"
    try:
        assert Identity.from_uri(uri).uri == uri
    except CertificateError as refusal:
        assert "\n" not in str(refusal)


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", "é", "a\n", "x" * 65, "-a"])
def test_a_name_that_could_be_mistaken_is_refused(name):
    with pytest.raises(CertificateError):
        Identity(Role.OWNER, name)


@pytest.mark.parametrize("role", [Role.PARTY0, Role.PARTY1, Role.DEALER, Role.SPLIT])
def test_a_server_has_no_other_name_than_its_role(role):
    assert Identity(role, role.value).uri == f"spiffe://privedge/{role}/{role}"
    with pytest.raises(CertificateError, match="only one"):
        Identity(role, "second")


def test_a_partys_role_goes_by_its_index():
    assert [Role.party(index) for index in (0, 1)] == [Role.PARTY0, Role.PARTY1]
    with pytest.raises(ValueError, match="party2"):
        Role.party(2)


@pytest.mark.parametrize("name", ["unknown", "Unknown", "UNKNOWN"])
def test_w48_no_owner_has_the_name_of_the_answer_for_strangers(name):
    with pytest.raises(CertificateError, match="the answer for strangers; choose another name"):
        Identity(Role.OWNER, name)
    with pytest.raises(CertificateError, match="the answer for strangers"):
        Identity.from_uri(f"spiffe://privedge/owner/{name}")
    assert Identity(Role.CLIENT, name).name == name  # of clients no answer speaks
