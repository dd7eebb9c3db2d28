"""Stop the servers once the command that started them is gone, even if it was killed.

    python -m privedge.local.lifeline FOLDER

Standard input is a pipe from that command. KEEP on it lets the servers live; its end without that
word stops them. Sees process ids only.
"""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from privedge.errors import PrivEdgeError
from privedge.local import processes

KEEP = b"keep\n"


def start(folder: Path) -> subprocess.Popen[bytes]:
    """A lifeline for what will run in `folder`; its standard input is this process's end."""
    return subprocess.Popen(
        [sys.executable, "-m", "privedge.local.lifeline", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # It must outlive what ends the command, such as a Ctrl-C.
        start_new_session=True,
    )


def release(lifeline: subprocess.Popen[bytes], word: bytes = b"") -> None:
    """Say the last word and wait for it to end."""
    with suppress(BrokenPipeError):
        lifeline.communicate(word)


def main() -> None:
    """Wait for the command's last word, or its end."""
    if sys.stdin.buffer.readline() == KEEP:
        return
    folder = Path(sys.argv[1])
    # Another command that has begun meanwhile found the servers and answers for them now.
    with suppress(PrivEdgeError), processes.this_command(folder):
        processes.stop_servers(folder)


if __name__ == "__main__":
    main()
