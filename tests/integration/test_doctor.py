"""`privedge doctor` beside two real parties: each planted mistake gives one fault line (W-61)."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from privedge.config import TlsFiles
from privedge.findings import Finding
from privedge.identity.roles import Role
from privedge.user.doctor import examine
from tests import made_certificates as made
from tests.integration.model_server import serve, settings

ROOT = made.make("root", made.authority(days=(-2, 900)))


def files_of(folder: Path, role: str, **changes) -> TlsFiles:
    serves = role.startswith("party")
    how = {
        "uris": (f"spiffe://privedge/{role}/{role if serves else 'ward'}",),
        "hosts": (f"{role}.privedge",) if serves else (),
        "days": (-2, 90),
    }
    return made.write(folder, role, made.make(role, made.How(**how | changes), ROOT), (), [ROOT])


@dataclass(frozen=True)
class Place:
    """Two parties, and the file of somebody who calls them."""

    folder: Path
    party0: str
    party1: str
    tls: TlsFiles

    @property
    def file(self) -> Path:
        files = self.tls.model_dump(mode="json", exclude={"pins"})
        lines = [f'party0 = "{self.party0}"', f'party1 = "{self.party1}"', "[tls]"]
        lines += [f"{name} = {json.dumps(path)}" for name, path in files.items()]
        path = self.folder / "privedge.toml"
        path.write_text("\n".join(lines))
        return path

    def faults(self) -> list[tuple[str, str]]:
        found = [each for each in examine(self.file) if each.is_fault]
        assert all("\n" not in each.line for each in found)
        return [(each.about, each.line) for each in found]


@contextmanager
def two_parties(folder: Path, *, tls0=None, tls1=None, **limits_of_1) -> Iterator[tuple[str, str]]:
    tls0, tls1 = tls0 or files_of(folder, "party0"), tls1 or files_of(folder, "party1")
    with ExitStack() as stack:
        _, port1 = stack.enter_context(serve(settings(folder, 1, tls1, **limits_of_1)))
        _, port0 = stack.enter_context(serve(settings(folder, 0, tls0, peer_port=port1)))
        yield f"127.0.0.1:{port0}", f"127.0.0.1:{port1}"


@pytest.fixture(scope="module")
def parties(tmp_path_factory) -> Iterator[tuple[str, str]]:
    with two_parties(tmp_path_factory.mktemp("parties")) as addresses:
        yield addresses


@pytest.fixture
def place(parties, tmp_path) -> Place:
    return Place(tmp_path, *parties, files_of(tmp_path, "client"))


def free_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize("role", [Role.CLIENT, Role.OWNER, Role.ADMIN])
def test_w61_a_good_file_has_no_fault(place, role):
    assert replace(place, tls=files_of(place.folder, role.value)).faults() == []


def test_w61_the_command_says_so_and_exits_with_0_or_1(place):
    command = [str(Path(sys.executable).with_name("privedge")), "doctor", "--config"]

    def run(file: Path, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, str(file), *more], capture_output=True, text=True)

    done = run(place.file)
    assert (done.returncode, done.stdout) == (0, f"{place.file}: no fault found\n"), done.stderr
    wrong = replace(place, party0=free_address())
    done = run(wrong.file)
    assert done.returncode == 1
    assert done.stdout.startswith(f"party0: party 0 ({wrong.party0}): refuses connections; ")
    assert done.stdout.count("\n") == 1
    done = run(wrong.file, "--json")
    said = json.loads(done.stdout)
    assert (done.returncode, [each["about"] for each in said["faults"]]) == (1, ["party0"])


# --- On the device --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"days": (-2, -1)}, "certificate expired on"),
        ({"days": (1, 2)}, "is not valid before"),
        ({"days": (-2, 9)}, "in 8 days; renew it"),
        ({"uris": ()}, "names no privedge role"),
        ({"uris": ("spiffe://privedge/party0/party0",), "hosts": ("party0.privedge",)},
         "is for the role party0; use one of an owner, client or admin"),
    ],
)  # fmt: skip
def test_w61_what_is_wrong_with_a_certificate_is_named(place, changes, text):
    ((about, line),) = replace(place, tls=files_of(place.folder, "client", **changes)).faults()
    assert about == "tls" and text in line


def test_w61_a_key_of_another_certificate_or_one_that_others_read_is_named(place):
    place.tls.key.chmod(0o644)
    ((about, line),) = place.faults()
    assert about == "tls" and "chmod 600" in line
    place.tls.key.chmod(0o600)
    place.tls.key.write_bytes(ROOT.key_pem)
    ((about, line),) = place.faults()
    assert about == "tls" and "is not the key of" in line


def test_w61_a_missing_file_or_key_of_the_configuration_is_named(place):
    (found,) = examine(place.folder / "none.toml")
    assert (found.about, found.is_fault) == ("file", True)
    assert "no such file" in found.line
    file = place.file
    file.write_text(f"enigne = 1\n{file.read_text()}")
    (found,) = examine(file)
    assert "enigne: unknown key" in found.line


def test_w61_what_everybody_can_write_is_named(place):
    file = place.file
    file.chmod(0o666)
    (found,) = examine(file)
    assert found == Finding("place", f"{file}: everybody can write there; run `chmod o-w {file}`")


def foreign(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only root can give a file away; anybody else becomes another user to the program."""
    if os.geteuid() == 0:
        os.chown(place, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)


