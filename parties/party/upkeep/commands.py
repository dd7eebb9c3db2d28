"""The commands that look after a party's state: their arguments, and what they print."""

import argparse
import json
import os
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from parties.at_rest.vault import Vault
from parties.config.party import PartyConfig
from privedge.config import load

NAMES = ("backup", "restore", "verify", "adopt", "audit", "keys", "refresh", "telemetry")
# A registry that has reached the highest epoch can change no more, and none can be lowered.
_HIGHEST_ABOVE = 1 << 60
_ABOVE = "raise the epoch above EPOCH, which the other party has seen and its log names"


def add_to(commands: "argparse._SubParsersAction[Any]") -> None:
    """Declare the commands."""
    backup = _command(commands, "backup", "copy a party's registry and shares; it may be running")
    backup.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="a new folder")
    restore = _command(commands, "restore", "put a backup into an empty state folder")
    restore.add_argument("--from", type=Path, required=True, metavar="FOLDER", dest="source",
                         help="a backup")  # fmt: skip
    restore.add_argument("--above", type=_epoch, metavar="EPOCH", help=_ABOVE)
    _add_spending(restore, required=True)
    verify = _command(commands, "verify", "check a registry and every share; one line for a fault")
    verify.add_argument("--backup", type=Path, metavar="FOLDER",
                        help="check this backup and not the state folder")  # fmt: skip
    adopt = _command(commands, "adopt", "let a party start on what it refuses to start on")
    adopt.add_argument("--register", type=Path, metavar="SQLITE",
                       help="take shares that the registry never had over from another registry, "
                       "such as a backup's")  # fmt: skip
    adopt.add_argument("--trash", action="store_true",
                       help="move shares that no registry knows to the trash")  # fmt: skip
    adopt.add_argument("--above", type=_epoch, metavar="EPOCH", help=_ABOVE)
    _add_spending(adopt, required=False)
    _add_audit(commands)
    _add_keys(commands)
    refresh = _command(commands, "refresh", "give both parties new shares of the same models; ask "
                       "it of party 0, which must be running")  # fmt: skip
    refresh.add_argument("--cohort", default="", help="of this one only")
    _add_telemetry(commands)


def _add_spending(command: argparse.ArgumentParser, *, required: bool) -> None:
    spending = command.add_mutually_exclusive_group(required=required)
    spending.add_argument(
        "--forget-spending",
        action="store_true",
        default=None,
        help="what clients spent of their budgets since is not counted here: the other party has "
        "kept its registry, and goes on counting",
    )
    spending.add_argument(
        "--count-as-spent",
        action="store_false",
        default=None,
        dest="forget_spending",
        help="it counts as all that they may have: the other party's registry was put back too. "
        "Clients are answered again once the windows of their budgets have passed",
    )


def _add_keys(commands: "argparse._SubParsersAction[Any]") -> None:
    what = "make or rotate the keys with which a party's shares and salts are encrypted"
    keys = commands.add_parser("keys", help=what, description=f"{what.capitalize()}.")
    actions = keys.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, does in (
        ("create", "make the key ring that [at_rest] key_file names"),
        ("rotate", "add a key, and seal everything with it; the party may be running"),
        ("reseal", "seal with the newest key whatever an older one still holds"),
        ("list", "say for each key how much is sealed with it; never the keys"),
        ("drop", "remove an older key that nothing in `state` needs"),
    ):
        action = _command(actions, name, does)
        if name == "drop":
            action.add_argument("key", metavar="KEY", help="the id of the key, from `keys list`")


def _add_telemetry(commands: "argparse._SubParsersAction[Any]") -> None:
    what = "read the histograms of scores that both parties opened, with noise"
    telemetry = commands.add_parser("telemetry", help=what, description=f"{what.capitalize()}.")
    acts = telemetry.add_subparsers(dest="act", required=True, metavar="ACT")
    show = _command(acts, "show", "print every histogram, oldest first")
    show.add_argument("--cohort", default="", help="of this one only")
    show.add_argument("--json", action="store_true", help="JSON lines")


def run(arguments: argparse.Namespace) -> int:
    """Run one of them; returns the exit status: 1 if a share is damaged. Raises PrivEdgeError."""
    os.umask(0o077)
    config = load(PartyConfig, arguments.config)
    commands = {
        "backup": _backup,
        "restore": _restore,
        "verify": _verify,
        "adopt": _adopt,
        "audit": _audit,
        "keys": _keys,
        "refresh": _refresh,
        "telemetry": _telemetry,
    }
    return commands[arguments.server](config, arguments)


def _add_audit(commands: Any) -> None:
    what = "read a party's audit log; it may be running"
    audit = commands.add_parser("audit", help=what, description=f"{what.capitalize()}.")
    acts = audit.add_subparsers(dest="act", required=True, metavar="ACT")
    verify = _command(acts, "verify", "check every line; one line for a fault")
    verify.add_argument("--peer-heads", type=Path, metavar="FILE",
                        help="what `audit heads` printed at the other party")  # fmt: skip
    verify.add_argument("--first", type=_line, default=1, metavar="NUMBER",
                        help="the first line that is kept here; 1 by default")  # fmt: skip
    _command(acts, "heads", "print the heads of the other party's log, as JSON lines")
    _command(acts, "accept", "record that you know why the other party's log is another one; the "
             "party must be stopped")  # fmt: skip
    show = _command(acts, "show", "print the lines that fit, oldest first")
    show.add_argument("--event", help="only this event, such as upload or queries")
    show.add_argument("--who", metavar="VALUE",
                      help="only lines with this value: a client, owner, model or URI")  # fmt: skip
    show.add_argument(
        "--since", type=_time, metavar="TIME", help="as 2026-01-31 or 2026-01-31T12:00"
    )
    show.add_argument("--json", action="store_true", help="JSON lines")


