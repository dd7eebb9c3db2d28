"""Whether a party may start on what it finds: its folder, its registry and its share files. Pure.

docs/adr/0012-state-folder.md has the table of cases.
"""

from collections.abc import Collection
from dataclasses import dataclass

from parties.party.models.folder_identity import FolderIdentity
from privedge.errors import ConfigError

_ADOPT = "`python -m parties adopt --help`"


@dataclass(frozen=True)
class Found:
    """What is there.

    folder: the identity file's; None without one.
    registry: the identity that the registry says it belongs to; None in a new database, and in one
        of a release before there were identities.
    unknown: ids of share files that the registry never had, not even as tombstones.
    """

    folder: FolderIdentity | None
    registry: FolderIdentity | None
    unknown: Collection[str] = ()

    @property
    def older(self) -> bool:
        """Whether the registry may lack what happened since: it is new, older than the folder, or
        of another one.
        """
        if self.folder is None or self.registry is None:
            return self.registry is None and (self.folder is not None or bool(self.unknown))
        same = self.registry.folder == self.folder.folder
        return not same or self.registry.epoch < self.folder.epoch


def require_startable(found: Found, party: int) -> None:
    """Raise ConfigError, in one line that says what to do, if a start could lose anything.

    Returns for a folder and a registry that belong together, and for a first start: neither has an
    identity.
    """
    require_own(found, party)
    folder, registry = found.folder, found.registry
    # An epoch of 0 is a first start that was interrupted.
    first = registry is None and (folder is None or folder.epoch == 0)
    if not first:
        _require_together(folder, registry)
    if found.unknown:
        raise ConfigError(
            f"registry: it never had {_some(found.unknown)} of this state folder; correct "
            f"registry_url or put the newest backup of the registry back, or see {_ADOPT}"
        )


def refusal(found: Found, party: int) -> str | None:
    """The line with which a start is refused; None if it is not."""
    try:
        require_startable(found, party)
    except ConfigError as error:
        return str(error)
    return None


def require_own(found: Found, party: int) -> None:
    """Raise ConfigError if folder or registry are the other party's: never start on those."""
    for what, each in (("state: this folder", found.folder), ("registry: it", found.registry)):
        if each is not None and each.party != party:
            raise ConfigError(
                f"{what} is party {each.party}'s, and `index` is {party}; "
                "give this party its own, and leave the other party's alone"
            )


def _require_together(folder: FolderIdentity | None, registry: FolderIdentity | None) -> None:
    if folder is None:
        raise ConfigError(
            "state: this folder has no identity.json, and the registry belongs to a folder that "
            f"had one; correct `state` or put the file back, or see {_ADOPT}"
        )
    if registry is None:
        raise ConfigError(
            "registry: it is empty or of an older release, and this state folder has been used "
            f"with another one (epoch {folder.epoch}); correct registry_url or put the newest "
            f"backup of the registry back, or see {_ADOPT}"
        )
    if registry.folder != folder.folder:
        raise ConfigError(
            "registry: it belongs to another state folder; correct registry_url or `state`, or see "
            f"{_ADOPT}"
        )
    if registry.epoch < folder.epoch:
        raise ConfigError(
            f"registry: it is older (epoch {registry.epoch}) than this state folder (epoch "
            f"{folder.epoch}); put the newest backup of the registry back, or see {_ADOPT}"
        )


def _some(model_ids: Collection[str]) -> str:
    count = len(model_ids)
    return f"{count} share file{'s' * (count > 1)} ({min(model_ids)}{', ...' * (count > 1)})"
