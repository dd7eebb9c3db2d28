"""parties/worker/heartbeat.py, in a process of its own: it takes a descriptor of the process."""

import os
import subprocess
import sys

BEGUN = """
import os, sys
from parties.serving import handshake_log
handshake_log.log_failed_handshakes()
from parties.worker.heartbeat import Heartbeat
Heartbeat()
print(os.path.sameopenfile(1, sys.stderr.fileno()), os.path.sameopenfile(1, 2), flush=True)
"""


def test_what_a_worker_prints_goes_to_standard_error_and_keeps_no_pipe_open():
    # A second writer of that pipe would make the end of each worker wait for its reader.
    # The tests' own process may have said what gRPC is to log; then there would be no pipe.
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    command = [sys.executable, "-c", BEGUN]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (said.stdout, said.stderr) == ("", "True False\n")
