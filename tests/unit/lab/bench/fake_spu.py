"""In place of SPU's environment: an interpreter that answers as party.py does. Small processes,
but real ones.
"""

import stat
import sys
from pathlib import Path

from privedge_lab.bench.spu import environment

# What a process says to each query, as an expression of `rank` and `number`.
ANSWER = '{"owners": [0], "d": [[0.5, 0.25 + number]], "seconds": 2.0 + rank, "bytes": 600}'

_SAYS = """
import json, sys
if sys.argv[1] == "-c":
    print("{version}")
    sys.exit()
program, protocol, rank, folder, *hosts = sys.argv[1:]
rank = int(rank)
assert program.endswith("party.py") and protocol in ("CHEETAH", "SEMI2K") and len(hosts) == 2
print(json.dumps({{"ready": True}}), flush=True)
for line in sys.stdin:
    number = json.loads(line)
    said = {answer}
    print(said if isinstance(said, str) else json.dumps(said), flush=True)
"""


def spu_in(folder: Path, answer: str = ANSWER, version: str = environment.VERSION) -> Path:
    """Make it in `folder`, which is returned."""
    (folder / "bin").mkdir(parents=True)
    (folder / "says.py").write_text(_SAYS.format(answer=answer, version=version))
    python = environment.python_in(folder)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{folder / "says.py"}" "$@"\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return folder
