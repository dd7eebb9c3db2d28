"""Make a state folder and a registry belong together that do not: the way past a refused start.

Only ever on an operator's word. Sees one share of models, as bytes, and this party's salts.
"""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from parties.config.party import PartyConfig
from parties.party.models.disk import Disk
from parties.party.models.encryption import require_keys
from parties.party.models.folder_identity import FolderIdentity, IdentityFile
from parties.party.models.look import Look, live_models, look
from parties.party.models.registry import Epochs
from parties.party.models.share_files import ShareFiles
from parties.party.models.start import Found, refusal, require_own
from parties.party.models.state_folder import (
    found,
    locked,
    open_files,
    open_registry,
    registry_url,
    require_own_shares,
)
from parties.party.models.tables import Model
from parties.party.upkeep.spending import QUESTION, note_spending
from privedge.errors import ConfigError


@dataclass(frozen=True)
class Wish:
    """What the operator wants to happen.

    register: a registry, such as a backup's, that knows share files which this one never had.
    trash: share files that no registry knows go to the trash.
    above: raise the epoch above this one, which the other party has seen.
    forget_spending: what becomes of the budgets of an older registry (spending.py); None if the
        operator has not said.
    """

    register: Path | None = None
    trash: bool = False
    above: int | None = None
    forget_spending: bool | None = None


def adopt(config: PartyConfig, wish: Wish) -> list[str]:
    """Do it, for a party that is stopped; returns a line for each thing done.

    Raises ConfigError, and then nothing has changed, for what is the other party's or another
    deployment's, and for share files that the wish leaves out.
    """
    with locked(config.state):
        files, identity = open_files(config), IdentityFile(config.state)
        folder, seen = identity.read(), look(registry_url(config))
        there = found(folder, seen, files)
        require_own(there, config.index)
        require_keys(config.state, files.vault, seen.some)
        _require_adoptable(config, there, seen, files)
        if wish.above is None and there.registry and refusal(there, config.index) is None:
            return ["nothing to adopt: folder and registry belong together"]
        rows = _registered(config, wish.register, there, files)
        rest = sorted(set(there.unknown) - set(rows))
        if rest and not wish.trash:
            raise ConfigError(
                f"state: {len(rest)} share files are in no registry ({rest[0]}, ...); name one "
                "that has them with --register, or set them aside with --trash"
            )
        older = wish.above is not None or there.older
        if older and wish.forget_spending is None:
            raise ConfigError(QUESTION)
        after = _joined(config.index, there, wish.above)
        if folder is None:
            identity.write(replace(after, epoch=0))
        with closing(open_registry(config, Disk(config.state, config.disk), identity)) as registry:
            peer = 0 if seen.holder is None else seen.holder.peer_epoch
            registry.belong(after.folder, after.party, Epochs(after.deployment, after.epoch, peer))
            if older:
                note_spending(registry, forget=bool(wish.forget_spending))
            for row in rows.values():
                registry.take(row)
            for model_id in rest:
                files.retire(model_id)
            return [
                *(f"model {model_id}: registered" for model_id in sorted(rows)),
                *(f"model {model_id}: its share is in the trash" for model_id in rest),
                f"folder and registry belong together, at epoch {registry.epochs.own}",
            ]


def _require_adoptable(config: PartyConfig, there: Found, seen: Look, files: ShareFiles) -> None:
    require_own_shares(seen.some, files)
    deployments = {each.deployment for each in (there.folder, there.registry) if each} - {""}
    if len(deployments) > 1:
        raise ConfigError(
            "registry: it belongs to another deployment than this state folder; correct "
            "registry_url or `state`"
        )


def _registered(
    config: PartyConfig, registry: Path | None, there: Found, files: ShareFiles
) -> Mapping[str, Model]:
    """By id, the rows of unknown shares in another registry of this party, if they fit."""
    if registry is None:
        return {}
    rows = {row.model_id: row for row in live_models(registry)}
    return {
        model_id: rows[model_id]
        for model_id in there.unknown
        if model_id in rows and files.fault(rows[model_id]) is None
    }


def _joined(party: int, there: Found, above: int | None) -> FolderIdentity:
    """The identity of both from now on; its epoch is higher than any before."""
    known = [each for each in (there.folder, there.registry) if each]
    base = known[0] if known else FolderIdentity.drawn(party)
    deployment = next((each.deployment for each in known if each.deployment), "")
    epoch = max([above or 0, *(each.epoch for each in known)]) + 1
    return replace(base, deployment=deployment, epoch=epoch)
