"""`privedge certs request`, `sign`, `renew` and `check`: a key never leaves its machine (W-09)."""

import json
import shutil
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from test_certs_command import run
from typer.testing import CliRunner

from parties.serving.lifecycle import add_health
from privedge.cli.main import build
from privedge.config import TlsFiles
from privedge.errors import CertificateError
from privedge.identity.certificates import request, serial_of, sign
from privedge.identity.checking import check_files
from privedge.identity.roles import Identity, Role
from privedge.rpc.access import ACCESS
from privedge.rpc.channel import open_channel
from privedge.rpc.health import serves
from privedge.rpc.renewal import epoch_of
from privedge.rpc.server import build_server

OPERATORS = ("party0", "party1", "dealer")


def certs(*arguments):
    """What a command says as JSON. Raises what it fails with."""
    done = CliRunner().invoke(
        build("certs"), ["certs", *map(str, arguments), "--json"], catch_exceptions=False
    )
    return json.loads(done.stdout)


class Machines:
    """A folder for each machine. Only what is carried goes from one to another."""

    def __init__(self, folder):
        self.folder = folder
        certs("init", self["authority"])
        self.carried = []

    def __getitem__(self, machine):
        return self.folder / machine

    def carry(self, file: Path, machine: str) -> Path:
        self.carried.append(file.read_bytes())
        self[machine].mkdir(exist_ok=True)
        return Path(shutil.copy(file, self[machine]))

    def enrol(self, machine, role, *name):
        """Request, sign, and bring the certificate back."""
        made = certs("request", self[machine], role, *name)
        asked = self.carry(Path(made["request"]), "authority")
        signed = certs("sign", self["authority"], asked, role, *name)
        self.carry(self["authority"] / "ca.crt", machine)
        certificate = self.carry(Path(signed["certificate"]), machine)
        return TlsFiles(ca=self[machine] / "ca.crt", certificate=certificate, key=Path(made["key"]))

    def renew(self, files, machine, role, days):
        """The same for a certificate that is there."""
        asked = self.carry(Path(certs("request", self[machine], role)["request"]), "authority")
        new = self["authority"] / f"{role}-{days}.crt"
        certs("sign", self["authority"], asked, role, "--days", days, "--out", new)
        return certs("renew", files.certificate, self.carry(new, machine))


@pytest.fixture
def machines(tmp_path):
    return Machines(tmp_path)


def test_w09_the_keys_of_three_operators_never_leave_their_machines(machines):
    for role in OPERATORS:
        files = machines.enrol(role, role)
        assert check_files(files).identity == Identity(Role(role), role)
        assert files.key.stat().st_mode & 0o777 == 0o600
    keys = {path: path.read_bytes() for path in machines.folder.rglob("*.key")}
    assert sorted(path.parent.name for path in keys) == ["authority", "dealer", "party0", "party1"]
    everything = [path for path in machines.folder.rglob("*") if path.is_file()]
    for path, raw in keys.items():
        assert [other for other in everything if raw in other.read_bytes()] == [path]
    assert not any(b"PRIVATE" in each for each in machines.carried)


def test_w09_a_server_and_its_callers_take_over_what_renew_put_there(machines):
    server_files = machines.enrol("party0", "party0")
    caller_files = machines.enrol("party1", "party1")
    server, port = build_server("127.0.0.1:0", tls=server_files, access=ACCESS)
    add_health(server).set_serving([""], True)
    server.start()
    key = caller_files.key.read_bytes()
    try:
        with open_channel(f"127.0.0.1:{port}", server=Role.PARTY0, tls=caller_files) as channel:
            assert serves(channel, "", within_s=20)
            for epoch, days in enumerate((100, 110), start=1):
                machines.renew(server_files, "party0", "party0", days)
                machines.renew(caller_files, "party1", "party1", days)
                assert serves(channel, "", within_s=20)
                assert epoch_of(channel) == epoch
    finally:
        server.stop(None).wait()
    assert caller_files.key.read_bytes() == key
    assert not list(machines.folder.rglob("*.part"))


