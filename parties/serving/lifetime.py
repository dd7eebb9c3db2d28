"""How long a server's certificates are still valid, for metrics."""

import datetime
from pathlib import Path

from privedge.config import TlsFiles, TlsPins
from privedge.errors import CertificateError
from privedge.identity.pem_files import read_chain


def ends(tls: TlsFiles | None) -> dict[str, datetime.datetime | None]:
    """When each file is of no more use: "certificate", "ca" and the pins, as "pin_party0".

    The certificate is of use until it or an authority between ends, a file of authorities until the
    last of them does. None for a file that cannot be used.
    """
    return {key: _end(path, last=key != "certificate") for key, path in _files(tls).items()}


def _files(tls: TlsFiles | None) -> dict[str, Path]:
    if tls is None:
        return {}
    pins = {f"pin_{role}": getattr(tls.pins, role) for role in TlsPins.model_fields}
    every = {"certificate": tls.certificate, "ca": tls.ca, **pins}
    return {key: path for key, path in every.items() if path is not None}


def _end(path: Path, *, last: bool) -> datetime.datetime | None:
    try:
        dates = [each.not_valid_after_utc for each in read_chain(path)]
    except CertificateError:
        return None
    return max(dates) if last else min(dates)
