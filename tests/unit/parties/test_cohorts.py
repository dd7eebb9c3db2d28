"""parties/party/models/cohorts.py: architectures from settings, and snapshot ids."""

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from parties.config.cohort import CohortSection
from parties.party.models.cohorts import Snapshot, SnapshotModel, build, find_for
from privedge.errors import ConfigError, UnknownCohort
from privedge.identity.roles import Identity, Role
from privedge.ran.presets import preset

COHORT = build(CohortSection(name="digits", preset="subspace32", components=2))


def a_model(owner="ana", model_id="a" * 32, digest="d" * 64):
    return SnapshotModel(owner, model_id, digest, "{}", Path("share.words"), b"salt" * 8)


def test_a_spec_file_gives_the_same_cohort_as_its_preset(tmp_path):
    path = tmp_path / "spec.json"
    path.write_text(COHORT.spec.to_json())
    assert build(CohortSection(name="digits", spec_file=path)) == COHORT


def test_components_replace_those_of_the_preset():
    spec = preset("subspace32", height=32, width=32, channels=1)
    assert COHORT.spec.parameters()["0.basis"][0] == 2
    assert spec.parameters()["0.basis"][0] != 2


def test_a_cohort_of_vectors_has_their_size_and_no_image():
    section = CohortSection(name="voices", preset="vector", size=192, unit_length=True)
    assert build(section).spec == preset("vector", size=192, unit_length=True)


def test_components_that_do_not_fit_the_size_are_named_with_the_cohort():
    with pytest.raises(ConfigError, match=r"cohort voices: components: must be from 1 to 5"):
        build(CohortSection(name="voices", preset="vector", size=6, components=6))


@pytest.mark.parametrize("content", [None, b"{}", b"\xff", b"not json"])
def test_a_spec_file_that_cannot_be_used_is_named_with_its_cohort(tmp_path, content):
    path = tmp_path / "spec.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="cohort digits: "):
        build(CohortSection(name="digits", spec_file=path))


def test_an_unknown_preset_is_named_with_its_cohort():
    with pytest.raises(ConfigError, match=r"cohort digits: .*nonesuch"):
        build(CohortSection(name="digits", preset="nonesuch"))


def test_the_snapshot_id_depends_on_nothing_but_public_facts_both_parties_share():
    elsewhere = replace(a_model(), path=Path("/another/party/share.words"), salt=b"other" * 8)
    assert Snapshot(COHORT, (a_model(),)).id == Snapshot(COHORT, (elsewhere,)).id


def test_a_snapshot_does_not_show_its_salts():
    assert "salt" not in repr(Snapshot(COHORT, (a_model(),)))


@pytest.mark.parametrize(
    "other",
    [
        Snapshot(COHORT, ()),
        Snapshot(COHORT, (a_model(owner="ben"),)),
        Snapshot(COHORT, (a_model(model_id="b" * 32),)),
        Snapshot(COHORT, (a_model(digest="e" * 64),)),
        Snapshot(COHORT, (a_model(), a_model("ben", "b" * 32))),
        Snapshot(replace(COHORT, margin=0.9), (a_model(),)),
        Snapshot(replace(COHORT, mean_share=0.3), (a_model(),)),
        Snapshot(build(CohortSection(name="digits", preset="ran32")), (a_model(),)),
    ],
)
def test_the_snapshot_id_changes_with_every_fact_of_it(other):
    assert Snapshot(COHORT, (a_model(),)).id != other.id


OWNER, CLIENT, ADMIN = Role.OWNER, Role.CLIENT, Role.ADMIN


@pytest.mark.parametrize(
    ("lists", "who", "admitted"),
    [
        ({}, (CLIENT, "ana"), True),
        ({"clients": ("ana",)}, (CLIENT, "ana"), True),
        ({"clients": ("ana",)}, (CLIENT, "Ana"), False),
        ({"clients": ("ana",)}, (CLIENT, "ana2"), False),
        ({"clients": ("a.a",)}, (CLIENT, "aaa"), False),
        ({"clients": ("clinic-[0-9]*",)}, (CLIENT, "clinic-7"), True),
        ({"clients": ("clinic-[0-9]*",)}, (CLIENT, "clinic-x"), False),
        ({"clients": ()}, (CLIENT, "ana"), False),
        ({"clients": ()}, (ADMIN, "ana"), True),
        ({"clients": ()}, (OWNER, "ana"), True),
        ({"owners": ("ben",), "clients": ("ana",)}, (OWNER, "ana"), False),
        ({"owners": ("ben",)}, (CLIENT, "ana"), True),
    ],
)
def test_w05_a_list_has_names_and_patterns_of_one_role(lists, who, admitted):
    cohort = build(CohortSection(name="digits", preset="subspace32", **lists))
    assert cohort.admits(Identity(*who)) is admitted
    found = {"digits": cohort}
    if not admitted:
        with pytest.raises(UnknownCohort):
            find_for(found, "digits", Identity(*who))


@pytest.mark.parametrize("name", ["", "with space", "a/b", "spiffe://privedge/client/ana"])
def test_w05_what_no_certificate_can_name_is_refused_in_a_list(name):
    with pytest.raises(ValidationError):
        CohortSection(name="digits", preset="subspace32", clients=(name,))


def test_w05_lists_are_no_part_of_the_snapshot():
    listed = replace(COHORT, clients=("ana",))
    assert Snapshot(listed, (a_model(),)).id == Snapshot(COHORT, (a_model(),)).id
