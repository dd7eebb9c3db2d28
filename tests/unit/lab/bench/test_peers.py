"""`privedge bench peers` with small processes in place of SPU's, and how our errors are found."""

import numpy as np
import pytest

from privedge.errors import ConfigError, MissingExtra, Unreachable
from privedge.ran import features
from privedge_lab.bench import made, opened, peers, rows, system
from privedge_lab.bench.peers import Workload, measure
from privedge_lab.bench.spu import environment
from privedge_lab.bench.spu.environment import interpreter
from tests.unit.lab.bench.fake_spu import spu_in

_PRESET, _OWNERS = "ran32", 2


def _quiet(_doing, _done, _total):
    pass


def _load(folder, *systems):
    return Workload(systems or ("spu-cheetah",), _PRESET, _OWNERS, 2, folder)


def _made(count):
    """Models, and images after the feature map."""
    spec = system.spec_of(_PRESET)
    models, images = made.models(spec, _OWNERS, 1), made.images(spec, count, 1)
    return models, features.extract(spec, images)


def test_rows_are_what_both_processes_say(tmp_path):
    found = measure(_load(spu_in(tmp_path / "spu"), "spu-semi2k", "spu-cheetah"), _quiet)
    assert [row.system for row in found] == ["spu-semi2k", "spu-cheetah"]
    ahead = rows.COLD + rows.WARM_UP
    models, given = _made(ahead + 2)
    said = [[0.5, 0.25 + number] for number in range(ahead, ahead + 2)]
    error = np.abs(opened.exact(models, given)[ahead:] - said).max()
    for row in found:
        # The slower process's seconds, and what both sent.
        assert (row.preset, row.owners) == (_PRESET, _OWNERS)
        assert (row.seconds, row.bytes) == (3.0, 1200)
        assert row.max_error == pytest.approx(error)


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ('{"d": [[1.0, 2.0]], "seconds": 1.0}', "no account of a query"),
        ('{"d": [1.0, 2.0], "seconds": 1.0, "bytes": 1}', "no account of a query"),
        ('{"d": [["much"]], "seconds": 1.0, "bytes": 1}', "no account of a query"),
        ("[]", "no account of a query"),
        ('"brpc: connected"', "no JSON"),
        ('sys.exit("no link to the other one")', "ended: no link to the other one"),
    ],
)
def test_a_process_that_says_something_else_ends_the_bench_in_one_line(tmp_path, answer, fault):
    with pytest.raises(Unreachable, match=fault) as error:
        measure(_load(spu_in(tmp_path / "spu", answer)), _quiet)
    assert str(error.value).startswith("spu-cheetah: a process of SPU")
    assert "\n" not in str(error.value)


def test_a_folder_that_is_no_environment_is_named(tmp_path):
    with pytest.raises(MissingExtra, match="is no virtual environment"):
        measure(_load(tmp_path), _quiet)


@pytest.mark.parametrize("version", ["0.9.4", ""])
def test_another_version_of_spu_is_refused_with_what_to_do(tmp_path, version):
    folder = spu_in(tmp_path / "spu", version=version)
    with pytest.raises(MissingExtra, match=r"needs spu==0\.9\.5 and has .*pip install spu==0\.9"):
        measure(_load(folder), _quiet)


def test_what_cannot_be_installed_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(MissingExtra, match=r"cannot install spu==0\.9\.5: .*spu") as error:
        measure(_load(tmp_path / "new"), _quiet)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_other_interpreters_are_looked_for_on_the_path(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingExtra, match=r"Python 3\.13, and there is no python3\.11 or python3"):
        interpreter((3, 13), "Linux x86_64")
    for name, code in (("python3.11", 127), ("python3.10", 0)):
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {code}\n")
        (tmp_path / name).chmod(0o700)
    # The first one is there only to say that it is not installed.
    assert interpreter((3, 13), "Linux x86_64") == str(tmp_path / "python3.10")


def test_a_machine_without_a_package_is_named():
    with pytest.raises(MissingExtra, match="no package for Darwin arm64; it has for Linux"):
        interpreter(environment.PYTHONS[0], "Darwin arm64")


@pytest.mark.parametrize(
    ("systems", "preset", "fault"),
    [
        (("spu-aby3",), _PRESET, "system 'spu-aby3' is unknown; choose from privedge-two-party"),
        (("spu-cheetah",), "paper", r"preset paper: layer \d+ \(leaky_relu\) is not implemented"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_starts(systems, preset, fault):
    with pytest.raises(ConfigError, match=fault):
        peers.check(Workload(systems, preset, 1, 1))


@pytest.mark.parametrize("dealer", [True, False])
@pytest.mark.parametrize("preset", ["ran32", "subspace32"])
def test_what_we_compute_is_opened_and_close_to_the_exact_errors(preset, dealer):
    spec = system.spec_of(preset)
    models, images = made.models(spec, _OWNERS, 1), made.images(spec, 2, 1)
    given = features.extract(spec, images)
    right = opened.exact(models, given)
    found = opened.private(models, given, dealer=dealer)
    assert found.shape == right.shape == (2, _OWNERS)
    # Not the same numbers: features and weights have 16 fractional bits.
    assert 0 < np.abs(found - right).max() < 1e-3
