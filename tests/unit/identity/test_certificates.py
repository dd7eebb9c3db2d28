import datetime
import stat

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from privedge.errors import CertificateError
from privedge.identity.certificates import create_authority, issue, serial_of
from privedge.identity.checking import check_files
from privedge.identity.pem_files import fault_of_mode
from privedge.identity.roles import Identity, Role

ANA = Identity(Role.OWNER, "ana")
PARTY0 = Identity(Role.PARTY0, "party0")


@pytest.fixture
def folder(tmp_path):
    create_authority(tmp_path)
    return tmp_path


def read(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def extension(certificate, kind):
    return certificate.extensions.get_extension_for_class(kind)


def check(paths):
    return check_files(paths).identity


def test_an_issued_certificate_passes_the_check_and_names_its_holder(folder):
    assert check(issue(folder, ANA)) == ANA


def test_an_authority_may_sign_certificates_but_no_further_authorities(folder):
    certificate = read(folder / "ca.crt")
    constraints = extension(certificate, x509.BasicConstraints)
    usage = extension(certificate, x509.KeyUsage)
    assert constraints.critical and constraints.value.ca and constraints.value.path_length == 0
    assert usage.critical and usage.value.key_cert_sign and not usage.value.digital_signature


def test_a_server_certificate_serves_dials_and_carries_its_host_name(folder):
    certificate = read(issue(folder, PARTY0).certificate)
    names = extension(certificate, x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["party0.privedge"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [PARTY0.uri]
    assert set(extension(certificate, x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    }


def test_an_owner_certificate_can_only_dial(folder):
    certificate = read(issue(folder, ANA).certificate)
    names = extension(certificate, x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == []
    assert list(extension(certificate, x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.CLIENT_AUTH
    ]


def test_keys_are_readable_by_their_owner_only(folder):
    for key in (folder / "ca.key", issue(folder, ANA).key):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_nothing_is_ever_overwritten(folder):
    paths = issue(folder, ANA)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(CertificateError, match=r"ca\.crt: already exists"):
        create_authority(folder)
    with pytest.raises(CertificateError, match="already exists"):
        issue(folder, ANA)
    paths.certificate.unlink()
    with pytest.raises(CertificateError, match=r"owner-ana\.key: already exists"):
        issue(folder, ANA)
    del before[paths.certificate]
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_without_an_authority_nothing_is_issued(tmp_path):
    with pytest.raises(CertificateError, match="privedge certs init"):
        issue(tmp_path, ANA)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CertificateError, match="cannot be written") as refusal:
        create_authority(tmp_path / "file" / "certs")
    assert "\n" not in str(refusal.value)


def test_an_expired_certificate_is_named_with_its_date(folder):
    today = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    with pytest.raises(CertificateError, match=rf"owner-ana\.crt: certificate expired on {today}"):
        check(issue(folder, ANA, days=0))


def test_an_expired_authority_issues_nothing(tmp_path):
    create_authority(tmp_path, days=0)
    with pytest.raises(CertificateError, match=r"ca\.crt: certificate expired"):
        issue(tmp_path, ANA)


def test_c58_a_certificate_from_tomorrow_is_refused(folder):
    paths = issue(folder, ANA)
    tomorrow = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    key = serialization.load_pem_private_key(paths.key.read_bytes(), password=None)
    write_self_signed(paths.certificate, key, tomorrow)
    with pytest.raises(CertificateError, match="is not valid before"):
        check(paths)


def test_a_key_that_others_can_read_is_refused(folder):
    paths = issue(folder, ANA)
    paths.key.chmod(0o644)
    with pytest.raises(CertificateError, match=r"owner-ana\.key: others can read .*chmod 600"):
        check(paths)


ROOT, ME, OTHER = 0, 1000, 1001


@pytest.mark.parametrize(
    ("owner", "mode", "user", "fault"),
    [
        (ME, 0o600, ME, None),
        (ME, 0o400, ME, None),
        (ME, 0o700, ME, None),
        (ME, 0o640, ME, "others can read"),
        (ME, 0o604, ME, "others can read"),
        # An orchestrator's secret: root's, read by the group.
        (ROOT, 0o640, ME, None),
        (ROOT, 0o440, ME, None),
        (ROOT, 0o640, ROOT, None),
        (ROOT, 0o600, ROOT, None),
        (ROOT, 0o644, ME, "others can read"),
        (ROOT, 0o660, ME, "or change"),
        (ROOT, 0o650, ME, "or change"),
        (ROOT, 0o644, ROOT, "others can read"),
        (OTHER, 0o600, ME, "another user"),
        (OTHER, 0o400, ROOT, "another user"),
    ],
)
def test_w11_a_key_may_be_read_by_its_user_or_where_root_owns_it_by_its_group(
    owner, mode, user, fault
):
    found = fault_of_mode(owner, mode, user)
    assert found is None if fault is None else fault in found


def test_w11_without_owners_of_files_no_mode_is_looked_at(folder, monkeypatch):
    paths = issue(folder, ANA)
    paths.key.chmod(0o644)
    monkeypatch.delattr("os.geteuid")
    assert check(paths) == ANA


def test_an_rsa_certificate_is_refused_because_tls_1_2_could_use_it(folder):
    paths = issue(folder, ANA)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    write_self_signed(paths.certificate, key, datetime.datetime.now(datetime.UTC))
    with pytest.raises(CertificateError, match="not an ECDSA certificate"):
        check(paths)
    paths.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    with pytest.raises(CertificateError, match="not an ECDSA key"):
        check(paths)


def test_a_key_of_another_certificate_is_refused(folder):
    ana, bob = issue(folder, ANA), issue(folder, Identity(Role.OWNER, "bob"))
    with pytest.raises(CertificateError, match="is not the key of"):
        check(ana.model_copy(update={"key": bob.key}))


def test_a_certificate_of_another_authority_is_refused(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    create_authority(other)
    ana = issue(other, ANA)
    with pytest.raises(CertificateError, match="was not issued by"):
        check(ana.model_copy(update={"ca": folder / "ca.crt"}))


@pytest.mark.parametrize("kind", ["ca", "certificate", "key"])
def test_a_missing_or_garbled_file_is_named(folder, kind):
    paths = issue(folder, ANA)
    path = getattr(paths, kind)
    path.write_bytes(b"\xff not PEM")
    with pytest.raises(CertificateError, match=f"{path.name}: not .* in PEM form"):
        check(paths)
    path.unlink()
    with pytest.raises(CertificateError, match=f"{path.name}: no such file"):
        check(paths)


def write_self_signed(path, key, start):
    name = x509.Name([])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def test_two_authorities_have_different_names(tmp_path):
    for name in ("one", "other"):
        create_authority(tmp_path / name)
    one, other = (read(tmp_path / name / "ca.crt").subject for name in ("one", "other"))
    assert one != other and "development" not in one.rfc4514_string()


def test_a_serial_number_is_shown_with_two_digits_for_each_byte(folder, monkeypatch):
    monkeypatch.setattr(x509, "random_serial_number", lambda: 0xA5F)
    assert serial_of(read(issue(folder, ANA).certificate)) == "0a5f"
