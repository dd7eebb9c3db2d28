"""Which certificate a server shows. gRPC for Python does not tell a caller."""

import contextlib
import socket
import ssl

from cryptography import x509

from privedge.config import TlsFiles
from privedge.identity.roles import Role

_WAIT_S = 5.0


def shown_certificate(address: str, server: Role, tls: TlsFiles) -> x509.Certificate | None:
    """Return the certificate that `server` shows at `address`, once TLS has found it good.

    None if there is no connection; a call over gRPC says why.
    """
    host, _, port = address.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])  # or the server would log a caller that speaks no gRPC
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a pin may be the certificate itself
    with contextlib.suppress(OSError):  # ssl.SSLError is one
        context.load_verify_locations(tls.vouching_for(server))
        context.load_cert_chain(tls.certificate, tls.key)
        with (
            socket.create_connection((host.strip("[]"), int(port)), _WAIT_S) as plain,
            context.wrap_socket(plain, server_hostname=server.host) as connection,
        ):
            shown = connection.getpeercert(binary_form=True)
            return None if shown is None else x509.load_der_x509_certificate(shown)
    return None
