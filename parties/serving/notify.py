"""What systemd is told of a server whose unit has `Type=notify`. Without systemd, nothing is sent.

`NOTIFY_SOCKET` names a Unix datagram socket; a message is lines KEY=VALUE (sd_notify(3)).
"""

import os
import socket
from contextlib import suppress

# systemd reads at once; a server must never wait for it.
_WAIT_S = 1.0


def tell(**values: str) -> None:
    """Send one message, such as `tell(READY="1", STATUS="serving")`.

    Whoever started this process may be gone, and a server goes on without it.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # a name without a file
        address = "\0" + address[1:]
    lines = (f"{key}={' '.join(value.split())}" for key, value in values.items())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, suppress(OSError):
        sender.settimeout(_WAIT_S)
        sender.sendto("\n".join(lines).encode(), address)
