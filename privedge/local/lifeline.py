"""Stop the servers once the command that started them has ended, even if it was killed.

    python -m privedge.local.lifeline FOLDER

Standard input is a pipe from that command. If the pipe ends without the word KEEP, the servers are
stopped. Sees process ids only.
"""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from privedge.errors import PrivEdgeError
from privedge.local import processes

KEEP = b"keep\n"


def start(folder: Path) -> subprocess.Popen[bytes]:
    """Start a lifeline for the servers of `folder`. Its standard input is the pipe to it."""
    return subprocess.Popen(
        [sys.executable, "-m", "privedge.local.lifeline", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # A Ctrl-C that ends the command must not end the lifeline.
        start_new_session=True,
    )


def release(lifeline: subprocess.Popen[bytes], word: bytes = b"") -> None:
    """Send `word` to the lifeline, close the pipe, and wait for it to end."""
    with suppress(BrokenPipeError):
        lifeline.communicate(word)


def main() -> None:
    """Wait for the command's word or its end; then stop the servers unless they are kept."""
    if sys.stdin.buffer.readline() == KEEP:
        return
    folder = Path(sys.argv[1])
    # If another command has started meanwhile, it has found the servers and now controls them.
    with suppress(PrivEdgeError), processes.this_command(folder):
        processes.stop_servers(folder)


if __name__ == "__main__":
    main()
