"""`privedge bench` as a user runs it: real processes, small workloads, the form of its output."""

import json
import signal
import subprocess
import sys
from math import prod
from pathlib import Path

import pytest

from privedge.errors import Unreachable
from privedge.ran.named_spec import spec_named
from privedge.ran.public_files import PublicFiles
from privedge.ran.spec import RanSpec
from privedge_lab.bench.stock.group import Group
from tests import onnx_files
from tests.integration.left_running import running_in_session_of, until_running
from tests.unit.lab.bench.fake_spu import spu_in

RUN = [sys.executable, "-c", "from privedge.cli.main import main; main()", "bench"]


def run(*arguments, code=0, limit_s=120):
    """`limit_s` only ends a bench that hangs."""
    done = subprocess.run([*RUN, *arguments], capture_output=True, text=True, timeout=limit_s)
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
    # Five queries of two images, the cold one and the warming ones too.
    assert row["agreeing"] + row["ties"] == 10 and row["differing"] == 0
    assert row["rounds"] > 0 and row["bytes_per_party"] > 0 and row["dealer_bytes_per_party"] > 0
    assert 0 < row["online_s"] <= row["median_s"] <= row["p95_s"]
    assert row["cold_s"] > 0 and row["cpu_s"] >= row["offline_cpu_s"] >= 0
    assert set(row["cpu_by_process_s"]) == {"front_ends", "workers", "dealer"}
    assert [party["bytes_to_peer"] > 0 for party in row["parties"]] == [True, True]


@pytest.mark.mpc
@pytest.mark.slow
def test_two_parties_alone_answer_as_with_a_dealer_in_as_many_rounds():
    asked = ("--preset", "ran32", "--owners", "2", "--queries", "1")
    both = ("--randomness", "dealer,two-party")
    dealt, alone = json.loads(run("query", *asked, *both, "--json").stdout)["engines"]
    assert [dealt["randomness"], alone["randomness"]] == ["dealer", "two-party"]
    for row in (dealt, alone):
        assert row["agreement"] == 1.0
        assert row["bytes_offline"] > 0 and row["offline_cpu_s"] > 0
    assert alone["rounds"] == dealt["rounds"]
    assert alone["bytes_per_party"] == dealt["bytes_per_party"]
    assert set(alone["cpu_by_process_s"]) == {"front_ends", "workers"}


@pytest.mark.mpc
def test_a_bench_of_peers_asks_ours_in_turn_with_processes_of_others(tmp_path):
    asked = ("peers", "--preset", "subspace32", "--owners", "2", "--queries", "1")
    systems = ("--systems", "privedge-dealer,spu-semi2k")
    others = ("--environment", str(spu_in(tmp_path / "spu")))
    done = run(*asked, *systems, *others, "--json")
    printed = json.loads(done.stdout)
    assert (done.stderr, set(printed)) == ("", {"processor", "rows"})
    ours, spu = printed["rows"]
    keys = ["system", "preset", "owners", "seconds", "bytes", "max_error"]
    assert [*ours] == [*spu] == keys
    assert (ours["system"], spu["system"]) == ("privedge-dealer", "spu-semi2k")
    assert (ours["preset"], ours["owners"]) == ("subspace32", 2)
    assert ours["seconds"] > 0 and ours["bytes"] > 0 and 0 < ours["max_error"] < 1e-3
    # What fake_spu.py says: the slower one's seconds, both ones' bytes.
    assert (spu["seconds"], spu["bytes"]) == (3, 1200)
    table = run(*asked, "--systems", "spu-semi2k", *others).stdout
    assert "largest error" in table and "spu-semi2k" in table


def test_a_folder_without_spu_ends_a_bench_of_peers_in_one_line(tmp_path):
    done = run("peers", "--systems", "spu-cheetah", "--environment", str(tmp_path), code=1)
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert "is no virtual environment" in done.stderr


@pytest.mark.mpc
@pytest.mark.slow
def test_spu_computes_what_ours_do(tmp_path):
    """In an environment that is made here, where the registry has SPU for this machine."""
    asked = ["peers", "--preset", "ran32", "--owners", "2", "--queries", "1", "--json"]
    done = subprocess.run(
        [*RUN, *asked, "--environment", str(tmp_path / "spu")],
        capture_output=True,
        text=True,
        timeout=1800,
    )
    if done.returncode == 1 and "spu==" in done.stderr:
        pytest.skip(done.stderr.strip())
    rows = json.loads(done.stdout)["rows"]
    assert len({row["system"] for row in rows}) == 4
    for row in rows:
        assert row["seconds"] > 0 and row["bytes"] > 0
        assert row["max_error"] < 0.01