def _epoch(text: str) -> int:
    return _whole(text, 0, _HIGHEST_ABOVE)


def _line(text: str) -> int:
    return _whole(text, 1, sys.maxsize)


def _whole(text: str, least: int, most: int) -> int:
    try:
        found = int(text)
    except ValueError:
        found = least - 1
    if not least <= found <= most:
        raise argparse.ArgumentTypeError(f"{text}: not a whole number from {least} to {most}")
    return found


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: not a time such as 2026-01-31") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _command(commands: Any, name: str, what: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=what, description=f"{what[0].upper()}{what[1:]}. Reads the party's own file."
    )
    command.add_argument("--config", type=Path, required=True, metavar="FILE", help="TOML")
    return command


# SQLAlchemy is loaded late: it is missing where only a dealer runs.


def _backup(config: PartyConfig, arguments: argparse.Namespace) -> int:
    from parties.party.upkeep.backup import backup

    faults = backup(config, arguments.to)
    return _said(faults, f"{arguments.to}: a backup of party {config.index}")


def _restore(config: PartyConfig, arguments: argparse.Namespace) -> int:
    from parties.party.upkeep.backup import restore

    forget = bool(arguments.forget_spending)
    faults = restore(config, arguments.source, arguments.above, forget_spending=forget)
    return _said(faults, f"{config.state}: party {config.index} as in {arguments.source}")


def _verify(config: PartyConfig, arguments: argparse.Namespace) -> int:
    from parties.party.upkeep.verify import verify, verify_backup

    if arguments.backup is not None:
        faults = verify_backup(arguments.backup, Vault.of(config))
        return _said(faults, f"{arguments.backup}: a whole backup", only_if_whole=True)
    done = f"{config.state}: registry and shares are whole"
    return _said(verify(config), done, only_if_whole=True)


def _adopt(config: PartyConfig, arguments: argparse.Namespace) -> int:
    from parties.party.upkeep.adopt import Wish, adopt

    wish = Wish(arguments.register, arguments.trash, arguments.above, arguments.forget_spending)
    sys.stdout.write("".join(f"{line}\n" for line in adopt(config, wish)))
    return 0


def _audit(config: PartyConfig, arguments: argparse.Namespace) -> int:
    from parties.party.audit import reading
    from parties.party.audit.files import FOLDER

    folder = config.state / FOLDER
    if arguments.act == "accept":
        from parties.party.upkeep.accept import accept_peer_log

        accept_peer_log(config)
        return _said((), f"{folder}: recorded; start the party")
    if arguments.act == "verify":
        faults = reading.verify(folder, arguments.peer_heads, arguments.first)
        whole = f"{folder}: every line is as it was written"
        if arguments.peer_heads is None:
            whole += "; whether lines are missing at the end, --peer-heads tells"
        return _said(faults, whole, only_if_whole=True)
    if arguments.act == "heads":
        lines = reading.heads(folder)
    else:
        found = reading.shown(
            folder, event=arguments.event, who=arguments.who, since=arguments.since
        )
        lines = (json.dumps(each) if arguments.json else reading.as_text(each) for each in found)
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0


def _keys(config: PartyConfig, arguments: argparse.Namespace) -> int:
    from parties.party.upkeep import keys

    if arguments.action == "list":
        *older, newest = keys.used(config).items()
        for key, (files, salts) in (*older, newest):
            newer = ", encrypts" if key == newest[0] else ""
            sys.stdout.write(f"{key}: {files} files, {salts} salts{newer}\n")
        return 0
    if arguments.action in ("create", "drop"):
        name = (arguments.key,) if arguments.action == "drop" else ()
        sys.stdout.write(f"{getattr(keys, arguments.action)(config, *name)}\n")
        return 0
    lines = keys.rotate(config) if arguments.action == "rotate" else keys.reseal_all(config)
    done = [lines.pop()] if arguments.action == "rotate" else []
    return _said(lines, *(done or [f"{config.state}: sealed with the newest key"]))


def _refresh(config: PartyConfig, arguments: argparse.Namespace) -> int:
    from parties.party.edge.refresh_call import refresh

    count = refresh(config, arguments.cohort)
    sys.stdout.write(f"{count} models have new shares; back up both parties, each on its own\n")
    return 0


def _telemetry(config: PartyConfig, arguments: argparse.Namespace) -> int:
    from parties.party.upkeep import telemetry

    for found in telemetry.histograms(config.state, arguments.cohort):
        lines = [json.dumps(found)] if arguments.json else [*telemetry.as_text(found), ""]
        sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0


def _said(faults: Iterable[str], done: str, *, only_if_whole: bool = False) -> int:
    """Print each fault as it is found, then what was done."""
    count = 0
    for line in faults:
        count += 1
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    if not (count and only_if_whole):
        sys.stdout.write(f"{done}\n")
    return 1 if count else 0
