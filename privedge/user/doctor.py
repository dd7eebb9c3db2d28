"""What is wrong with the access of an owner, client or admin to the two parties, in lines.

Sends no image, no model and no share: it reads this device's files, and what both parties say of
themselves and of their cohorts.
"""

import datetime
import importlib.util
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path

from privedge import extras
from privedge.config import ClientConfig, TlsFiles, load
from privedge.errors import CertificateError, ConfigError, NotAllowed, PrivEdgeError
from privedge.findings import Finding, hint
from privedge.identity.checking import fault_of_end
from privedge.identity.roles import Role
from privedge.ran import onnx_file
from privedge.ran.feature_kinds import Encoder
from privedge.ran.spec import RanSpec
from privedge.rpc.shown import shown_certificate
from privedge.rpc.tls import preflight
from privedge.sharing.known import never_unknown
from privedge.user.party import CohortFacts, connect

_PARTIES = (Role.PARTY0, Role.PARTY1)
# By name, the cohorts of one party.
_Cohorts = Mapping[str, CohortFacts]


def examine(path: Path) -> Iterator[Finding]:
    """Everything that is wrong with a client's file and with what it names.

    Every call has a time limit. The parties are called only with a certificate that is good.
    """
    try:
        config = load(ClientConfig, path)
    except ConfigError as error:
        for line in (str(error), *error.more):
            yield Finding("file", line)
        return
    yield from _places(path, config.tls)
    role, found = _certificate(config)
    if config.party0 == config.party1:
        found.append(Finding("file", f"party0 and party1 are both {config.party0}; one is wrong"))
    yield from found
    if any(each.is_fault for each in found):
        return
    if role is Role.OWNER and importlib.util.find_spec("torch") is None:
        yield hint("packages", "this device cannot train: pip install 'privedge[train]'")
    yield from _parties(config, role)


# --- On this device -------------------------------------------------------------------------------


def _places(path: Path, tls: TlsFiles | None) -> Iterator[Finding]:
    """Whoever can write a file, or in a folder above it, can replace the parties' addresses or
    `ca`. The folders of a link and those of its target both count.
    """
    files = [path, *(() if tls is None else (*tls.trusted, tls.certificate, tls.key))]
    ways = [way for file in files for way in (file.absolute(), Path(os.path.realpath(file)))]
    for place in dict.fromkeys(each for way in ways for each in (way, *way.parents)):
        try:
            there = place.stat()
        except OSError:  # said with the certificate
            continue
        if line := _fault_of_place(there):
            yield Finding("place", f"{place}: {line.format(place=place)}")


def _fault_of_place(there: os.stat_result) -> str:
    """Who else can change a file or folder; empty if nobody can."""
    if not hasattr(os, "geteuid"):  # Windows has other permissions
        return ""
    if there.st_uid not in (os.geteuid(), 0):
        return "belongs to another user, who can change it; keep your files elsewhere"
    # In a folder with the sticky bit, such as /tmp, nobody can replace what is another user's.
    if stat.S_ISDIR(there.st_mode) and there.st_mode & stat.S_ISVTX:
        return ""
    if there.st_mode & stat.S_IWOTH:
        return "everybody can write there; run `chmod o-w {place}`"
    if there.st_mode & stat.S_IWGRP and not _is_own(there.st_gid):
        return "its group can write there; run `chmod g-w {place}`"
    return ""


def _is_own(group: int) -> bool:
    """Whether nobody but this user and root is in a group. Many systems give each user one."""
    import grp  # neither is there on Windows
    import pwd

    try:
        me, found = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except KeyError:
        return False
    alone = set(found.gr_mem) <= {me.pw_name, "root"}
    return alone and (group == 0 or (group == me.pw_gid and found.gr_name == me.pw_name))


def _certificate(config: ClientConfig) -> tuple[Role | None, list[Finding]]:
    """Whose certificate it is, and what is wrong with it."""
    if config.tls is None:
        return None, [hint("tls", "insecure_loopback = true: nothing is encrypted or proved")]
    try:
        found = preflight(config.tls)
    except (CertificateError, ConfigError, OSError) as error:
        return None, [Finding("tls", str(error))]
    role, own = found.identity.role, config.tls.certificate
    if role.serves:
        line = f"{own}: is for the role {role}; use one of an owner, client or admin"
        return role, [Finding("tls", line)]
    line = fault_of_end(own, found.ends, datetime.datetime.now(datetime.UTC))
    return role, [Finding("tls", line)] if line else []


