"""(3) The network edge: TLS, access, statuses, channels and codecs."""

# The one import a package file may have: gRPC reads the floor when it is first imported.
from privedge.rpc import tls_floor as tls_floor
