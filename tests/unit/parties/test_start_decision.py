"""parties/party/models/start.py: every combination of folder, registry and share files."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from parties.party.models.folder_identity import FolderIdentity
from parties.party.models.start import Found, refusal, require_startable
from privedge.errors import ConfigError

IDS = ("a" * 32, "b" * 32)
identities = st.none() | st.builds(
    FolderIdentity,
    party=st.integers(0, 1),
    folder=st.sampled_from(IDS),
    deployment=st.sampled_from(("", *IDS)),
    epoch=st.integers(0, 3),
)
unknown_ids = st.sets(st.sampled_from(["c" * 32, "d" * 32]))
finds = st.builds(Found, identities, identities, unknown_ids)


def own(epoch: int, folder: str = IDS[0], party: int = 0) -> FolderIdentity:
    return FolderIdentity(party, folder, epoch=epoch)


@given(finds, st.integers(0, 1))
@example(Found(own(2), own(2)), 0)
@example(Found(None, None), 1)
def test_w18_a_start_goes_on_only_if_it_can_lose_nothing(found, party):
    folder, registry = found.folder, found.registry
    told = refusal(found, party)
    if told is None:
        assert not found.unknown
        assert {each.party for each in (folder, registry) if each} <= {party}
        if registry is None:
            assert folder is None or folder.epoch == 0
        else:
            assert folder is not None
            assert (registry.folder, True) == (folder.folder, registry.epoch >= folder.epoch)
    else:
        assert "\n" not in told and told.startswith(("state: ", "registry: "))


@given(finds, st.integers(0, 1))
def test_a_refusal_has_a_reason(found, party):
    """The other direction: a folder and a registry that belong together are not refused."""
    folder, registry = found.folder, found.registry
    known_and_own = not found.unknown and all(
        each is None or each.party == party for each in (folder, registry)
    )
    together = folder and registry and folder.folder == registry.folder
    if known_and_own and together and registry.epoch >= folder.epoch:
        assert refusal(found, party) is None
    if known_and_own and registry is None and folder is None:
        assert refusal(found, party) is None


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (Found(own(3), None), "empty or of an older release.*epoch 3.*put the newest backup"),
        (Found(own(3), own(2)), r"older \(epoch 2\).*epoch 3.*put the newest backup"),
        (Found(own(3), own(9, IDS[1])), "another state folder; correct registry_url"),
        (Found(None, own(3)), "no identity.json.*put the file back"),
        (Found(own(3, party=1), own(3, party=1)), "this folder is party 1's, and `index` is 0"),
        (Found(None, own(3, party=1)), "registry: it is party 1's"),
        (Found(own(3), own(3), {IDS[1], IDS[0]}), rf"never had 2 share files \({IDS[0]}, \.\.\.\)"),
        (Found(None, None, {IDS[0]}), rf"never had 1 share file \({IDS[0]}\) of"),
    ],
    ids=["empty", "older", "other", "no file", "party", "registry's party", "unknown", "new"],
)
def test_w18_w23_a_refusal_says_what_is_wrong_and_what_to_do(found, says):
    with pytest.raises(ConfigError, match=says):
        require_startable(found, 0)