# --- At the parties -------------------------------------------------------------------------------


def _parties(config: ClientConfig, role: Role | None) -> Iterator[Finding]:
    """What both parties say. `role`: of the certificate, None without one."""
    heard: list[_Cohorts] = []
    refused: list[Finding] = []
    for party in _PARTIES:
        yield from _ask(config, party, heard, refused)
    # Each operator's admins may call that operator's party only.
    if role is Role.ADMIN and len(refused) < len(_PARTIES):
        right = "this is right if you are the other operator's admin"
        refused = [hint(each.about, f"{each.line}; {right}") for each in refused]
    yield from refused
    if len(heard) == len(_PARTIES):
        yield from _compare(*heard)
        yield from _encoders(config, heard[0])
        yield from _keys(config)


def _ask(
    config: ClientConfig, role: Role, heard: list[_Cohorts], refused: list[Finding]
) -> Iterator[Finding]:
    """Ask one party. Adds what it says of its cohorts to `heard`, or its refusal to `refused`."""
    try:
        # A party that is away is said to be away, and not called again and again.
        with connect(config.model_copy(update={"retries": 0}), role) as party:
            for line in party.about().faults(computes=False):
                yield Finding(role.value, f"{party.name} disagrees on {line}")
            cohorts = {name: party.facts_of(name) for name in party.cohorts()}
    except NotAllowed as error:
        refused.append(Finding(role.value, str(error)))
        return
    except PrivEdgeError as error:
        yield Finding(role.value, str(error))
        return
    heard.append(cohorts)


def _compare(first: _Cohorts, second: _Cohorts) -> Iterator[Finding]:
    for name in sorted({*first, *second}):
        if name not in first or name not in second:
            party = int(name in second)
            line = f"cohort {name}: only party {party} has it; tell both operators"
            yield Finding("cohorts", line)
            continue
        one, other = first[name], second[name]
        differing = [
            each.name
            for each in fields(CohortFacts)
            if getattr(one, each.name) != getattr(other, each.name)
        ]
        if differing:
            yield Finding(
                "cohorts",
                f"cohort {name}: the parties differ in {', '.join(differing)}; try again in a "
                "moment, and tell both operators if it stays so",
            )
            continue
        if reason := never_unknown(one.margin, one.owners, one.rivals[0]):
            yield hint("cohorts", f"cohort {name} never answers unknown: {reason}")


def _encoders(config: ClientConfig, cohorts: _Cohorts) -> Iterator[Finding]:
    """Whether this device has what cohorts with a public encoder need."""
    needed = {
        name: kind.sha256
        for name, facts in sorted(cohorts.items())
        if isinstance(facts.architecture, RanSpec)
        and isinstance(kind := facts.architecture.features, Encoder)
    }
    if any(importlib.util.find_spec(package) is None for package in extras.FOR_ENCODERS):
        for name in needed:
            yield hint("packages", f"cohort {name} needs: pip install 'privedge[encoder]'")
    if config.encoder is None:
        for name, sha256 in needed.items():
            line = (
                f"cohort {name} needs the encoder with the SHA-256 {sha256}: name it in `encoder`"
            )
            yield hint("encoder", f"{line} of this file, or with --encoder")
        return
    try:
        found = onnx_file.digest(config.encoder)
    except ConfigError as error:
        yield Finding("encoder", str(error))
        return
    # One file may be for one cohort, and --encoder for another.
    say = hint if found in needed.values() else Finding
    for name, sha256 in needed.items():
        if sha256 != found:
            line = f"cohort {name} needs the encoder with the SHA-256 {sha256}"
            yield say("encoder", f"{line}, and that of {config.encoder} is {found}")


def _keys(config: ClientConfig) -> Iterator[Finding]:
    """Two parties with one key are one operator's, or one operator has given a key away."""
    if config.tls is None:
        return
    first = shown_certificate(config.party0, Role.PARTY0, config.tls)
    second = shown_certificate(config.party1, Role.PARTY1, config.tls)
    if first and second and first.public_key() == second.public_key():
        line = "both parties use the same private key; ask them nothing, and tell both operators"
        yield Finding("keys", line)
