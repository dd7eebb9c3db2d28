"""A cohort of one owner in a real deployment: strangers are unknown if it has public rivals."""

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from privedge.errors import NotReady
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment
from privedge.ran import rivals
from privedge.ran.features import extract
from privedge.ran.images import fit
from privedge.ran.rivals import Rivals
from privedge.user import models
from privedge.user.upload import send
from privedge_lab.reference.model import PlainModel
from tests.integration.asking import CLIENT, client

pytestmark = pytest.mark.mpc

ALONE, BARE, NAMES, SAFE = "alone", "bare", "names", "safe"
MARGIN = 0.5


@pytest.fixture(scope="module")
def public(rans, some_digits) -> Rivals:
    """Twenty digits that are not the owner's, of pictures that nobody asks about."""
    spec = rans[0].spec
    pictures = [
        picture for digit in range(1, 10) for picture in some_digits.train_images[digit][:3]
    ]
    rows = extract(spec, fit(np.stack(pictures), spec.image_shape))[:20]
    return Rivals.of(rows, spec.input_shape)


@pytest.fixture(scope="module")
def one_owner(tmp_path_factory, rans, public) -> Iterator[Deployment]:
    """Three cohorts of one owner, who has the digit 0; the first has rivals, the last is as an
    operator's file has it by default. A fourth names all.
    """
    folder = tmp_path_factory.mktemp("rivals")
    rivals.write(folder / "rivals.npz", public, rans[0].spec)
    cohorts = [
        CohortSetting(
            ALONE, "subspace32", components=16, margin=MARGIN, rivals=str(folder / "rivals.npz")
        ),
        CohortSetting(BARE, "subspace32", components=16, margin=MARGIN),
        CohortSetting(SAFE, "subspace32", components=16, margin=MARGIN, serve_one_owner=False),
        CohortSetting(NAMES, "subspace32"),
    ]
    with Deployment(folder, cohorts) as running:
        for cohort in cohorts[:3]:
            owner = Identity(Role.OWNER, rans[0].owner)
            send(rans[0], cohort.name, running.client_config(owner))
        yield running


def test_one_owner_with_rivals_says_unknown_for_strangers(one_owner, rans, some_digits, public):
    images, labels = some_digits.test_images[:200], some_digits.test_labels[:200]
    with client(one_owner) as asking:
        described = asking.describe(ALONE)
        reply, bare = asking.identify(images, ALONE), asking.identify(images, BARE)
    assert (described.rivals, described.rivals_sha256) == (20, public.digest)
    # As the fixed point in the clear has it.
    given = extract(rans[0].spec, fit(images, rans[0].spec.image_shape))
    expected = PlainModel(rans[:1], MARGIN, rivals=public).answers(given)
    pairs = [(a.owner, e.owner) for a, e in zip(reply.answers, expected, strict=True) if not e.tie]
    assert len(pairs) > 190 and all(got == wanted for got, wanted in pairs)
    # Strangers are unknown; without rivals each of them is taken for the one owner.
    named = [answer.owner is not None for answer in reply.answers]
    strangers = [name for name, label in zip(named, labels, strict=True) if label != 0]
    own = [name for name, label in zip(named, labels, strict=True) if label == 0]
    assert sum(strangers) <= 0.1 * len(strangers) and sum(own) >= 0.7 * len(own)
    assert all(answer.owner == "digit-0" for answer in bare.answers)
    # Which the replies say.
    assert (reply.never_unknown, described.never_unknown) == ("", "")
    assert bare.never_unknown == "it has one owner and no public rivals"


def test_pictures_of_one_owner_alone_are_not_asked_until_there_is_another(
    one_owner, rans, some_digits
):
    image = some_digits.test_images[:1]
    second = one_owner.client_config(Identity(Role.OWNER, rans[1].owner))
    with client(one_owner) as asking:
        for ask in (asking.identify, partial(asking.verify, owner=rans[0].owner)):
            with pytest.raises(NotReady, match="two owners', for pictures without an encoder"):
                ask(image, cohort=SAFE)
        sent = send(rans[1], SAFE, second)
        assert len(asking.identify(image, SAFE).answers) == 1
        models.delete(sent.model_id, second)
        with pytest.raises(NotReady, match="two owners', for pictures"):
            asking.identify(image, SAFE)


def test_query_says_that_a_cohort_never_answers_unknown(one_owner, some_digits, tmp_path):
    Image.fromarray(some_digits.test_images[0]).save(tmp_path / "a.png")
    config = one_owner.write_client_config(CLIENT, tmp_path / "client.toml")
    command = [str(Path(sys.executable).with_name("privedge")), "query", str(tmp_path / "a.png")]
    command += ["--cohort", BARE]
    done = subprocess.run(
        [*command, "--config", str(config)], capture_output=True, text=True, timeout=120, check=True
    )
    assert "note: cohort bare never answers unknown: it has one owner and no" in done.stderr
    assert done.stdout.count("\n") == 1
    done = subprocess.run(
        [*command, "--config", str(config), "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert json.loads(done.stdout)["never_unknown"].startswith("it has one owner")
    assert done.stderr == ""


@pytest.mark.parametrize("party", [Role.PARTY0, Role.PARTY1])
def test_a_party_warns_at_its_start_of_a_cohort_that_never_answers_unknown(one_owner, party):
    log = one_owner.log_file(party).read_text()
    assert f"WARNING parties.party.server: cohort {NAMES}: never answers unknown: its margin" in log
    assert f"cohort {ALONE}: never answers unknown" not in log  # it has no owner yet
