"""Receipts: both parties must have signed them, then and in that role, and every byte counts."""

import datetime
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from privedge.errors import ReceiptError
from privedge.identity.certificates import create_authority, issue
from privedge.identity.pem_files import read_chain, read_key
from privedge.identity.receipts import (
    ACTIVATION,
    DELETION,
    PARTIES,
    Facts,
    SignedReceipt,
    Statement,
    read_receipt,
    sign,
)
from privedge.identity.roles import Identity, Role

MODEL = "0123456789abcdef" * 2
SNAPSHOT = "5a" * 32


def facts(party=Role.PARTY0, **changes):
    return replace(Facts.now(DELETION, MODEL, "ana", "digits", party, SNAPSHOT), **changes)


def a_receipt(tls_for, changes=({}, {}), roles=PARTIES):
    """Signed by `roles`, each of whom states to be the party whose place it is in."""
    stated = [facts(party, **each) for party, each in zip(PARTIES, changes, strict=True)]
    zero, one = (sign(each, tls_for(role)) for each, role in zip(stated, roles, strict=True))
    return SignedReceipt((zero, one))


@pytest.fixture(scope="module")
def vouching(tls_for):
    return {party: tls_for(party).ca for party in PARTIES}


@pytest.fixture(scope="module")
def text(tls_for):
    return a_receipt(tls_for).to_text()


def test_a_receipt_of_both_parties_is_good_and_survives_its_file(tls_for, vouching, tmp_path):
    receipt = a_receipt(tls_for)
    receipt.verify(vouching)
    path = tmp_path / "receipt.json"
    path.write_text(receipt.to_text())
    read = read_receipt(path)
    assert read == receipt
    read.verify(vouching)
    assert (read.facts.model, read.facts.owner, read.facts.cohort) == (MODEL, "ana", "digits")


def test_no_byte_of_a_receipt_can_be_changed(text, vouching):
    """Each byte in turn, into another character of the same kind where there is one."""
    whole = text.encode()
    for place, byte in enumerate(whole):
        character = chr(byte)
        for other in {chr(byte ^ 1), "0" if character != "0" else "1", character.swapcase()}:
            if other == character:
                continue
            changed = (whole[:place] + other.encode() + whole[place + 1 :]).decode()
            with pytest.raises(ReceiptError):
                SignedReceipt.from_text(changed).verify(vouching)


@given(st.data())
def test_nothing_can_be_added_or_cut_off(text, vouching, data):
    place = data.draw(st.integers(0, len(text)))
    more = data.draw(st.text(st.characters(codec="ascii"), min_size=1, max_size=4))
    changed = data.draw(st.sampled_from([text[:place], text[:place] + more + text[place:]]))
    if changed != text:
        with pytest.raises(ReceiptError):
            SignedReceipt.from_text(changed).verify(vouching)


@given(st.text() | st.sampled_from(["[]", "{}", "null", '{"privedge_receipt": 1}', "[" * 99999]))
def test_what_is_no_receipt_is_refused_in_one_way(found):
    with pytest.raises(ReceiptError):
        SignedReceipt.from_text(found)
    with pytest.raises(ReceiptError):
        Facts.from_json(found)


@pytest.mark.parametrize(
    ("roles", "why"),
    [
        ((Role.PARTY1, Role.PARTY1), "party 0: signed as"),
        ((Role.PARTY0, Role.PARTY0), "party 1: signed as"),
        ((Role.PARTY0, Role.DEALER), "party 1: signed as"),
        ((Role.OWNER, Role.PARTY1), "party 0: signed as"),
    ],
)
def test_a_statement_of_somebody_else_is_refused(tls_for, vouching, roles, why):
    with pytest.raises(ReceiptError, match=why):
        a_receipt(tls_for, roles=roles).verify(vouching)


