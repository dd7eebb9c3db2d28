"""The settings that both parties must share, field by field, and the words for a difference."""

from dataclasses import fields, replace

import pytest

from parties.config.cohort import CohortSection
from parties.config.party import PartyConfig
from parties.party.edge import hello
from parties.party.models.cohorts import build
from parties.party.terms import CohortTerms, Terms, cohort_differences, differences, of_party
from parties.wire import peer_pb2
from privedge import __version__
from privedge.rpc import versions
from privedge.rpc.versions import MPC, WIRE, Versions

COHORT = CohortTerms("digits", "1f" * 32, 0.8, 0.35)
MINE = Terms("fused", "exact", 2, (COHORT,), max_batch=64)

OTHER = {
    "engine": ("crypten", "engine: fused here, crypten there"),
    "rounding": ("one-unit", "rounding: exact here, one-unit there"),
    "randomness": ("seeds", "randomness: dealer here, seeds there"),
    "workers": (1, "workers: 2 here, 1 there"),
    "max_batch": (32, "max_batch: 64 here, 32 there"),
    "versions": (Versions(wire=WIRE + 1), f"wire: {WIRE} here, {WIRE + 1} there"),
}
OTHER_COHORT = {
    "spec_digest": ("2e" * 32, "architecture: 1f1f1f1f1f1f here, 2e2e2e2e2e2e there"),
    "margin": (0.7, "margin: 0.8 here, 0.7 there"),
    "mean_share": (0.0, "mean_share: 0.35 here, 0.0 there"),
    "enrolment_check": ("owner", "enrolment_check: off here, owner there"),
    "enrolment_on_match": ("refuse", "enrolment_on_match: report here, refuse there"),
    "enrolment_margin": (0.3, "enrolment_margin: 0.0 here, 0.3 there"),
    "rivals": ("3d" * 32, "rivals: none here, 3d3d3d3d3d3d there"),
    "model_check": ("5c" * 32, "model_check: none here, 5c5c5c5c5c5c there"),
    "public_owners": (2, "public_owners: 0 here, 2 there"),
    "telemetry": ("20-1000", "telemetry: off here, 20-1000 there"),
}


def test_equal_terms_differ_in_nothing():
    assert differences(MINE, replace(MINE)) == ()
    assert cohort_differences(MINE, replace(MINE)) == {}


@pytest.mark.parametrize("name", OTHER)
def test_w60_a_field_that_differs_is_named_with_both_values(name):
    value, line = OTHER[name]
    theirs = replace(MINE, **{name: value})
    assert differences(MINE, theirs) == (line,)
    assert cohort_differences(MINE, theirs) == {}


@pytest.mark.parametrize("name", OTHER_COHORT)
def test_w60_a_field_of_a_cohort_that_differs_is_named_with_both_values(name):
    value, line = OTHER_COHORT[name]
    theirs = replace(MINE, cohorts=(replace(COHORT, **{name: value}),))
    assert differences(MINE, theirs) == ()
    assert cohort_differences(MINE, theirs) == {"digits": (line,)}


def test_every_field_is_compared():
    """Whoever adds a field is told here: `cohorts` has a comparison of its own."""
    assert {each.name for each in fields(Terms)} == {*OTHER, "cohorts"}
    assert {each.name for each in fields(CohortTerms)} == {*OTHER_COHORT, "name"}
    assert {each.name for each in fields(Versions)} == {"release", "wire", "mpc"}


def test_a_release_that_says_no_largest_batch_differs_in_nothing():
    assert differences(MINE, replace(MINE, max_batch=0)) == ()
    assert differences(replace(MINE, max_batch=0), MINE) == ()


def test_all_that_differs_is_named():
    theirs = replace(MINE, **{name: value for name, (value, _) in OTHER.items()})
    assert set(differences(MINE, theirs)) == {line for _, line in OTHER.values()}
    worse = {name: value for name, (value, _) in OTHER_COHORT.items()}
    theirs = replace(MINE, cohorts=(replace(COHORT, **worse),))
    lines = cohort_differences(MINE, theirs)["digits"]
    assert set(lines) == {line for _, line in OTHER_COHORT.values()}


def test_a_cohort_of_one_party_alone_is_named_and_the_others_are_not():
    faces = replace(COHORT, name="faces")
    both = replace(MINE, cohorts=(COHORT, faces))
    assert cohort_differences(both, MINE) == {"faces": ("not configured there",)}
    assert cohort_differences(MINE, both) == {"faces": ("not configured here",)}


def test_the_order_of_cohorts_does_not_count():
    faces = replace(COHORT, name="faces")
    one, other = (replace(MINE, cohorts=each) for each in ((COHORT, faces), (faces, COHORT)))
    assert cohort_differences(one, other) == {}


def test_w68_another_release_is_no_difference():
    assert differences(MINE, replace(MINE, versions=Versions(release="99.0"))) == ()
    assert versions.differences(Versions(), Versions(release="99.0")) == ()


@pytest.mark.parametrize("name", ["wire", "mpc"])
def test_w68_another_version_is_named(name):
    mine = Versions()
    theirs = replace(mine, **{name: 99})
    assert versions.differences(mine, theirs) == (f"{name}: {getattr(mine, name)} here, 99 there",)


def test_a_partys_terms_are_those_of_its_configuration():
    section = CohortSection(name="digits", preset="subspace32", margin=0.8, mean_share=0.35)
    config = PartyConfig(
        index=1,
        listen="127.0.0.1:1",
        insecure_loopback=True,
        state="state",
        mpc={"listen": "127.0.0.1:2"},
        dealer={"address": "127.0.0.1:3"},
        engine="fused",
        rounding="exact",
        workers=2,
        cohorts=[section],
    )
    cohort = build(section)
    own = of_party(config, [cohort])
    digest = cohort.spec.digest()
    cohorts = (CohortTerms("digits", digest, 0.8, 0.35),)
    expected = Terms("fused", "exact", 2, cohorts, max_batch=64)
    assert own == expected
    assert own.versions == Versions(__version__, WIRE, MPC)


def test_terms_survive_the_wire():
    cohorts = (COHORT, replace(COHORT, name="faces", rivals="3d" * 32))
    theirs = replace(MINE, versions=Versions("1.2.3", 7, 8), randomness="seeds", cohorts=cohorts)
    message = peer_pb2.Terms.FromString(hello.to_wire(theirs).SerializeToString())
    assert hello.from_wire(message) == theirs


EVIL = ["\x1b[2J", "two words", "a\nb", "", "x" * 65, "ü"]


@pytest.mark.parametrize("evil", EVIL)
def test_what_another_server_wrote_is_shown_only_if_it_is_a_plain_word(evil):
    cohort = peer_pb2.CohortTerms(name=evil, spec_digest=evil, margin=float("nan"))
    said = peer_pb2.Terms(release=evil, engine=evil, rounding=evil, randomness=evil)
    said.cohorts.append(cohort)
    theirs = hello.from_wire(said)
    shown = [theirs.versions.release, *differences(MINE, theirs)]
    shown += [line for lines in cohort_differences(MINE, theirs).values() for line in lines]
    assert len(shown) > 5 and all(line.isprintable() and line.isascii() for line in shown)
    assert not evil or all(evil not in line for line in shown if len(evil) > 2)