@pytest.mark.parametrize("above", range(3))
def test_w61_a_folder_above_in_which_others_can_write_is_named(place, above):
    inner = place.folder / "shared/mine/files"
    inner.mkdir(parents=True)
    file = place.file.rename(inner / "privedge.toml")
    assert [each for each in examine(file) if each.about == "place"] == []
    writable = file.parents[above]
    writable.chmod(0o777)
    (found,) = [each for each in examine(file) if each.about == "place"]
    assert found.line == (
        f"place: {writable}: everybody can write there; run `chmod o-w {writable}`"
    )
    writable.chmod(0o1777)  # as /tmp is
    assert [each for each in examine(file) if each.about == "place"] == []


def test_w61_the_folders_of_a_link_and_of_its_target_both_count(place):
    linked, target = place.folder / "linked", place.folder / "target"
    linked.mkdir()
    target.mkdir()
    place.file.rename(target / "privedge.toml")
    file = linked / "privedge.toml"
    file.symlink_to(target / "privedge.toml")
    for folder in (linked, target):
        folder.chmod(0o777)
        (found,) = [each for each in examine(file) if each.about == "place"]
        assert f" {folder}: everybody" in found.line
        folder.chmod(0o755)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to any group")
@pytest.mark.parametrize(("group", "wrong"), [(12345, True), (0, False)])
def test_w61_what_a_group_can_write_is_named_unless_it_is_the_users_own(place, group, wrong):
    file = place.file
    os.chown(file, -1, group)
    file.chmod(0o664)
    found = [each.line for each in examine(file) if each.about == "place"]
    line = f"place: {file}: its group can write there; run `chmod g-w {file}`"
    assert found == [line] * wrong


def test_w61_what_belongs_to_another_user_is_named(place, monkeypatch):
    file = place.file
    foreign(file, monkeypatch)
    lines = [each.line for each in examine(file) if each.about == "place"]
    assert f"place: {file}: belongs to another user, who can change it; keep your files elsewhere" \
        in lines  # fmt: skip


def test_w61_one_address_for_both_parties_is_named(place):
    ((about, line),) = replace(place, party1=place.party0).faults()
    assert about == "file" and "party0 and party1 are both" in line


# --- At the parties -------------------------------------------------------------------------------


def test_w61_swapped_parties_are_named_both(place):
    faults = replace(place, party0=place.party1, party1=place.party0).faults()
    assert [about for about, _ in faults] == ["party0", "party1"]
    assert all("party 0 and party 1 may be swapped" in line for _, line in faults)


@pytest.mark.parametrize("name", ["root", "another"])
def test_w61_an_authority_that_is_not_the_parties_is_named(place, name):
    strange = made.make(name, made.authority(days=(-2, 900)))
    own = made.make("client", made.How(days=(-2, 90)), strange)
    tls = made.write(place.folder, "client", own, (), [strange])
    faults = replace(place, tls=tls).faults()
    assert [about for about, _ in faults] == ["party0", "party1"]
    assert all("of an authority that is not trusted here" in line for _, line in faults)


def test_w61_parties_that_describe_a_cohort_differently_are_named(tmp_path):
    with two_parties(tmp_path, max_batch=3) as addresses:
        place = Place(tmp_path, *addresses, files_of(tmp_path, "client"))
        ((about, line),) = place.faults()
    assert about == "cohorts" and "the parties differ in max_batch; " in line


def test_w61_two_parties_with_one_key_are_named(tmp_path):
    key = made.How().key
    tls0, tls1 = (files_of(tmp_path, role, key=key) for role in ("party0", "party1"))
    with two_parties(tmp_path, tls0=tls0, tls1=tls1) as addresses:
        place = Place(tmp_path, *addresses, files_of(tmp_path, "client"))
        ((about, line),) = place.faults()
    assert about == "keys" and "the same private key" in line


def test_w61_a_party_that_never_answers_is_given_up(place):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        ((about, line),) = replace(place, party1=address).faults()
    assert about == "party1" and address in line and "answer" in line
