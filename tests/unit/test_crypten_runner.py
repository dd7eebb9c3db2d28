"""`make crypten-tests` on a checkout of our own: what passes, fails, is skipped or is left out."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Written as CrypTen's tests are: both parties run it, with a rank.
WRITTEN = """
import unittest

import crypten
import torch


class TestOurs(unittest.TestCase):
    def test_product(self):
        tensor = torch.tensor([1.5, -2.0])
        product = crypten.cryptensor(tensor, src=0) * crypten.cryptensor(tensor, src=1)
        self.assertTrue(torch.allclose(product.get_plain_text(), tensor * tensor, atol=1e-4))

    def test_wrong(self):
        self.assertEqual(crypten.cryptensor(torch.ones(2)).get_plain_text().sum(), 3)

    def test_one_party_leaves(self):
        if self.rank == 1:
            raise ValueError("party 1 left")
        crypten.communicator.get().barrier()

    @unittest.skip("for a reason")
    def test_skipped(self):
        raise AssertionError


class TestTTP(TestOurs):
    pass
"""


def test_the_runner_counts_and_says_why(tmp_path):
    folder = tmp_path / "test"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "test_written.py").write_text(WRITTEN)
    (folder / "test_cuda.py").write_text("raise AssertionError('left out')")
    table = tmp_path / "table.md"
    command = [sys.executable, "-m", "tools.crypten_tests", tmp_path, "--out", table]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    # The left-out file and class, and the skipped test.
    assert ran.stdout.splitlines()[-1] == "1 passed, 2 failed, 3 skipped", ran.stderr
    assert ran.returncode == 1  # nobody has written down why they fail
    text = table.read_text()
    assert "| test_written | 1 | 2 | 2 |" in text
    assert "| test_cuda.(all) | skipped | needs a GPU |" in text
    assert "| test_written.test_skipped | skipped | for a reason |" in text
    assert "| test_written.test_one_party_leaves | failed | ValueError: party 1 left |" in text
    assert "| test_written.test_wrong | failed | AssertionError" in text