@pytest.mark.parametrize(("event", "model"), [(ACTIVATION, MODEL), (DELETION, "f" * 32)])
def test_a_receipt_of_something_else_than_was_asked_for_is_refused(tls_for, vouching, event, model):
    statements = a_receipt(tls_for).statements
    assert SignedReceipt.of(statements, DELETION, MODEL, vouching)
    assert SignedReceipt.of((statements[0], None), DELETION, MODEL, vouching) is None
    with pytest.raises(ReceiptError, match="something else"):
        SignedReceipt.of(statements, event, model, vouching)


def test_statements_at_the_wrong_place_are_refused(tls_for, vouching):
    receipt = a_receipt(tls_for)
    with pytest.raises(ReceiptError, match="party 0: states it as party1"):
        SignedReceipt(receipt.statements[::-1]).verify(vouching)


@pytest.mark.parametrize("field", ["model", "owner", "cohort", "event"])
def test_statements_about_different_things_are_refused(tls_for, vouching, field):
    other = ACTIVATION if field == "event" else "f" * 32
    with pytest.raises(ReceiptError, match="state different things"):
        a_receipt(tls_for, ({}, {field: other})).verify(vouching)


def test_a_certificate_of_another_authority_is_refused(tls_for, another_authority, vouching):
    foreign = sign(facts(Role.PARTY1), another_authority(Role.PARTY1))
    receipt = SignedReceipt((a_receipt(tls_for).statements[0], foreign))
    with pytest.raises(ReceiptError, match="party 1: no authority in"):
        receipt.verify(vouching)


def at(**ago):
    when = datetime.datetime.now(datetime.UTC) + datetime.timedelta(**ago)
    return {"time": when.strftime("%Y-%m-%dT%H:%M:%SZ")}


@pytest.mark.parametrize(
    ("when", "why"),
    [
        (at(hours=1), "party 1: its time lies ahead"),
        (at(days=-2), "party 1: no authority in"),  # the certificate was not valid yet
        ({"time": "2026-02-30T00:00:00Z"}, "its time is none"),
    ],
)
def test_a_time_outside_of_the_certificate_is_refused(tls_for, vouching, when, why):
    with pytest.raises(ReceiptError, match=why):
        a_receipt(tls_for, ({}, when)).verify(vouching)


def test_a_statement_stays_good_after_its_certificate_has_ended(tmp_path):
    """Only the time stated counts."""
    create_authority(tmp_path)
    # Valid from five minutes before now until two minutes before now.
    files = issue(tmp_path, Identity(Role.PARTY0, "party0"), days=-2 / (24 * 60))
    chain = tuple(each.public_bytes(Encoding.DER) for each in read_chain(files.certificate))
    for minutes, good in ((-3, True), (-1, False)):
        unsigned = Statement(facts(**at(minutes=minutes)), chain, b"")
        signature = read_key(files.key).sign(unsigned.signed, ec.ECDSA(hashes.SHA256()))
        statement = replace(unsigned, signature=signature)
        if good:
            statement.verify(files.ca, Role.PARTY0)
        else:
            with pytest.raises(ReceiptError, match="party 0: no authority in"):
                statement.verify(files.ca, Role.PARTY0)


def test_a_signature_of_tls_or_of_other_text_is_none_of_a_receipt(tls_for, vouching):
    good = a_receipt(tls_for).statements[0]
    key = read_key(tls_for(Role.PARTY0).key)
    tls_says = b" " * 64 + b"TLS 1.3, server CertificateVerify\x00" + good.signed
    for said in (tls_says, good.facts.to_json().encode(), good.signed.partition(b"\x00")[2]):
        forged = Statement(good.facts, good.certificates, key.sign(said, ec.ECDSA(hashes.SHA256())))
        with pytest.raises(ReceiptError, match="party 0: the signature is not of these facts"):
            forged.verify(vouching[Role.PARTY0], Role.PARTY0)


def test_what_cannot_be_read_is_one_line_that_names_the_file(tmp_path):
    binary, large = tmp_path / "binary", tmp_path / "large"
    binary.write_bytes(b"\xff\x00")
    large.write_bytes(b" " * (1 << 21))
    for path in (binary, large, tmp_path / "nonesuch", tmp_path):
        with pytest.raises(ReceiptError, match=f"^{path}: "):
            read_receipt(path)
