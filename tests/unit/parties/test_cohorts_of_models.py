"""A cohort of a model that is no RAN: what its operators write, agree on and are warned of."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from parties.config.cohort import CohortSection
from parties.config.party import PartyConfig
from parties.party.models.cohorts import build
from parties.party.terms import CohortTerms, Terms, cohort_differences
from privedge.errors import ConfigError
from privedge.graph.spec import ModelSpec, outputs_of


def graph(path: Path, outputs: str = "label", features: int = 3) -> Path:
    described = {
        "kind": "model",
        "name": "net",
        "input": [20],
        "layers": [{"kind": "dense", "features": features}],
        "outputs": outputs_of(outputs).model_dump(),
    }
    path.write_text(json.dumps(described))
    return path


def section(path: Path, **changes: object) -> CohortSection:
    keys = {"name": "triage", "kind": "model", "graph": path, "outputs": "label"}
    return CohortSection.model_validate({**keys, "owners": ("clinic",), **changes})


def test_its_spec_is_the_graph(tmp_path):
    cohort = build(section(graph(tmp_path / "net.json")))
    assert isinstance(cohort.spec, ModelSpec)
    assert cohort.spec.width == 3
    assert cohort.refusal(1) == ""
    # The list of owners may change, and models that were active stay so.
    assert "delete those of before" in cohort.refusal(2)
    assert any("delete those of before" in line for line in cohort.cautions(2))
    assert cohort.mean_tensor is None
    assert cohort.unchecked == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"outputs": None}, "needs graph and outputs"),
        ({"graph": None}, "needs graph and outputs"),
        ({"outputs": "weights"}, "should match pattern"),
        ({"owners": None}, "needs owners with one name"),
        ({"owners": ("a", "b")}, "needs owners with one name"),
        ({"owners": ("clinic-*",)}, "needs owners with one name"),
        ({"margin": 0.5}, "margin: is for RANs"),
        ({"preset": "subspace32"}, "preset: is for RANs"),
        ({"telemetry": {"bins": 3}}, "telemetry"),
        ({"kind": "rans", "preset": "subspace32"}, 'go with kind = "model"'),
    ],
    ids=str,
)
def test_keys_that_do_not_fit_are_refused(tmp_path, changes, said):
    with pytest.raises(ValidationError, match=said):
        section(graph(tmp_path / "net.json"), **changes)


def test_operator_and_owner_must_want_the_same_to_leave(tmp_path):
    path = graph(tmp_path / "net.json", "label")
    with pytest.raises(ConfigError, match="outputs: scores here, and its owner's graph says label"):
        build(section(path, outputs="scores"))


@pytest.mark.parametrize("text", ["", "{}", '{"kind": "model", "name": "x"}', "\xff"])
def test_a_graph_that_is_none_is_refused_with_the_cohorts_name(tmp_path, text):
    (tmp_path / "net.json").write_text(text)
    with pytest.raises(ConfigError, match=r"^cohort triage: "):
        build(section(tmp_path / "net.json"))
    with pytest.raises(ConfigError, match=r"^cohort triage: cannot read"):
        build(section(tmp_path / "missing.json"))


@pytest.mark.parametrize(
    ("outputs", "month"), [("label", 63), ("scores", 1), ("rounded:0", 1)], ids=str
)
def test_a_safe_budget_counts_what_an_answer_tells(tmp_path, outputs, month):
    path = graph(tmp_path / "net.json", outputs)
    cohort = build(section(path, outputs=outputs, budget={}))
    assert cohort.labels.client_month == month
    assert not any("can copy" in line for line in cohort.cautions())


def test_operators_are_warned_of_scores_and_of_no_budget(tmp_path):
    path = graph(tmp_path / "net.json", "scores")
    said = build(section(path, outputs="scores")).cautions()
    assert [line.split(": ", 1)[0] for line in said] == ["cohort triage", "cohort triage"]
    assert "add a table [cohorts.budget]" in said[0]
    assert "scores tell much more" in said[1]


def test_parties_with_another_graph_differ(tmp_path):
    cohorts = (
        build(section(graph(tmp_path / f"{features}.json", features=features)))
        for features in (3, 4)
    )
    here, there = (
        Terms("fused", "one-unit", 1, (CohortTerms(cohort.name, cohort.spec_digest, 1.0, 0.0),))
        for cohort in cohorts
    )
    (line,) = cohort_differences(here, there)["triage"]
    assert line.startswith("architecture: ")


@pytest.mark.parametrize("changes", [{"engine": "crypten"}, {"randomness": "two-party"}], ids=str)
def test_models_need_the_fused_engine_and_a_dealer(tmp_path, changes):
    graph(tmp_path / "net.json")
    keys = {
        "index": 1,
        "listen": "127.0.0.1:1",
        "state": "state",
        "tls": {"ca": "ca.crt", "certificate": "p.crt", "key": "p.key"},
        "mpc": {"listen": "127.0.0.1:2"},
        "cohorts": [section(tmp_path / "net.json").model_dump(exclude_unset=True)],
    }
    if "randomness" not in changes:
        keys["dealer"] = {"address": "127.0.0.1:3"}
    with pytest.raises(ValidationError, match=r"needs engine = .fused. and a dealer"):
        PartyConfig.model_validate({**keys, **changes})
