"""Run `make test-quick` on several versions of Python, each in a virtual environment of its own.

    python tools/matrix.py 3.11 3.12 3.13

Interpreters are looked for on PATH and among those of pyenv. A version that is not installed is
named and left out; the exit status is 1 if tests failed or no version was found.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def interpreter(version: str) -> str | None:
    """The path of a Python of this version ("3.12") that really starts, or None."""
    on_path = shutil.which(f"python{version}")
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    of_pyenv = sorted(map(str, pyenv.glob(f"versions/{version}.*/bin/python{version}")))
    candidates = [*([on_path] if on_path else []), *reversed(of_pyenv)]
    return next((path for path in candidates if _version(path) == version), None)


def _version(path: str) -> str:
    # A shim of pyenv is on PATH for each version, and fails for those that are not switched on.
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([path, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def passes(version: str, path: str) -> bool:
    """Install into .venv-VERSION and run the quick tests. Did they pass?"""
    print(f"== Python {version}: {path}", flush=True)
    command = ["make", f"VENV=.venv-{version}", f"PYTHON={path}", "test-quick"]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def main(versions: list[str]) -> int:
    """Test on each version that is here, then say what was and what was not."""
    here = {version: path for version in versions if (path := interpreter(version))}
    passed = {version: passes(version, path) for version, path in here.items()}
    missing = [version for version in versions if version not in here]
    for version, did_pass in passed.items():
        print(f"Python {version}: {'passed' if did_pass else 'FAILED'}")
    if missing:
        print(f"not installed here, and not tested: {', '.join(missing)}")
    return 0 if passed and all(passed.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
