"""How long a server's certificate is still valid, as a cause of its readiness."""

import datetime

from cryptography import x509

from privedge.config import TlsFiles

_WARN_DAYS = 7


def fault(tls: TlsFiles | None) -> str:
    """Which certificate ends within a week, its own or the authority's; empty if none does.

    Raises OSError. A file that is no certificate is told of when it is used.
    """
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=_WARN_DAYS)
    for path in (tls.certificate, tls.ca) if tls is not None else ():
        try:
            ends = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
        except ValueError:
            return f"{path} holds no certificate"
        if ends < soon:
            return f"{path} ends on {ends:%Y-%m-%d %H:%M} UTC; renew it"
    return ""
