"""parties/serving/readiness.py and the causes that need no other server."""

import logging
import queue

import pytest
from grpc_health.v1 import health_pb2 as pb

from parties.config.sections import DiskSection
from parties.party.models.disk import Disk
from parties.party.queries.intake import Intake
from parties.serving import lifetime
from parties.serving.certificate_watch import CertificateWatch
from parties.serving.handshake import Handshake
from parties.serving.health import Health
from parties.serving.readiness import Cause, Readiness
from privedge.config import TlsPins
from privedge.errors import Restarting
from privedge.identity.roles import Role
from tests import made_certificates as made

SERVING, NOT_SERVING = pb.HealthCheckResponse.SERVING, pb.HealthCheckResponse.NOT_SERVING


class Looked(Health):
    """Health that says when all causes have been looked at: the service itself comes last."""

    def __init__(self):
        super().__init__()
        self.looked = queue.SimpleQueue()

    def set_serving(self, services, serves):
        super().set_serving(services, serves)
        if services == ["a.B"]:
            self.looked.put(serves)

    def of(self, service):
        return self.Check(pb.HealthCheckRequest(service=service), None).status


@pytest.fixture
def health():
    return Looked()


@pytest.fixture
def faults():
    """What is wrong now, by cause."""
    return {"dealer": "", "disk": ""}


@pytest.fixture
def readiness(health, faults, caplog):
    caplog.set_level(logging.INFO)
    causes = [
        Cause("dealer", lambda: faults["dealer"]),
        Cause("disk", lambda: faults["disk"], blocks=False),
    ]
    readiness = Readiness("party 0", "a.B", causes, health)
    readiness.start()
    assert health.looked.get(timeout=60)
    yield readiness
    readiness.stop()


def until(health, serves):
    while health.looked.get(timeout=60) is not serves:
        pass


def test_w27_what_blocks_is_seen_in_health_and_log_until_it_is_gone(
    readiness, health, faults, caplog
):
    faults["dealer"] = "cannot be reached"
    readiness.look()
    until(health, False)
    assert (health.of("a.B/dealer"), health.of("a.B/disk")) == (NOT_SERVING, SERVING)
    assert readiness.faults == ("dealer: cannot be reached",)
    faults["dealer"] = ""  # nobody says so; it is looked at
    until(health, True)
    assert health.of("a.B/dealer") == SERVING
    assert readiness.faults == ()
    assert [record.message for record in caplog.records] == [
        "party 0: not ready: dealer: cannot be reached",
        "party 0: dealer: is well again",
        "party 0: ready",
    ]


def test_w27_what_only_warns_leaves_the_service_as_it_is(readiness, health, faults, caplog):
    for left in ("3 MiB", "2 MiB"):
        faults["disk"] = f"{left} would be left"
        while readiness.faults != (f"disk: {left} would be left",):
            readiness.look()
            assert health.looked.get(timeout=60)
    assert (health.of("a.B"), health.of("a.B/disk")) == (SERVING, NOT_SERVING)
    warnings = [each.message for each in caplog.records if each.levelno == logging.WARNING]
    assert warnings == ["party 0: serves, but: disk: 3 MiB would be left"]


def test_w27_a_cause_that_cannot_be_looked_at_is_a_fault(health):
    def gone():
        raise FileNotFoundError(2, "No such file or directory", "/secret/place")

    readiness = Readiness("party 0", "a.B", [Cause("disk", gone)], health)
    readiness.start()
    assert readiness.faults == ("disk: cannot be looked at (No such file or directory)",)
    readiness.stop()


def test_w27_a_full_disk_is_a_fault(tmp_path):
    assert Disk(tmp_path, DiskSection(min_free_percent=0)).fault() == ""
    fault = Disk(tmp_path, DiskSection(min_free_percent=99.999)).fault()
    assert "MiB would be left on the disk" in fault


def looked_at(files):
    watch = CertificateWatch(files)
    watch.look()
    return watch


def test_w27_a_certificate_is_a_fault_in_its_last_two_weeks(tls_for):
    assert looked_at(None).fault() == ""
    assert looked_at(tls_for(Role.PARTY0)).fault() == ""
    ending = tls_for(Role.CLIENT, "ending", days=13)
    line = f"{ending.certificate}: it or its authority ends on "
    assert looked_at(ending).fault().startswith(line)


def test_w07_an_authority_in_the_middle_of_a_chain_is_a_fault_when_it_ends(tmp_path):
    """Only the second certificate of the file ends soon, and `ca` not at all."""
    root = made.make("root", made.authority(days=(-2, 400)))
    inner = made.make("inner", made.authority(days=(-2, 13)), root)
    own = made.make("party0", made.server(days=(-2, 90)), inner)
    files = made.write(tmp_path, "party0", own, [inner], [root])
    assert looked_at(files).fault().startswith(f"{files.certificate}: it or its authority ends on ")


def test_w07_files_that_can_no_longer_be_used_are_a_fault_until_they_are_mended(tls_for):
    files = tls_for(Role.CLIENT, "mended")
    whole = files.certificate.read_bytes()
    watch = looked_at(files)
    files.certificate.write_bytes(b"nothing")
    watch.look()
    assert "not a certificate in PEM form" in watch.fault()
    files.certificate.write_bytes(whole)
    watch.look()
    assert watch.fault() == ""


def test_w01_the_end_of_every_file_is_known(tls_for, another_authority, tmp_path):
    files, other = tls_for(Role.PARTY0), another_authority(Role.PARTY1)
    # Of several authorities, the last one counts.
    both = tmp_path / "both.crt"
    both.write_bytes(other.certificate.read_bytes() + files.ca.read_bytes())
    pinned = files.model_copy(
        update={"ca": both, "pins": TlsPins(party1=other.certificate, dealer=tmp_path / "gone")}
    )
    found, plain = lifetime.ends(pinned), lifetime.ends(files)
    assert set(found) == {"certificate", "ca", "pin_party1", "pin_dealer"}
    assert found["ca"] == plain["ca"] > found["certificate"] == plain["certificate"]
    assert found["pin_party1"] is not None and found["pin_dealer"] is None


def test_w29_nothing_is_taken_before_every_worker_has_served():
    begun = []
    intake = Intake(lambda: bool(begun), Handshake())
    with pytest.raises(Restarting), intake.query():
        pytest.fail("taken")
    begun.append(True)
    with intake.query():
        pass


def test_w29_what_drains_takes_nothing_more_and_waits_for_what_is_here():
    intake = Intake(lambda: True, Handshake())
    with intake.query():
        intake.drain(0)
        assert intake.fault()
        with pytest.raises(Restarting), intake.query():
            pytest.fail("taken")
    intake.drain(3600)