def test_w09_the_authority_decides_whom_a_certificate_names(machines):
    made = certs("request", machines["ana"], "admin", "ana")
    signed = certs("sign", machines["authority"], made["request"], "owner", "ana")
    assert signed["uri"] == "spiffe://privedge/owner/ana"
    assert certs("check", signed["certificate"], "--ca", machines["authority"] / "ca.crt")[
        "uri"
    ] == ("spiffe://privedge/owner/ana")


def test_w09_a_request_that_does_not_prove_its_key_is_refused(machines, tmp_path):
    asked, _ = request(tmp_path / "ana", Identity(Role.OWNER, "ana"))
    raw = x509.load_pem_x509_csr(asked.read_bytes()).public_bytes(serialization.Encoding.DER)
    spoilt = x509.load_der_x509_csr(raw[:-1] + bytes([raw[-1] ^ 1]))
    asked.write_bytes(spoilt.public_bytes(serialization.Encoding.PEM))
    out = tmp_path / "out.crt"
    for text, fault in ((None, "was not signed with the key"), ("?", "not a request in PEM")):
        if text:
            asked.write_text(text)
        with pytest.raises(CertificateError, match=fault):
            sign(machines["authority"], asked, Identity(Role.OWNER, "ana"), out)
        assert not out.exists()


@pytest.mark.parametrize(
    ("role", "days", "key", "fault"),
    [
        ("party0", 30, "party0", "does not end later"),
        ("dealer", 100, "party0", "is for spiffe://privedge/dealer/dealer, the old one is not"),
        ("party0", 100, "dealer", "is not the key of"),
    ],
)
def test_w09_renew_changes_nothing_for_a_certificate_that_will_not_do(
    machines, role, days, key, fault
):
    files = machines.enrol("party0", "party0")
    other = machines.enrol("dealer", "dealer")
    before = files.certificate.read_bytes()
    asked = (files if key == "party0" else other).key.with_suffix(".csr")
    new = machines["party0"] / "new.crt"
    certs("sign", machines["authority"], asked, role, "--days", days, "--out", new)
    done = run("certs", "renew", str(files.certificate), str(new), code=1)
    assert fault in done.stderr and done.stderr.count("\n") == 1
    assert files.certificate.read_bytes() == before
    assert not list(machines["party0"].glob("*.part"))


def test_w08_check_prints_names_dates_and_chain_or_why_not(machines):
    files = machines.enrol("party0", "party0")
    said = run("certs", "check", str(files.certificate)).stdout
    serial = serial_of(x509.load_pem_x509_certificate(files.certificate.read_bytes()))
    for part in (
        "party0.crt: good", "uri: spiffe://privedge/party0/party0", f"serial: {serial}\n",
        "chain: CN=party0 <- CN=privedge CA ", "ends: 20", "party0.key",
    ):  # fmt: skip
        assert part in said
    certs("init", machines["elsewhere"])
    done = run(
        "certs", "check", str(files.certificate), "--ca", str(machines["elsewhere"] / "ca.crt"),
        code=1,
    )  # fmt: skip
    assert "was not issued by" in done.stderr and done.stderr.count("\n") == 1
    files.key.unlink()
    assert "party0.key" not in run("certs", "check", str(files.certificate)).stdout


def test_w08_check_fails_in_time_to_renew(machines):
    certificate = str(machines.enrol("party0", "party0").certificate)
    run("certs", "check", certificate, "--valid-for", "89")
    assert "3650" in run("certs", "check", certificate, "--valid-for", "9999999999", code=2).stderr
    done = run("certs", "check", certificate, "--valid-for", "91", code=1)
    assert "in less than 91 days; renew it" in done.stderr and done.stderr.count("\n") == 1
