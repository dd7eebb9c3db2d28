"""parties/party/models/cohorts.py: architectures from settings, and snapshot ids."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from parties.config.cohort import CohortSection
from parties.party.models.cohorts import Snapshot, SnapshotModel, build, find_for
from privedge.errors import ConfigError, UnknownCohort
from privedge.identity.roles import Identity, Role
from privedge.ran import rivals
from privedge.ran.feature_kinds import Encoder, EncoderInput
from privedge.ran.presets import ENCODER_PRESETS, behind_encoder, preset
from privedge.ran.rivals import Rivals
from privedge.ran.spec import ImageShape

COHORT = build(CohortSection(name="digits", preset="subspace32", components=2))
RIVALS = Rivals.of(np.full((2, *COHORT.spec.input_shape), 0.5, np.float32), COHORT.spec.input_shape)
ALONE = {"serve_one_owner": True}


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
        Snapshot(replace(COHORT, rivals=RIVALS), (a_model(),)),
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


def test_a_cohort_reads_its_rivals_and_others_keep_their_snapshot_id(tmp_path):
    file = tmp_path / "rivals.npz"
    rivals.write(file, RIVALS, COHORT.spec)
    built = build(CohortSection(name="digits", preset="subspace32", components=2, rivals=file))
    assert built.rivals == RIVALS and built.rivals_digest == RIVALS.digest
    assert COHORT.rivals_digest == ""
    # As releases before rivals had it: tests/golden/protocol.json has ids of snapshots.
    other = Rivals.of(RIVALS.rows + np.float32(0.1), COHORT.spec.input_shape)
    ids = {
        Snapshot(replace(COHORT, rivals=each), (a_model(),)).id for each in (None, RIVALS, other)
    }
    assert len(ids) == 3


def test_public_owners_are_some_of_the_rivals_and_part_of_the_snapshot(tmp_path):
    file = tmp_path / "rivals.npz"
    rivals.write(file, RIVALS, COHORT.spec)
    section = {"name": "digits", "preset": "subspace32", "components": 2, "rivals": file}
    built = build(CohortSection(**section, public_owners=1))
    assert built.public_owners == 1
    one, none = (
        Snapshot(replace(COHORT, rivals=RIVALS, public_owners=each), (a_model(),)).id
        for each in (1, 0)
    )
    assert one != none
    with pytest.raises(ConfigError, match=r"public_owners: 8 are more than its \d rivals"):
        build(CohortSection(**section, public_owners=8))
    with pytest.raises(ValidationError, match="public_owners: are the first of the rivals"):
        CohortSection(name="digits", preset="subspace32", public_owners=1)


def test_rivals_that_do_not_fit_are_named_with_their_cohort(tmp_path):
    file = tmp_path / "rivals.npz"
    with pytest.raises(ConfigError, match=r"cohort digits: .*no such file"):
        build(CohortSection(name="digits", preset="subspace32", rivals=file))
    rivals.write(file, RIVALS, COHORT.spec)
    with pytest.raises(ConfigError, match=r"cohort digits: .*another feature map"):
        build(CohortSection(name="digits", preset="subspace32", channels=3, rivals=file))
    with pytest.raises(ValidationError, match="set mean_share = 0"):
        CohortSection(name="digits", preset="subspace32", rivals=file, mean_share=0.35)


@pytest.mark.parametrize(
    ("changes", "owners", "said"),
    [
        ({"margin": 1.0}, 0, "never answers unknown: its margin is 1"),
        ({"margin": 1.0}, 5, "never answers unknown: its margin is 1"),
        ({"margin": 0.8}, 1, "its queries are refused: it has one owner, and pictures without"),
        ({"margin": 0.8, "rivals": RIVALS}, 1, "its queries are refused: it has one owner"),
        (ALONE | {"margin": 0.8}, 1, "never answers unknown: it has one owner and no public"),
        (ALONE | {"margin": 0.8, "rivals": RIVALS}, 1, "without an encoder are too alike"),
        ({"margin": 0.8, "mean_share": 0.35}, 5, "mean_share: one owner with a model that fits"),
        ({"margin": 0.8}, 0, None),
        ({"margin": 0.8}, 5, None),
        ({"margin": 1.0, "rivals": RIVALS}, 5, None),
    ],
)
def test_an_operator_is_cautioned_about_a_rule_for_unknown_that_does_little(changes, owners, said):
    lines = replace(COHORT, **changes).cautions(owners)
    assert len(lines) == (0 if said is None else 1)
    assert all(line.startswith("cohort digits: ") and said in line for line in lines)


ENCODER = {"sha256": "ab" * 32, "output": [128], "height": 112, "width": 96}


def faces(**fields: object) -> CohortSection:
    return CohortSection.model_validate({"name": "faces", "channels": 3, **fields})


@pytest.mark.parametrize("name", ENCODER_PRESETS)
def test_an_encoder_is_named_by_its_digest_and_no_file_is_needed(name):
    table = ENCODER | {"order": "bgr", "scale": [1.0], "offset": [0.0], "unit_length": True}
    spec = build(faces(preset=name, encoder=table)).spec
    wants = EncoderInput(order="bgr", scale=(1.0,), offset=(0.0,))
    encoder = Encoder(sha256="ab" * 32, output=(128,), input=wants, unit_length=True)
    image = ImageShape(height=112, width=96, channels=3)
    assert spec == behind_encoder(name, encoder, image)


def test_the_table_of_an_encoder_gives_the_spec_of_its_file(tmp_path):
    cohort = build(faces(preset="subspace-encoder", components=7, encoder=ENCODER))
    path = tmp_path / "faces.json"
    path.write_text(cohort.spec.to_json())
    assert build(CohortSection(name="faces", spec_file=path)) == cohort


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"preset": "subspace-encoder"}, "needs a table"),
        ({"spec_file": "x", "encoder": ENCODER}, "names its own"),
        ({"preset": "subspace-encoder", "encoder": ENCODER | {"sha256": "AB"}}, "sha256"),
        ({"preset": "subspace-encoder", "encoder": ENCODER | {"output": []}}, "output"),
        ({"preset": "subspace-encoder", "encoder": ENCODER | {"height": 4}}, "height"),
        ({"preset": "subspace-encoder", "encoder": ENCODER | {"file": "x.onnx"}}, "file"),
    ],
)
def test_a_table_of_an_encoder_that_is_wrong_is_refused(fields, said):
    with pytest.raises(ValidationError, match=said):
        faces(**fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"preset": "ran32"}, "ran32: its layers are for maps"),
        ({"preset": "ran-encoder", "components": 3}, "has no components"),
        ({"preset": "subspace-encoder", "components": 128}, "from 1 to 127"),
        ({"encoder": ENCODER | {"scale": [1.0, 2.0]}}, "one for each of three"),
        ({"encoder": ENCODER | {"scale": [0.0]}}, "must not be 0"),
        ({"encoder": ENCODER | {"offset": [1, 2, 3]}, "channels": 1}, "wants three channels"),
    ],
)
def test_an_encoder_that_does_not_fit_is_said_with_its_cohort(fields, said):
    with pytest.raises(ConfigError, match=f"cohort faces: .*{said}"):
        build(faces(**{"preset": "subspace-encoder", "encoder": ENCODER} | fields))
