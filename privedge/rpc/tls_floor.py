"""Enforce TLS 1.3 in gRPC for Python, which has no option for it.

gRPC does read the list of TLS 1.2 cipher suites from its environment. The list gets one suite,
which needs an RSA certificate. Our certificates are all ECDSA (identity/certificates.py refuses
others), so no TLS 1.2 handshake can ever agree on that suite, at either end. TLS 1.3 has its own
suites, which the list does not affect.

gRPC reads the variable once, when it is imported. So this module must run first. The package
privedge ensures that, and `in_force` tells rpc/tls.py whether it ran in time.
"""

import os
import sys

VARIABLE = "GRPC_SSL_CIPHER_SUITES"
SUITES = "AES128-GCM-SHA256"

in_force = "grpc" not in sys.modules or os.environ.get(VARIABLE) == SUITES

os.environ[VARIABLE] = SUITES
