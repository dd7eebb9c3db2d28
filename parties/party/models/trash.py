"""Share files that are no longer wanted, until their waiting time is over.

    trash/TIME.NAME    a file NAME of shares/, set aside at TIME (microseconds since 1970, UTC)

Moving a file needs no space. It is not synced: the registry decides where a file belongs, and after
a power cut the next start moves it again. Sees one additive share of each model, as bytes that it
never reads.
"""

import logging
import os
import re
import time
from collections.abc import Collection
from pathlib import Path

log = logging.getLogger(__name__)

_DAY_S = 86_400
_SECOND = 1_000_000
_SET_ASIDE = re.compile(r"[0-9]{1,18}\..+")


class Trash:
    """One folder, on the file system of the share folder. The caller keeps calls apart."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder

    def put(self, path: Path) -> None:
        """Set a file aside; nothing happens if it is missing."""
        now = time.time_ns() // 1000
        while (self.folder / f"{now}.{path.name}").exists():
            now += 1
        try:
            path.rename(self.folder / f"{now}.{path.name}")
        except FileNotFoundError:
            return
        log.info("%s: moved to the trash", path.name)

    def take_back(self, path: Path) -> bool:
        """Put the file that was last set aside as `path` there again; whether there was one."""
        waiting = [file for file in self._files() if _name(file) == path.name]
        if not waiting:
            return False
        max(waiting, key=_since).rename(path)
        log.info("%s: taken back from the trash", path.name)
        return True

    def drop(self, name: str) -> None:
        """Remove every file that was set aside under this name."""
        for file in self._files():
            if _name(file) == name:
                file.unlink(missing_ok=True)

    def keep_newest(self, names: Collection[str], count: int) -> None:
        """Remove all but the newest `count` files of these names."""
        of_these = sorted((file for file in self._files() if _name(file) in names), key=_since)
        for file in of_these[: max(len(of_these) - count, 0)]:
            _remove(file)

    def empty(self, days: float, gone: Collection[str], now: float) -> None:
        """Remove what has waited for so many days, and the files of the names `gone`.

        `now`: seconds since 1970, UTC.
        """
        for file in self._files():
            if _since(file) / _SECOND + days * _DAY_S <= now or _name(file) in gone:
                _remove(file)

    def names(self) -> set[str]:
        """Under which names files wait."""
        return {_name(file) for file in self._files()}

    def held(self) -> tuple[int, int]:
        """How many files wait, and their bytes. Raises OSError."""
        with os.scandir(self.folder) as entries:
            sizes = [entry.stat().st_size for entry in entries if _SET_ASIDE.fullmatch(entry.name)]
        return len(sizes), sum(sizes)

    def _files(self) -> list[Path]:
        with os.scandir(self.folder) as entries:
            found = [self.folder / entry.name for entry in entries]
        return [file for file in found if _SET_ASIDE.fullmatch(file.name)]


def _since(file: Path) -> int:
    return int(file.name.partition(".")[0])


def _name(file: Path) -> str:
    return file.name.partition(".")[2]


def _remove(file: Path) -> None:
    file.unlink(missing_ok=True)
    log.info("%s: removed from the trash", _name(file))
