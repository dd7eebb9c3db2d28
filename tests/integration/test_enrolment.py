"""The check at enrolment: a new model is compared with those of other owners, on shares."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from parties.party.audit.files import FOLDER
from parties.party.audit.reading import shown
from privedge.errors import AlreadyEnrolled, NotReady, UnknownModel
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import ADMIN, CohortSetting, Deployment
from privedge.ran.presets import preset
from privedge.user import checkpoint
from privedge.user.checkpoint import Ran
from privedge.user.fitting import fit_ran
from privedge.user.models import delete, listed
from privedge.user.party import Party, connect
from privedge.user.settings import settings_for
from privedge.user.upload import Receipt, send
from tests.integration.asking import PARTIES

pytestmark = pytest.mark.mpc

# Who learns of it, and what follows.
REPORTED, REFUSED, TOLD = "reported", "refused", "told"
MARGIN = 0.3
SPEC = preset("subspace32", height=32, width=32, channels=1, components=16)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory) -> Iterator[Deployment]:
    rules = {
        REPORTED: ("operator", "report"),
        REFUSED: ("operator", "refuse"),
        TOLD: ("owner", "report"),
    }
    cohorts = [
        CohortSetting(
            name,
            "subspace32",
            components=16,
            margin=0.8,
            enrolment_check=check,
            enrolment_on_match=on_match,
            enrolment_margin=MARGIN,
        )
        for name, (check, on_match) in rules.items()
    ]
    with Deployment(tmp_path_factory.mktemp("enrolment"), cohorts) as running:
        yield running


@pytest.fixture(scope="module")
def photos(some_digits):
    """Pictures of a "person", which is a digit here, in two halves that share none."""
    return lambda digit, half: some_digits.train_images[digit][half::2]


@pytest.fixture(scope="module")
def model(photos):
    def fitted(digit: int, owner: str, half: int = 0) -> Ran:
        return fit_ran(photos(digit, half), SPEC, settings_for(SPEC), owner=owner)

    return fitted


@pytest.fixture(scope="module")
def three_owners(deployment, model) -> dict[tuple[str, str], Receipt]:
    """ana, ben and cleo are the first three digits, in every cohort."""
    return {
        (cohort, owner): upload(deployment, model(digit, owner), cohort)
        for cohort in (REPORTED, REFUSED, TOLD)
        for digit, owner in enumerate(("ana", "ben", "cleo"))
    }


def config(deployment: Deployment, owner: str):
    return deployment.client_config(Identity(Role.OWNER, owner))


def upload(deployment: Deployment, ran: Ran, cohort: str) -> Receipt:
    return send(ran, cohort, config(deployment, ran.owner))


def audited(deployment: Deployment, party: Role, model_id: str) -> list[str]:
    """The outcomes that a party's audit log has of a model."""
    folder = deployment.folder / "state" / party.value / FOLDER
    lines = shown(folder, event="enrolment", who=model_id, since=None)
    return [str(line["outcome"]) for line in lines]


def outcomes(deployment: Deployment, cohort: str, model_id: str) -> list[str]:
    """What an admin of each party is shown of a model."""
    rows = [listed(deployment.client_config(ADMIN), cohort, party) for party in PARTIES]
    return [row.enrolment for of_party in rows for row in of_party if row.model_id == model_id]


def test_with_fewer_than_two_other_owners_a_model_is_not_compared(deployment, three_owners):
    for owner, told, logged in (("ana", "unchecked", "unchecked"), ("cleo", "new", "new")):
        assert three_owners[TOLD, owner].enrolment == told
        model_id = three_owners[REPORTED, owner].model_id
        assert three_owners[REPORTED, owner].enrolment == ""
        assert [audited(deployment, party, model_id) for party in PARTIES] == [[logged]] * 2
        assert outcomes(deployment, REPORTED, model_id) == [logged] * 2


@pytest.mark.parametrize(("digit", "expected"), [(0, "known"), (2, "known"), (3, "new")])
def test_the_same_person_under_another_name_is_found_and_another_person_is_not(
    deployment, three_owners, model, digit, expected
):
    again = model(digit, "zoe", half=1)
    # The operators learn it, and the owner does not.
    receipt = upload(deployment, again, REPORTED)
    assert receipt.enrolment == ""
    assert [audited(deployment, party, receipt.model_id) for party in PARTIES] == [[expected]] * 2
    assert outcomes(deployment, REPORTED, receipt.model_id) == [expected] * 2
    (row,) = listed(config(deployment, "zoe"), REPORTED)
    assert (row.state, row.enrolment) == ("active", "")
    delete(receipt.model_id, config(deployment, "zoe"))

    # The owner learns it, and the operators do not.
    receipt = upload(deployment, again, TOLD)
    assert receipt.enrolment == expected
    logged = [audited(deployment, party, receipt.model_id) for party in PARTIES]
    assert logged == [["told the owner"]] * 2
    assert outcomes(deployment, TOLD, receipt.model_id) == ["told the owner"] * 2
    delete(receipt.model_id, config(deployment, "zoe"))


