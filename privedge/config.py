"""Configuration: one TOML file, read once at startup into a frozen model. Sees paths, no secrets.

Every model derives from `Section`: it is frozen, refuses unknown keys, and resolves a relative
`Path` against the folder of its file (`~` is the home folder). The folder is passed in pydantic's
validation context, so a `Section` built in code keeps its paths unchanged.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from privedge import regular_file
from privedge.errors import ConfigError, PrivEdgeError

ModelT = TypeVar("ModelT", bound=BaseModel)

# The path of a file, wherever a person gives one.
StrPath = str | os.PathLike[str]

_HOST_AND_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
LAST_PORT = 65535

# Between double quotes \ begins an escape, so TOML has no "certs\ca.crt".
_SLASH = "in a path write / or use single quotes"


def _addressed(text: str) -> str:
    match = _HOST_AND_PORT.fullmatch(text)
    # gRPC would reduce a larger port modulo 65536.
    if match is None or int(match[1]) > LAST_PORT:
        raise ValueError(f"must be HOST:PORT with a port up to {LAST_PORT}, not {text!r}")
    return text


Integrity = Literal["none", "canaries:0", "canaries:1", "canaries:3", "canaries:7"]

# HOST:PORT, with brackets around an IPv6 address. A scheme is refused, because gRPC would follow
# `dns:` or `unix:`.
Address = Annotated[str, AfterValidator(_addressed)]


class Section(BaseModel):
    """One table of a configuration file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _named(cls, value: Any, info: ValidationInfo) -> Any:
        # As a Path it would be the folder of the configuration file.
        kind = cls.model_fields[info.field_name or ""].annotation
        if value == "" and Path in (kind, *get_args(kind)):
            raise ValueError("the name of the file or folder is empty")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _resolve(cls, value: Any, info: ValidationInfo) -> Any:
        # "C:\temp" between double quotes is valid TOML, for a name with a tab in it.
        if isinstance(value, Path) and any(ord(letter) < ord(" ") for letter in str(value)):
            raise ValueError(f"has a control character; {_SLASH}")
        if isinstance(value, Path) and info.context:
            folder: Path = info.context["folder"]
            try:
                return folder / value.expanduser()
            except RuntimeError:  # the home folder of a user that this machine does not have
                raise ValueError(f"{value}: there is no such home folder") from None
        return value


class TlsPins(Section):
    """Who may vouch for a role, in place of `ca`: a file for each role that has one.

    A file holds the certificates of that role's own authority, or the server's own certificate.
    Whoever else is trusted by `ca` can then not pose as that server.
    """

    party0: Path | None = Field(default=None, description="For party 0.")
    party1: Path | None = Field(default=None, description="For party 1.")
    dealer: Path | None = Field(default=None, description="For the dealer.")
    split: Path | None = Field(default=None, description="For the split server.")
    admin: Path | None = Field(default=None, description="For the admins of this server.")


class TlsFiles(Section):
    """The files of one process: its authority, its own certificate and its key (all PEM)."""

    ca: Path = Field(
        description="The authority's certificate, or those of several authorities in one file."
    )
    certificate: Path = Field(
        description="This process's certificate: its role and name. Certificates of intermediate "
        "authorities follow it in the same file."
    )
    key: Path = Field(
        description="The certificate's key, readable by this user only (mode 0600). If root owns "
        "it, its group may read it too (0640)."
    )
    pins: TlsPins = TlsPins()

    def vouching_for(self, role: str) -> Path:
        """Return the file of whoever may issue a certificate for `role`."""
        pinned: Path | None = getattr(self.pins, role, None)
        return pinned or self.ca

    @property
    def trusted(self) -> tuple[Path, ...]:
        """`ca` and every pin."""
        pins = (getattr(self.pins, name) for name in TlsPins.model_fields)
        return (self.ca, *(path for path in pins if path is not None))


class TracesSection(Section):
    """Where this process sends traces (docs/how-to/monitor.md)."""

    endpoint: str | None = Field(
        default=None,
        pattern="^https?://[^ ]+$",
        description="The URL of an OpenTelemetry collector that takes OTLP over HTTP, such as "
        "`http://127.0.0.1:4318/v1/traces`; nothing is sent if absent. Needs `privedge[otel]`.",
    )
    share: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="The part of all queries that is traced, by the id of the trace. Each party "
        "begins traces of its own, and the dealer traces with those of both.",
    )


class CallerConfig(Section):
    """Who calls and how long a call may last, but not which server is called.

    Either `tls` is set, or `insecure_loopback = true` with a `role` and `name` to claim without
    proof. The second form works only on this machine.
    """

    tls: TlsFiles | None = Field(
        default=None, description="Certificate files; needed unless `insecure_loopback` is true."
    )
    insecure_loopback: bool = Field(
        default=False, description="Plain text, for a test on one machine. Protects nothing."
    )
    role: str | None = Field(
        default=None, description="With `insecure_loopback` only: the role to claim."
    )
    name: str | None = Field(
        default=None, description="With `insecure_loopback` only: the name to claim."
    )
    rpc_timeout_s: float = Field(
        default=60.0, gt=0, le=3600, description="The longest that one call may last, in seconds."
    )

    traces: TracesSection = TracesSection()

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if self.insecure_loopback == (self.tls is not None):
            raise ValueError("give either a [tls] table or insecure_loopback = true")
        claims = self.role is not None and self.name is not None
        if self.insecure_loopback and not claims:
            raise ValueError("insecure_loopback = true needs role and name")
        if self.tls is not None and (self.role is not None or self.name is not None):
            raise ValueError("role and name come from the certificate; remove them")
        return self


