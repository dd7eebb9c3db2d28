"""`python -m parties` prints one clear line, whether it starts or refuses to start."""

import os
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from parties.party.models.migrations import SCHEMA_VERSION
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment

pytestmark = pytest.mark.mpc


@pytest.fixture
def prepared(tmp_path: Path) -> Deployment:
    """Certificates and configuration files; nothing is running."""
    return Deployment(tmp_path, [CohortSetting("digits", "subspace32")])


def refusal(kind: str, config: Path, *flags: str, status: int = os.EX_CONFIG) -> str:
    """What a server that cannot start says: one line, and this exit status."""
    command = [sys.executable, "-m", "parties", kind, "--config", str(config), *flags]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == status
    assert ended.stderr.count("\n") == 1
    return ended.stderr


def replaced(config: Path, old: str, new: str) -> Path:
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new, 1))
    return config


def without_tls(config: Path) -> Path:
    text = config.read_text()
    head, _, rest = text.partition("[tls]")
    tail = rest[rest.index("[[") :] if "[[" in rest else ""
    config.write_text(f"insecure_loopback = true\n{head}{tail}")
    return config


@pytest.mark.parametrize(
    ("server", "kind"), [(Role.DEALER, "dealer"), (Role.PARTY0, "party"), (Role.PARTY1, "party")]
)
def test_plain_text_must_be_said_twice(prepared, server, kind):
    secure = prepared.config_file(server)
    assert "insecure_loopback = true" in refusal(kind, secure, "--insecure-loopback")
    assert "--insecure-loopback" in refusal(kind, without_tls(secure))


def test_plain_text_is_for_this_machine_only(prepared):
    config = without_tls(prepared.config_file(Role.DEALER))
    replaced(config, "127.0.0.1", "0.0.0.0")
    assert "loopback" in refusal("dealer", config, "--insecure-loopback")


def test_a_key_others_can_read_is_refused(prepared):
    key = prepared.tls(Identity(Role.DEALER, "dealer")).key
    key.chmod(0o644)
    assert str(key) in refusal("dealer", prepared.config_file(Role.DEALER))


@pytest.mark.parametrize(
    ("server", "kind", "other"),
    [(Role.DEALER, "dealer", Role.PARTY0), (Role.PARTY0, "party", Role.PARTY1)],
)
def test_c56_the_certificate_of_another_role_is_refused(prepared, server, kind, other):
    wrong = prepared.tls(Identity(other, other.value))
    text = prepared.config_file(server).read_text()
    right = prepared.tls(Identity(server, server.value))
    for old, new in ((right.certificate, wrong.certificate), (right.key, wrong.key)):
        text = text.replace(str(old), str(new))
    prepared.config_file(server).write_text(text)
    line = refusal(kind, prepared.config_file(server))
    assert f"{wrong.certificate}: is for the role {other}" in line


def test_a_party_whose_database_is_away_ends_so_that_its_supervisor_tries_again(prepared):
    config = prepared.config_file(Role.PARTY1)
    config.write_text(f'registry_url = "postgresql://x@127.0.0.1:1/x"\n{config.read_text()}')
    line = refusal("party", config, status=1)
    assert "the database cannot be used: it cannot be reached" in line


def test_c62_a_party_whose_metrics_cannot_be_served_takes_no_call(prepared):
    config = prepared.config_file(Role.PARTY1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f'[metrics]\nlisten = "127.0.0.1:{taken.getsockname()[1]}"\n'
        config.write_text(f"{config.read_text()}\n{listen}")
        command = [sys.executable, "-m", "parties", "party", "--config", str(config)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == os.EX_CONFIG and "metrics cannot be served" in ended.stderr
    assert "party 1: listening" not in ended.stderr


def test_nobody_else_can_read_what_a_party_keeps(prepared):
    prepared.start(Role.PARTY1)
    try:
        prepared.wait_ready(Role.PARTY1, cause="worker")
        kept = [path for path in prepared.folder.rglob("*") if "registry.sqlite" in path.name]
        assert kept and all(path.stat().st_mode & 0o077 == 0 for path in kept)
    finally:
        prepared.stop()


def test_an_unknown_key_is_named(prepared):
    config = replaced(prepared.config_file(Role.PARTY1), "index = 1", "index = 1\nenigne = 2")
    assert "enigne: unknown key" in refusal("party", config)


def test_a_provider_cannot_be_selected(prepared):
    config = replaced(prepared.config_file(Role.PARTY1), "index = 1", 'index = 1\nprovider = "TFP"')
    assert "provider: unknown key" in refusal("party", config)


def test_c57_a_port_in_use_is_named(prepared):
    prepared.start(Role.DEALER)
    try:
        prepared.wait_ready(Role.DEALER)
        line = refusal("dealer", prepared.config_file(Role.DEALER))
        assert prepared.address(Role.DEALER) in line
    finally:
        prepared.stop()


def test_w65_a_registry_of_a_newer_release_is_named_in_a_line(prepared):
    prepared.start(Role.PARTY1)
    try:
        prepared.wait_ready(Role.PARTY1, cause="worker")
    finally:
        prepared.stop()
    file = prepared.folder / "state/party1/registry.sqlite"
    with closing(sqlite3.connect(file)) as registry:
        registry.execute("UPDATE meta SET schema_version = 99")
        registry.commit()
    line = refusal("party", prepared.config_file(Role.PARTY1))
    assert f"has schema version 99, this release reads {SCHEMA_VERSION}; " in line


def test_health_says_what_keeps_a_party_from_serving(prepared):
    config = prepared.config_file(Role.PARTY1)

    def asked(*flags: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "parties", "health", "--config", str(config), *flags]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout

    gone = "party 1: does not answer; is it running, and is its certificate valid?\n"
    assert asked("--within", "0.1") == (1, gone)
    for wrong in ("-1", "nan", "soon"):
        assert asked("--within", wrong) == (2, "")
    prepared.start(Role.PARTY1)
    try:
        prepared.wait_ready(Role.PARTY1, cause="worker")
        assert asked("--alive", "--within", "60") == (0, "party 1: lives\n")
        status, line = asked()
        assert status == 1 and line.startswith("party 1: does not serve: ") and "peer" in line
    finally:
        prepared.stop()


def test_help_says_who_must_not_collude():
    command = [sys.executable, "-m", "parties", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    assert "must not collude" in text
    assert "worker" not in text.split("example:")[0]


def test_kernels_are_compiled_before_the_first_server_is_ready_and_then_kept(
    prepared, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def compiled() -> dict[Path, int]:
        files = (tmp_path / "cache").rglob("*.nb?")
        return {file: file.stat().st_mtime_ns for file in files}

    try:
        prepared.start(Role.DEALER)
        prepared.wait_ready(Role.DEALER)
        kept = compiled()
        assert kept
        # Its worker needs the same kernels, and finds all of them.
        prepared.start(Role.PARTY1)
        prepared.wait_ready(Role.PARTY1, cause="worker")
        assert compiled() == kept
    finally:
        prepared.stop()
