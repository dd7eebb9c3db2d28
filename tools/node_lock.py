"""Write clients/node/package-lock.json anew, so that it names no host.

    python tools/node_lock.py

npm notes where it found each package and where its authors take gifts. Neither belongs here:
versions and digests say what is installed, and each machine knows its own registry.
"""

import json
import subprocess
import sys
from pathlib import Path

NODE = Path(__file__).resolve().parents[1] / "clients" / "node"
_NAMES_HOSTS = ("resolved", "funding")


def main() -> int:
    """Do what the module docstring says; return the exit status."""
    resolve = ["npm", "install", "--package-lock-only", "--omit-lockfile-registry-resolved"]
    subprocess.run(resolve, cwd=NODE, check=True)
    file = NODE / "package-lock.json"
    lock = json.loads(file.read_text())
    for package in lock["packages"].values():
        for key in _NAMES_HOSTS:
            package.pop(key, None)
    file.write_text(json.dumps(lock, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