def test_a_person_who_is_there_already_is_refused_where_the_operators_say_so(
    deployment, three_owners, model, tmp_path
):
    before = three_owners[REFUSED, "cleo"].snapshot_id
    with pytest.raises(AlreadyEnrolled, match=r"party 0.*already among the owners"):
        upload(deployment, model(1, "zoe", half=1), REFUSED)
    assert listed(config(deployment, "zoe"), REFUSED) == []
    for party in PARTIES:
        with connect(config(deployment, "zoe"), party) as there:
            assert there.facts_of(REFUSED).snapshot == before
    # Another person may join.
    receipt = upload(deployment, model(4, "zoe"), REFUSED)
    assert outcomes(deployment, REFUSED, receipt.model_id) == ["new"] * 2
    delete(receipt.model_id, config(deployment, "zoe"))


@pytest.mark.parametrize("cohort", [REPORTED, REFUSED, TOLD])
def test_an_owners_own_model_is_no_match_and_is_replaced(deployment, three_owners, model, cohort):
    before = three_owners[cohort, "ben"]
    receipt = upload(deployment, model(1, "ben", half=1), cohort)
    # Only two others are asked, and the earlier model of ben himself is not.
    assert receipt.enrolment == ("new" if cohort == TOLD else "")
    assert receipt.replaced == before.model_id
    assert [row.state for row in listed(config(deployment, "ben"), cohort)] == ["active", "retired"]
    three_owners[cohort, "ben"] = receipt


def test_party_1_tells_its_share_to_the_owner_of_a_checked_model_only(
    deployment, three_owners, model
):
    told, reported = three_owners[TOLD, "cleo"], three_owners[REPORTED, "cleo"]
    with connect(config(deployment, "cleo"), Role.PARTY1) as party_1:
        assert len(party_1.activate(told.model_id).share) == 8
        told_nothing = party_1.activate(reported.model_id)  # the operators' alone
        assert (told_nothing.checked, told_nothing.share) == (None, b"")
        with pytest.raises(UnknownModel):  # somebody else's
            party_1.activate(three_owners[TOLD, "ana"].model_id)
    with connect(config(deployment, "ana"), Role.PARTY1) as party_1:  # it was not checked
        assert party_1.activate(three_owners[TOLD, "ana"].model_id).checked is None
    # Asked again, both parties tell the same: nothing is computed anew.
    with connect(config(deployment, "cleo"), Role.PARTY0) as party_0:
        assert party_0.activate(told.model_id).share == party_0.activate(told.model_id).share


def test_a_model_that_party_1_lacks_is_refused_without_a_wait_for_its_half(
    deployment, three_owners, model, monkeypatch
):
    whole = Party.upload

    def to_party_0_only(party, header, chunks):
        if party.name.startswith("party 0"):
            whole(party, header, chunks)

    monkeypatch.setattr(Party, "upload", to_party_0_only)
    with pytest.raises(NotReady, match="party 0"):
        upload(deployment, model(5, "zoe"), REPORTED)
    monkeypatch.undo()
    assert listed(config(deployment, "zoe"), REPORTED) == []
    # The lock of activations is free again.
    receipt = upload(deployment, model(5, "zoe"), REPORTED)
    delete(receipt.model_id, config(deployment, "zoe"))


def test_the_command_says_in_one_line_what_happened(deployment, three_owners, model, tmp_path):
    file, settings = tmp_path / "zoe.ran", deployment.folder / "zoe.toml"
    checkpoint.save(model(0, "zoe", half=1), file)
    tls = deployment.tls(Identity(Role.OWNER, "zoe"))
    lines = [f'{party} = "{deployment.address(party)}"' for party in PARTIES]
    keys = [f'{key} = "{getattr(tls, key)}"' for key in ("ca", "certificate", "key")]
    settings.write_text("\n".join([*lines, "[tls]", *keys]))
    start = "from privedge.cli.main import main; main()"

    def run(cohort: str) -> subprocess.CompletedProcess[str]:
        command = ["upload", str(file), "--cohort", cohort, "--config", str(settings)]
        return subprocess.run(
            [sys.executable, "-c", start, *command], capture_output=True, text=True, check=False
        )

    done = run(TOLD)
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)
    assert "this person is among the other owners already" in done.stdout
    refused = run(REFUSED)
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
    assert "this person is already among the owners" in refused.stderr
    (row,) = listed(config(deployment, "zoe"), TOLD)
    delete(row.model_id, config(deployment, "zoe"))
