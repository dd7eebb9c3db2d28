"""Why a connection was not made, from what gRPC says. Its words are compared, and never shown."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cause:
    """One reason: its name in metrics, how gRPC's text shows it, what is the matter with the other
    side, and the cure.
    """

    name: str
    marks: tuple[str, ...]
    reason: str
    advice: str


# The first that fits counts.
CAUSES: Sequence[Cause] = (
    Cause(
        "refuses_connections",
        ("Connection refused",),
        "refuses connections",
        "check that it is running and that the port is right",
    ),
    Cause(
        "unknown_host",
        ("Domain name not found", "lookup failed", "lookup error"),
        "its host name is unknown",
        "check the address",
    ),
    Cause(
        "expired",
        ("certificate has expired",),
        "its certificate, or one of its authority, has expired",
        "tell its operator to renew it, and check this machine's clock",
    ),
    Cause(
        "not_yet_valid",
        ("certificate is not yet valid",),
        "its certificate is not valid yet",
        "check the clocks of both machines",
    ),
    Cause(
        "untrusted_authority",
        (
            "unable to get local issuer",
            "self signed",
            "self-signed",
            "unable to verify the first",
            # An authority here has the same name and another key.
            "certificate signature failure",
        ),
        "its certificate is of an authority that is not trusted here",
        "compare `ca`, or the pin, with the authority that issued it",
    ),
    Cause(
        "another_server",
        ("Hostname Verification Check failed",),
        "is another server than the one asked for",
        "check the addresses; party 0 and party 1 may be swapped",
    ),
    Cause(
        "wrong_purpose",
        ("unsupported certificate purpose",),
        "its certificate may not be used for this",
        "issue it with the right extended key usage",
    ),
    Cause(
        "no_certificate",
        ("PEER_DID_NOT_RETURN_A_CERTIFICATE",),
        "showed no certificate",
        "give it one",
    ),
    Cause(
        "no_tls_1_3",
        ("NO_SHARED_CIPHER", "PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "HANDSHAKE_FAILURE"),
        "has no TLS 1.3, or a key that is not ECDSA",
        "use a certificate on P-256 and TLS 1.3",
    ),
    Cause(
        "not_tls",
        ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST"),
        "does not speak TLS",
        "check the port, and that both sides have [tls]",
    ),
    Cause(
        "refuses_our_certificate",
        ("ALERT_UNKNOWN_CA", "ALERT_CERTIFICATE", "ALERT_BAD_CERTIFICATE", "ALERT_ACCESS_DENIED"),
        "refuses this side's certificate",
        "compare the authorities that both sides trust",
    ),
)
# Only as a part of an attempt to connect: an open connection may end with the same words.
_REFUSED = Cause(
    "ended",
    ("Socket closed", "Handshake read failed", "Connection reset"),
    "ended the handshake",
    "it may refuse this certificate as expired or of another authority; its log says why",
)
_SILENT = Cause(
    "silent",
    # The last of these: this side closed it, because the handshake took too long.
    ("imeout", "timed out", "No route to host", "unreachable", "Endpoint closing"),
    "does not answer",
    "check the address, the network and firewalls",
)
_DIALLING = "failed to connect to all addresses"


def cause_of(text: str) -> Cause | None:
    """Return the cause that gRPC's `text` tells of a connection or handshake that failed."""
    possible = [*CAUSES, _SILENT, _REFUSED] if _DIALLING in text else CAUSES
    fitting = (cause for cause in possible if any(mark in text for mark in cause.marks))
    return next(fitting, None)
