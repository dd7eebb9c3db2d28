"""`privedge bench` as a user runs it: real processes, small workloads, shapes of its output."""

import json
import subprocess
import sys

import pytest

RUN = [sys.executable, "-c", "from privedge.cli.main import main; main()", "bench"]


def run(*arguments, code=0):
    done = subprocess.run([*RUN, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stderr
    return done


@pytest.mark.mpc
def test_a_query_bench_prints_costs_and_full_agreement_as_json_alone():
    done = run(
        "query",
        "--owners",
        "2",
        "--preset",
        "subspace32",
        "--queries",
        "2",
        "--batch",
        "2",
        "--json",
    )
    (row,) = json.loads(done.stdout)["engines"]
    assert done.stderr == ""
    asked = {key: row[key] for key in ("engine", "preset", "owners", "batch", "queries")}
    assert asked == {
        "engine": "fused",
        "preset": "subspace32",
        "owners": 2,
        "batch": 2,
        "queries": 2,
    }
    assert row["agreement"] == 1.0
    assert row["rounds"] > 0 and row["bytes_per_party"] > 0 and row["dealer_bytes_per_party"] > 0
    assert 0 < row["online_s"] <= row["median_s"] <= row["p95_s"]
    assert row["cold_s"] > 0 and row["cpu_s"] >= row["offline_cpu_s"] >= 0
    assert set(row["cpu_by_process_s"]) == {"front_ends", "workers", "dealer"}
    assert [party["bytes_to_peer"] > 0 for party in row["parties"]] == [True, True]


@pytest.mark.mpc
def test_an_upload_bench_prints_the_size_of_a_share_and_speeds():
    done = run("upload", "--preset", "subspace32", "--repeats", "1", "--json")
    (row,) = json.loads(done.stdout)["uploads"]
    # 64 x 512 of the basis, 512 of the mean, the threshold; eight bytes each.
    assert row["share_mb"] == pytest.approx(8 * (64 * 512 + 512 + 1) / 1e6)
    assert min(row["one_party_mb_s"], row["both_mb_s"], row["whole_s"]) > 0


@pytest.mark.slow
@pytest.mark.mpc
def test_a_memory_bench_names_every_process_of_the_deployment():
    done = run("memory", "--preset", "subspace32", "--owners", "1", "--json")
    (row,) = json.loads(done.stdout)["deployments"]
    parties = ["party0", "party0 worker 0", "party1", "party1 worker 0"]
    for moment in ("at_rest", "after_a_query"):
        assert [each["process"] for each in row[moment]] == ["dealer", *parties]
        assert all(0 < each["uss_mb"] <= each["rss_mb"] for each in row[moment])


def test_a_training_bench_prints_seconds_an_owner():
    done = run("train", "--preset", "ran32", "--owners", "1", "--steps", "2", "--json")
    (row,) = json.loads(done.stdout)["trainings"]
    assert (row["preset"], row["owners"], row["steps"]) == ("ran32", 1, 2)
    assert row["seconds"] > 0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--preset", "conv99"), "preset 'conv99' is unknown"),
        (("--engine", "abacus"), "engine 'abacus' is unknown; choose from fused, crypten"),
    ],
)
def test_what_cannot_be_measured_is_one_line_before_anything_starts(arguments, line):
    done = run("query", "--owners", "1", "--queries", "1", *arguments, code=1)
    assert done.stdout == ""
    assert line in done.stderr and done.stderr.count("\n") == 1