@pytest.mark.mpc
def test_crypten_as_published_answers_the_same_questions_in_the_same_run():
    engines = ["fused", "stock", "stock-cached"]
    asked = ("--preset", "conv32", "--owners", "2", "--queries", "1", "--engine", ",".join(engines))
    rows = json.loads(run("query", *asked, "--json").stdout)["engines"]
    assert [row["engine"] for row in rows] == engines
    fused, loop, cached = rows
    for row in rows:
        assert row["ratio"] == row["online_s"] / fused["online_s"]
        # CrypTen's own truncation is off by a lot once in thousands of queries: one may be wrong.
        assert row["agreement"] >= 0.75
    assert fused["agreement"] == 1.0
    assert loop["rounds"] > cached["rounds"] > fused["rounds"]
    # Weights are opened in every query: 0.2 million words for each of two owners, and more.
    assert min(loop["bytes_per_party"], cached["bytes_per_party"]) > 3_200_000
    assert loop["dealer_bytes_per_party"] > 0 == cached["dealer_bytes_per_party"]
    assert all(row["cpu_s"] > row["offline_cpu_s"] > 0 for row in (loop, cached))
    assert loop["median_s"] is None


@pytest.mark.mpc
def test_a_round_trip_is_added_to_every_exchange_between_the_servers():
    asked = ("--preset", "subspace32", "--owners", "2", "--queries", "1", "--rtt-ms", "30")
    (row,) = json.loads(run("query", *asked, "--json").stdout)["engines"]
    assert (row["rtt_ms"], row["agreement"]) == (30, 1.0)
    # Both parties send at the same time, so an exchange takes half a round trip at least.
    assert row["online_s"] >= row["rounds"] * 0.015


@pytest.mark.mpc
def test_a_crypten_process_that_fails_ends_the_bench_in_one_line(tmp_path):
    # An empty folder: the processes meet, and then find no models.
    with pytest.raises(Unreachable, match=r"stock: a CrypTen process ended: .*spec\.json"):
        Group("stock", tmp_path, timeout_s=60).__enter__()