class ClientConfig(CallerConfig):
    """How owners, clients and admins reach the two parties (`--config`, ./privedge.toml).

    Attributes:
        party0, party1: the parties' addresses, HOST:PORT.
        tls: the files `ca`, `certificate` and `key`; the certificate says who calls.
        insecure_loopback, role, name: an unprotected claim in place of `tls`, on this machine only.
        rpc_timeout_s: the longest that a call may last, in seconds; 60 by default.
        retries: how often a call is made again that a party was too busy for; 4 by default.
        encoder: the ONNX file of the public encoder, for cohorts that have one.
        detector: the ONNX file that finds faces, for cohorts of faces.
        integrity: "none", or "canaries:N" with N of 0, 1, 3 or 7: how many rows with known answers
            go with each question. If it is left out, `verify` has 3 where they can be made.
        evidence: the folder for what is kept when a canary comes back wrong.

    Example:
        config = ClientConfig(
            party0="party0.example.org:7000",
            party1="party1.example.org:7001",
            tls={"ca": "ca.crt", "certificate": "client-me.crt", "key": "client-me.key"},
        )
    """

    party0: Address = Field(description="The address of party 0.")
    party1: Address = Field(description="The address of party 1.")
    retries: int = Field(
        default=4,
        ge=0,
        le=100,
        description="How often a call is made again that a party was too busy for, after growing "
        "pauses; a query gets a fresh id. A call that lost its connection is made again twice at "
        "most. All tries together last no longer than `rpc_timeout_s`.",
    )
    encoder: Path | None = Field(
        default=None,
        description="The ONNX file of the public encoder, for cohorts that have one. It is checked "
        "against the cohort's SHA-256.",
    )
    detector: Path | None = Field(
        default=None,
        description="The ONNX file that finds faces, for cohorts of faces. It is checked as the "
        "encoder is.",
    )
    integrity: Integrity | None = Field(
        default=None,
        description="How many rows with known answers go with each question, by which a party or "
        "dealer that changes answers is noticed (docs/how-to/canaries.md). They count as rows. If "
        "it is left out, `verify` has 3 where they can be made, and `identify` none.",
    )
    evidence: Path | None = Field(
        default=None,
        description="The folder for what is kept when such a row comes back wrong; by default the "
        "one in which the program runs.",
    )


def as_path(given: object, error: type[PrivEdgeError] = ConfigError) -> Path:
    """Return the path of a file that a caller of the library names. Raises `error` for anything
    that cannot be the name of a file.
    """
    if not isinstance(given, str | os.PathLike) or isinstance(os.fspath(given), bytes):
        raise error(f"a file: must be given as text or a Path, not as {type(given).__name__}")
    if not os.fspath(given) or "\0" in str(os.fspath(given)):
        raise error(f"{os.fspath(given)!a}: no file can have this name")
    return Path(given)


def load(kind: type[ModelT], path: StrPath) -> ModelT:
    """Read `path` as TOML (UTF-8, with or without a byte order mark) into `kind`.

    Raises ConfigError, one line "FILE: field: why", for the first thing that is wrong with it; its
    `more` has such a line for every other.
    """
    path = as_path(path)
    fields = read_toml(path)
    try:
        return kind.model_validate(fields, context={"folder": path.resolve().parent})
    except ValidationError as error:
        raise ConfigError(*(f"{path}: {why}" for why in _whys(error))) from None


def read_toml(path: Path) -> dict[str, Any]:
    """Read `path` as TOML (UTF-8, with or without a byte order mark). Raises ConfigError."""
    try:
        text = regular_file.read(path).decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; name one with --config") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a TOML file: {error}; save it as UTF-8") from None
    except ValueError:
        raise ConfigError(f"{str(path)!a}: no file can have this name") from None
    return _parsed(text, path)


def _parsed(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{path}: not a TOML file: nested too deep") from None
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        faulty = text.split("\n")[int(line[1]) - 1] if line else text
        cure = f"; {_SLASH}" if "\\" in faulty else ""
        raise ConfigError(f"{path}: not a TOML file: {error}{cure}") from None


def _whys(error: ValidationError) -> list[str]:
    faults = error.errors(include_url=False, include_input=False)
    # An entry with a fault is not counted, so a list of one would be said to be empty too.
    within = {fault["loc"][:1] for fault in faults if len(fault["loc"]) > 1}
    counted = [
        fault for fault in faults if fault["type"] != "too_short" or fault["loc"] not in within
    ]
    return list(map(_why, counted))


_REASONS = {
    "extra_forbidden": "unknown key",
    "missing": "missing",
    "tuple_type": 'must be a list, as in ["one", "two"]',
    "too_short": "must have an entry",
    "path_type": "must be the name of a file or folder, in quotes",
    "string_type": "must be text, in quotes",
}


def _why(fault: Mapping[str, Any]) -> str:
    field = ".".join(str(part) for part in fault["loc"])
    reason = _REASONS.get(fault["type"])
    reason = reason or fault["msg"].removeprefix("Value error, ")
    return f"{field}: {reason}" if field else reason
