"""What a bench says about the processor, from what systems say of it, and that every bench does."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privedge_lab.bench.processor import described, processor
from privedge_lab.cli import bench_rows
from privedge_lab.results.registry import PRINTED

# As long as the list of a real one, with what counts at its end.
MANY = " ".join(f"flag{number}" for number in range(99))
EPYC = f"processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: {MANY} {{}}\n\nprocessor\t: 1\n"
CASES = {
    "AMD EPYC, AVX-512": (EPYC.format("avx2 avx512f avx512dq avx512vl"), "x86_64", "x86_64"),
    "AMD EPYC, AVX2": (EPYC.format("avx avx2 bmi2"), "x86_64", ""),
    "AMD EPYC, no AVX2": (EPYC.format("avx"), "x86_64", ""),
    "Cortex-A72, NEON": ("model name : Cortex-A72\nFeatures : fp asimd\n", "aarch64", ""),
    "aarch64, NEON": ("processor : 0\nFeatures\t: fp asimd evtstrm\n", "aarch64", ""),
    "arm, NEON": ("", "arm64", "arm"),
    "Intel64 Family 6": ("", "AMD64", "Intel64 Family 6"),
    "unknown processor": ("", "", ""),
}


@pytest.mark.parametrize("expected", CASES)
def test_a_processor_is_named_with_the_vectors_that_count(expected):
    assert described(*CASES[expected]) == expected


def test_a_512_bit_processor_without_64_bit_products_counts_as_the_one_below():
    cpuinfo = EPYC.format("avx2 avx512f avx512cd")
    assert described(cpuinfo, "x86_64", "") == "AMD EPYC, AVX2"


@given(st.text(), st.text(max_size=20))
def test_any_text_of_a_system_gives_one_line(cpuinfo, machine):
    named = described(cpuinfo, machine, "")
    assert named and "\n" not in named


def test_this_machine_has_a_processor():
    assert processor() == processor() != ""


@pytest.mark.parametrize(
    ("key", "name"), [(key, name) for key, names in PRINTED.items() for name in names]
)
def test_every_bench_names_the_processor(key, name, capsys):
    bench_rows.show(name, [], True, lambda _rows: None)
    assert json.loads(capsys.readouterr().out) == {"processor": processor(), key: []}
    bench_rows.show(name, [], False, lambda _rows: None)
    assert capsys.readouterr().out == f"processor: {processor()}\n"
