"""Kernels are compiled before they are needed, once, into a folder that is its user's alone."""

import errno
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba.core.caching
import numpy as np
import pytest
import torch

from parties.mpc.compiled import cache, compiler
from parties.mpc.compiled.ready import State, usable, words

SIGNATURE = "void(uint64[::1])"
# Prepares one small kernel in place of ours, and prints how many it compiled.
PROGRAM = """
import sys
from pathlib import Path
from tests.unit.mpc.compiled.test_compiler import only_small
from parties.mpc.compiled import compiler

small = only_small()
compiler.prepare(Path(sys.argv[1]))
print(sum(small.stats.cache_misses.values()))
"""


def doubled(x):
    for i in range(x.size):
        x[i] += x[i]


def only_small() -> Any:
    """A start with one small kernel and no others; the kernel."""
    compiler._kernels.clear()
    compiler._MODULES = ()
    return compiler.kernel(SIGNATURE)(doubled)


@pytest.fixture
def start(monkeypatch):
    """A start as of a new process, with one small kernel and no others; returns the kernel."""

    def prepare(folder):
        monkeypatch.setattr(compiler, "_kernels", [])
        monkeypatch.setattr(compiler, "_MODULES", ())
        monkeypatch.setattr(State, "compiled", False)
        kernel = compiler.kernel(SIGNATURE)(doubled)
        assert not usable(torch.zeros(1))
        compiler.prepare(folder)
        return kernel

    monkeypatch.setattr(compiler.numba.config, "CACHE_DIR", compiler.numba.config.CACHE_DIR)
    return prepare


def test_a_second_start_loads_what_the_first_compiled(start, tmp_path):
    first, second = start(tmp_path / "cache"), start(tmp_path / "cache")
    counts = [
        (sum(each.stats.cache_misses.values()), sum(each.stats.cache_hits.values()))
        for each in (first, second)
    ]
    assert counts == [(1, 0), (0, 1)]


def test_servers_that_start_at_once_compile_once(tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "cache")]
    servers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [server.communicate(timeout=120)[0] for server in servers]
    assert sorted(map(int, said)) == [0, 1]


def test_no_call_starts_the_compiler(start, tmp_path):
    kernel = start(tmp_path / "cache")
    with pytest.raises(TypeError, match="No matching definition"):
        kernel(np.zeros(3))
    compiler.prepare()
    assert all(not dispatcher._can_compile for dispatcher, _ in compiler._kernels)


@pytest.mark.parametrize("spoilt", ["group", "others", "file", "missing"])
def test_a_folder_that_cannot_be_used_costs_a_start_and_no_more(spoilt, start, tmp_path, caplog):
    folder = tmp_path / "cache"
    if spoilt == "file":
        folder.write_text("")
    elif spoilt == "missing":
        folder = tmp_path / "file" / "cache"
        folder.parent.write_text("")
    else:
        folder.mkdir()
        folder.chmod(0o770 if spoilt == "group" else 0o707)
    with caplog.at_level(logging.WARNING):
        kernel = start(folder)
    assert usable(torch.zeros(1))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(folder) in caplog.text
    assert not folder.is_dir() or not list(folder.iterdir())
    doubles = torch.tensor([3, 2**63 - 1])
    kernel(words(doubles))
    assert doubles.tolist() == [6, -2]


def _flip(file):
    there = bytearray(file.read_bytes())
    there[len(there) // 2] ^= 1
    file.write_bytes(there)


@pytest.mark.parametrize("pattern", ["*.nbi", "*.nbc", "SHA256SUMS"])
@pytest.mark.parametrize(
    "damage",
    [_flip, lambda file: os.truncate(file, 100), lambda file: os.truncate(file, 0), Path.unlink],
    ids=["flipped", "cut", "empty", "gone"],
)
def test_damaged_kernels_are_not_run_but_compiled_anew(pattern, damage, start, tmp_path, caplog):
    folder = tmp_path / "cache"
    start(folder)
    damage(next(folder.rglob(pattern)))
    with caplog.at_level(logging.WARNING):
        again = start(folder)
    assert sum(again.stats.cache_misses.values()) == 1
    assert "damaged" in caplog.text
    numbers = torch.tensor([3])
    again(words(numbers))
    assert numbers.tolist() == [6]
    assert sum(start(folder).stats.cache_hits.values()) == 1


def test_a_full_disk_costs_a_start_and_no_more(start, tmp_path, caplog, monkeypatch):
    folder = tmp_path / "cache"

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(numba.core.caching.IndexDataCacheFile, "save", full)
        kernel = start(folder)
    numbers = torch.tensor([3])
    kernel(words(numbers))
    assert numbers.tolist() == [6]
    assert "could not be kept" in caplog.text
    again = start(folder)
    assert sum(again.stats.cache_misses.values()) == 1


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"CACHE_DIRECTORY": "/one:/two", "XDG_CACHE_HOME": "/three"}, "/one/privedge/kernels"),
        ({"XDG_CACHE_HOME": "/three"}, "/three/privedge/kernels"),
        ({"HOME": "/four"}, "/four/.cache/privedge/kernels"),
    ],
)
def test_the_folder_belongs_to_the_user_of_the_service(variables, expected, monkeypatch):
    for name in ("CACHE_DIRECTORY", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(cache.folder().parent) == expected


def test_tensors_elsewhere_are_left_to_torch():
    compiler.prepare()
    assert usable(torch.zeros(1))
    assert not usable(torch.zeros(1), torch.zeros(1, device="meta"))
