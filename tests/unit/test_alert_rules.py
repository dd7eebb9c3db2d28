"""deploy/observability: promtool reads the files, and every alert does what its test says."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "deploy" / "observability"
PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool: apt-get install prometheus")
@pytest.mark.parametrize(
    "command",
    [
        ("check", "rules", "privedge.rules.yml"),
        ("test", "rules", "privedge.rules.test.yml"),
        ("check", "config", "--syntax-only", "prometheus.yml"),
    ],
)
def test_promtool_accepts_the_files(command):
    found = subprocess.run(
        [PROMTOOL, *command], cwd=FOLDER, capture_output=True, text=True, timeout=120
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_every_alert_is_tested_and_documented():
    alerts = re.findall("alert: (.+)", (FOLDER / "privedge.rules.yml").read_text())
    tested = re.findall("alertname: ([A-Za-z]+)", (FOLDER / "privedge.rules.test.yml").read_text())
    page = (FOLDER.parents[1] / "docs" / "how-to" / "monitor.md").read_text()
    assert alerts and sorted(alerts) == sorted(tested)
    assert not [alert for alert in alerts if f"`{alert}`" not in page]