@pytest.mark.mpc
def test_a_bench_that_is_terminated_stops_its_servers():
    command = ("query", "--preset", "subspace32", "--owners", "2", "--queries", "400")
    process = subprocess.Popen(
        [*RUN, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    # The bench itself, three servers, and a worker of each party.
    until_running(process, 6)
    process.send_signal(signal.SIGTERM)
    said, complained = process.communicate(timeout=60)
    assert (process.returncode, said, complained) == (128 + signal.SIGTERM, "", "")
    assert running_in_session_of(process) == []


@pytest.mark.mpc
def test_a_throughput_bench_counts_the_right_answers_of_all_clients():
    # So long, because a shared machine may stand still for seconds, and without answers there is no
    # rate.
    asked = ("--owners", "2", "--clients", "2", "--seconds", "8", "--batching-delay-ms", "1")
    (row,) = json.loads(run("throughput", *asked, "--json").stdout)["throughput"]
    assert (row["clients"], row["agreement"]) == (2, 1.0)
    assert row["queries_per_s"] == row["queries"] / 8 > 0
    assert 0 < row["median_s"] <= row["p95_s"]
    assert row["cpu_s"] == pytest.approx(sum(row["cpu_by_process_s"].values()))
    assert row["client_cpu_s"] > 0


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    return onnx_files.convolutional(tmp_path_factory.mktemp("encoder") / "encoder.onnx")


@pytest.fixture(scope="module")
def spec(encoder) -> Path:
    """What a cohort behind this encoder has."""
    found = spec_named(
        "subspace-encoder", height=32, width=32, channels=3, files=PublicFiles.at(encoder=encoder)
    )
    path = encoder.with_name("spec.json")
    path.write_text(found.to_json())
    return path


@pytest.mark.mpc
def test_clients_encode_their_pictures_in_a_throughput_bench(encoder):
    asked = ("--preset", "subspace-encoder", "--owners", "2", "--clients", "2", "--seconds", "8")
    asked += ("--encoder", str(encoder))
    (row,) = json.loads(run("throughput", *asked, "--json").stdout)["throughput"]
    assert (row["preset"], row["agreement"]) == ("subspace-encoder", 1.0)


@pytest.mark.mpc
def test_a_soak_and_an_upload_take_a_spec_with_its_encoder(encoder, spec):
    named = ("--spec", str(spec), "--encoder", str(encoder), "--json")
    row = json.loads(run("soak", "--queries", "24", "--clients", "3", *named).stdout)
    assert (row["queries"], row["wrong"], row["failed"]) == (24, 0, 0)
    (row,) = json.loads(run("upload", "--repeats", "1", *named).stdout)["uploads"]
    sizes = map(prod, RanSpec.from_json(spec.read_text()).parameters().values())
    assert row["preset"] == "subspace-encoder"
    assert 0 < row["share_mb"] <= 8 * sum(sizes) / 1e6


def test_a_bench_behind_an_encoder_says_which_file_is_missing(spec):
    for command in ("query", "throughput", "upload", "memory", "soak", "train"):
        done = run(command, "--spec", str(spec), code=1)
        assert "needs the ONNX file of its encoder" in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.mpc
def test_c60_a_soak_counts_wrong_and_failed_answers_and_what_servers_keep():
    said = run("soak", "--queries", "60", "--clients", "12", "--json").stdout
    row = json.loads(said)
    assert [*row] == [
        "queries",
        "wrong",
        "failed",
        "rss_mb_per_1000",
        "fds_growth",
        "threads_growth",
    ]
    assert (row["queries"], row["wrong"], row["failed"]) == (60, 0, 0)


@pytest.mark.slow
@pytest.mark.mpc
def test_c60_ten_thousand_queries_are_right_and_servers_keep_nothing_of_them():
    command = [*RUN, "soak", "--queries", "10000", "--clients", "8", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3600, check=True)
    row = json.loads(done.stdout)
    assert (row["queries"], row["wrong"], row["failed"]) == (10_000, 0, 0)
    assert row["rss_mb_per_1000"] < 1


@pytest.mark.mpc
def test_an_upload_bench_prints_the_size_of_a_share_and_speeds():
    done = run("upload", "--preset", "subspace32", "--repeats", "1", "--json")
    (row,) = json.loads(done.stdout)["uploads"]
    # 64 x 512 of the basis and 512 of the mean, of three bytes; the threshold has eight.
    assert row["share_mb"] == pytest.approx((3 * (64 * 512 + 512) + 8) / 1e6)
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


def test_a_product_bench_prints_the_processor_and_rows_as_json_alone():
    done = run("products", "--preset", "ran32", "--owners", "2", "--json")
    document = json.loads(done.stdout)
    assert (done.stderr, set(document)) == ("", {"processor", "rows"})
    assert [row["kind"] for row in document["rows"]] == ["dense"] * 5 + ["conv"] + ["dense"] * 2
    assert all(min(row["torch_int64_gmacs"], row["ours_gmacs"]) > 0 for row in document["rows"])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--preset", "conv99"), "preset 'conv99' is unknown"),
        (("--engine", "abacus"), "engine 'abacus' is unknown; choose from fused, crypten"),
        (
            ("--engine", "stock", "--preset", "paper"),
            "engine stock: preset paper: layer 1 (leaky_relu) is not implemented for it",
        ),
        (("--engine", "stock", "--rtt-ms", "9"), "engine stock: gloo connects by itself"),
        (("--pool", "full"), "pool 'full' is unknown; choose from warm, empty"),
    ],
)
def test_what_cannot_be_measured_is_one_line_before_anything_starts(arguments, line):
    done = run("query", "--owners", "1", "--queries", "1", *arguments, code=1)
    assert done.stdout == ""
    assert line in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.mpc
def test_a_bench_of_crypten_programs_is_right_and_names_what_each_costs():
    # Six programs of CrypTen as published and then servers: a busy machine takes minutes.
    document = json.loads(run("crypten", "--times", "1", "--json", limit_s=1800).stdout)
    assert set(document) == {"programs"}
    names = ["name", "ours_s", "stock_s", "ratio", "rounds", "bytes", "max_error"]
    for row in document["programs"]:
        assert list(row) == names
        assert min(row["ours_s"], row["stock_s"], row["rounds"], row["bytes"]) > 0
        # Inputs of a product of 256 terms are encoded to within a unit each.
        assert row["max_error"] < 2e-3
    *programs, lenet, served = document["programs"]
    assert len(programs) == 5
    # The input is widened in a round more, and scores are cut exactly.
    assert lenet["rounds"] < served["rounds"] < lenet["rounds"] + 8
    assert served["max_error"] < 1e-3
