from pathlib import Path

import pytest
from pydantic import BaseModel

from privedge.config import ClientConfig, Section, load
from privedge.errors import ConfigError

TLS = """
party0 = "127.0.0.1:7000"
party1 = "party1.example.org:7001"
[tls]
ca = "certs/ca.crt"
certificate = "/etc/privedge/me.crt"
key = "~/me.key"
"""


@pytest.fixture
def write(tmp_path):
    def write_text(text):
        path = tmp_path / "privedge.toml"
        path.write_text(text)
        return path

    return write_text


def test_relative_paths_start_at_the_file_and_a_tilde_at_home(write, tmp_path):
    tls = load(ClientConfig, write(TLS)).tls
    assert tls is not None
    assert tls.ca == tmp_path / "certs" / "ca.crt"
    assert tls.certificate == Path("/etc/privedge/me.crt")
    assert tls.key == Path.home() / "me.key"


def test_a_relative_config_path_still_gives_absolute_paths(write, tmp_path, monkeypatch):
    write(TLS)
    monkeypatch.chdir(tmp_path)
    tls = load(ClientConfig, Path("privedge.toml")).tls
    assert tls is not None
    assert tls.ca == tmp_path / "certs" / "ca.crt"


def test_a_model_without_paths_of_its_own_loads_too(write):
    class Plain(BaseModel):
        count: int

    assert load(Plain, write("count = 3")).count == 3


def test_a_config_cannot_be_changed(write):
    config = load(ClientConfig, write(TLS))
    with pytest.raises(ValueError, match="frozen"):
        config.party0 = "127.0.0.1:1"


INSECURE = 'party0="127.0.0.1:1"\nparty1="127.0.0.1:2"\ninsecure_loopback=true\n'


def test_an_insecure_config_says_who_it_claims_to_be(write):
    config = load(ClientConfig, write(INSECURE + 'role="client"\nname="ward"'))
    assert (config.role, config.name, config.tls) == ("client", "ward", None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (TLS + "colour = 1", "tls.colour: unknown key"),
        ("party0 = 5", "party0: must be text, in quotes"),
        ('party0 = "127.0.0.1:7000"', "party1: missing"),
        ('party0 = "dns:///x:1"\nparty1 = "x:1"', "party0: must be HOST:PORT"),
        ('party0 = "x:99999"\nparty1 = "x:1"', "party0: must be HOST:PORT with a port up to"),
        ('party0 = "unix:/x"\nparty1 = "x:1"', "party0: must be HOST:PORT"),
        ('party0="a:1"\nparty1="b:1"', r"give either a \[tls\] table or insecure_loopback"),
        (INSECURE, "insecure_loopback = true needs role and name"),
        ('role="owner"\nname="x"' + TLS, "role and name come from the certificate"),
        ("rpc_timeout_s = 0" + TLS, "rpc_timeout_s: Input should be greater than 0"),
        ("party0 = ", "not a TOML file"),
        ("party0 = " + "[" * 20_000, "not a TOML file: nested too deep"),
        (TLS.replace("~/me.key", ""), "tls.key: the name of the file or folder is empty"),
        (
            TLS + '[tls.pins]\ndealer = ""',
            "tls.pins.dealer: the name of the file or folder is empty",
        ),
        (
            TLS.replace("~/", "~no-such-user/"),
            "tls.key: ~no-such-user/me.key: there is no such home",
        ),
    ],
)
def test_every_mistake_is_one_line_with_file_field_and_reason(write, text, why):
    path = write(text)
    with pytest.raises(ConfigError, match=f"^{path}: {why}") as refusal:
        load(ClientConfig, path)
    assert "\n" not in str(refusal.value)


def test_a_byte_order_mark_is_read_over(tmp_path):
    path = tmp_path / "privedge.toml"
    path.write_text(TLS, encoding="utf-8-sig")
    assert load(ClientConfig, path).party0 == "127.0.0.1:7000"


def test_a_path_may_be_given_as_text(write):
    assert load(ClientConfig, str(write(TLS))) == load(ClientConfig, write(TLS))


@pytest.mark.parametrize(
    "path", [r"certs\ca.crt", r"C:\Users\me\ca.crt", r"C:\temp\ca.crt", "C:\\"]
)
def test_a_windows_path_in_double_quotes_is_refused_with_the_cure(write, path):
    file = write(TLS.replace("certs/ca.crt", path))
    with pytest.raises(ConfigError, match="in a path write / or use single quotes") as refusal:
        load(ClientConfig, file)
    assert "\n" not in str(refusal.value)


def test_a_missing_file_a_folder_and_bytes_that_are_no_text_are_one_line(tmp_path):
    with pytest.raises(ConfigError, match="no such file; name one with --config"):
        load(ClientConfig, tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="cannot be read: is a folder"):
        load(ClientConfig, tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not a TOML file"):
        load(ClientConfig, tmp_path / "binary.toml")


@pytest.mark.parametrize("name", ["a\0b", "a\udcff\0"])
def test_a_name_that_no_file_can_have_is_one_line(name):
    with pytest.raises(ConfigError, match="no file can have this name"):
        load(ClientConfig, name)


def test_sections_nest_and_each_resolves_its_own_paths(write, tmp_path):
    class Inner(Section):
        file: Path

    class Outer(Section):
        inner: Inner

    assert load(Outer, write('[inner]\nfile = "x"')).inner.file == tmp_path / "x"
    assert Outer(inner=Inner(file=Path("x"))).inner.file == Path("x")
