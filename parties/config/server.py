"""What every server's file has. Read once at startup, frozen; unknown keys are refused.

Read a file with `privedge.config.load(PartyConfig, path)`. Relative paths start at its folder.
parties/samples/ holds one file of each kind. There are no secret values: keys are named by file.
"""

import logging
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from privedge.config import Address, Section, TlsFiles, TracesSection
from privedge.errors import ConfigError
from privedge.identity.roles import NAME
from privedge.rpc import loopback
from privedge.rpc.access import CallerRules

log = logging.getLogger(__name__)


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError(f"{text!r} is no name of a certificate; write `kim`, not its URI")
    return text


AdminName = Annotated[str, AfterValidator(_name)]


class MetricsSection(Section):
    """Where Prometheus reads this server's metrics (docs/how-to/monitor.md)."""

    listen: Address | None = Field(
        default=None,
        description="Where the metrics are served, at `/metrics`; nowhere if absent. On a loopback "
        "address anyone on this machine may read them, without TLS. On any other address they are "
        "served over TLS 1.3 with this server's certificate, and only `readers` and `admins` may "
        "read them.",
    )
    readers: tuple[AdminName, ...] = Field(
        default=(),
        description="Names of admins, as in their certificates, who may read the metrics and "
        "nothing else of this server, unless they are in `admins` too. For Prometheus.",
    )

    @model_validator(mode="after")
    def _served(self) -> Self:
        if self.readers and self.listen is None:
            raise ValueError("readers are named, but no address; give `listen` too")
        return self


class ServerConfig(Section):
    """The keys that every server's file has."""

    listen: Address = Field(description="Where this server listens.")
    tls: TlsFiles | None = Field(
        default=None, description="Certificate files; needed unless `insecure_loopback` is true."
    )
    insecure_loopback: bool = Field(
        default=False,
        description="Plain text, for a test on one machine: refuses any address that is not "
        "loopback. Needs `--insecure-loopback` on the command line too.",
    )

    admins: tuple[AdminName, ...] = Field(
        default=(),
        description="Names of the admins of this server, as in their certificates. Other admins "
        "are refused.",
    )
    denied: Path | None = Field(
        default=None,
        description="A file of callers that are refused, although their certificates are good: one "
        "`spiffe://privedge/ROLE/NAME`, or serial number in hexadecimal, a line. It is read again "
        "when it changes (docs/how-to/certificates.md).",
    )

    log_format: Literal["text", "json"] = Field(
        default="text",
        description="`json`: one JSON object a line, for programs that collect logs.",
    )
    metrics: MetricsSection = MetricsSection()
    traces: TracesSection = TracesSection()

    @property
    def caller_rules(self) -> CallerRules:
        """Whom this server refuses beside what TLS and roles say."""
        return CallerRules(frozenset(self.admins), self.denied)

    @property
    def metrics_rules(self) -> CallerRules:
        """Whom the port of the metrics refuses, likewise."""
        return CallerRules(frozenset((*self.admins, *self.metrics.readers)), self.denied)

    def _addresses(self) -> list[str]:
        return [each for each in (self.listen, self.metrics.listen) if each is not None]

    @model_validator(mode="after")
    def _protected(self) -> Self:
        if self.insecure_loopback == (self.tls is not None):
            raise ValueError("give either [tls] or insecure_loopback = true")
        if self.insecure_loopback:
            for address in self._addresses():
                _require_loopback(address)
        return self


def _require_loopback(address: str) -> None:
    try:
        loopback.require(address)
    except ConfigError as error:
        raise ValueError(str(error)) from None


def require_said_twice(config: ServerConfig, path: Path, insecure: bool) -> None:
    """Raise ConfigError unless file and command line agree on plain text.

    Both must ask for it, so that nobody turns TLS off by mistake in one of them.
    """
    if config.insecure_loopback and not insecure:
        raise ConfigError(f"{path}: insecure_loopback also needs --insecure-loopback; use [tls]")
    if insecure and not config.insecure_loopback:
        raise ConfigError(f"{path}: --insecure-loopback also needs insecure_loopback = true")
    if insecure:
        log.warning("NO TLS: anyone who reaches this port can claim any name")
