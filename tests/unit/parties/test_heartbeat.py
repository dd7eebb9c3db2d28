"""A worker's signs of life, from both ends of their pipe, each in a process of its own."""

import os
import signal
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


# Its standard input is the pipe; nobody writes there for as long as the second argument says.
WATCHING = """
import sys
from parties.party.workers.processes import await_sign
print("watching", flush=True)
print(await_sign(sys.stdin.buffer, float(sys.argv[1])), flush=True)
"""
WORKER = "sleep 1.5; echo"


def watched(allowed_s: float, worker: str, *, frozen: bool) -> str:
    """What a front end says of a worker of which it hears through a pipe."""
    reads, writes = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", WATCHING, str(allowed_s)],
        stdin=reads, stdout=subprocess.PIPE, text=True,
    ) as watcher:  # fmt: skip
        os.close(reads)
        assert watcher.stdout.readline() == "watching\n"
        if frozen:
            watcher.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, watcher.pid, os.WSTOPPED | os.WNOWAIT)
        subprocess.run(worker, shell=True, stdout=writes, check=True)
        watcher.send_signal(signal.SIGCONT)
        said = watcher.stdout.readline().strip()
        os.close(writes)
    return said


def test_gameday_a_front_end_that_was_frozen_does_not_call_its_worker_silent():
    # C-63 on a slow machine: a party that ran again killed its worker first of all.
    assert watched(1, WORKER, frozen=True) == "True"


def test_gameday_a_worker_that_is_silent_is_seen_by_a_front_end_that_runs():
    assert watched(0.6, "true", frozen=False) == "False"
