"""parties/config: samples parse, and an error names the key that is wrong."""

from pathlib import Path
from typing import Any

import pytest
import torch

import parties
import privedge_lab
from parties.config.cohort import CohortSection
from parties.config.dealer import DealerConfig
from parties.config.party import PartyConfig
from parties.mpc.fixed_product import FixedProduct
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.planning import planned
from parties.mpc.predict import Rule, predict
from parties.mpc.twoparty import encrypted, ring
from parties.mpc.twoparty.kinds import of_one
from parties.mpc.twoparty.learned import memory
from parties.party.models import cohorts
from parties.party.models.cohorts import build
from privedge.config import ClientConfig, load
from privedge.errors import ConfigError
from privedge.ran.spec import RanSpec
from privedge_lab.baseline.config import SplitClientConfig
from privedge_lab.baseline.serving.config import SplitConfig

SAMPLES = Path(parties.__file__).parent / "samples"
SPLIT_SAMPLES = Path(privedge_lab.__file__).parent / "baseline/samples"


def sample(name: str) -> Path:
    """The split server's are in the laboratory."""
    return (SPLIT_SAMPLES if name.startswith("split") else SAMPLES) / name


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("party0.toml", PartyConfig),
        ("party1.toml", PartyConfig),
        ("dealer.toml", DealerConfig),
        ("client.toml", ClientConfig),
        ("split.toml", SplitConfig),
        ("split-client.toml", SplitClientConfig),
    ],
)
def test_a_sample_is_read_and_its_paths_are_beside_it(name, kind):
    config = load(kind, sample(name))
    assert config.tls.ca == sample(name).parent / "certs/ca.crt"


def test_every_sample_has_a_test():
    assert {path.name for folder in (SAMPLES, SPLIT_SAMPLES) for path in folder.iterdir()} == {
        "party0.toml",
        "party1.toml",
        "dealer.toml",
        "client.toml",
        "split.toml",
        "split-client.toml",
    }


def test_the_samples_fit_each_other():
    leader = load(PartyConfig, SAMPLES / "party0.toml")
    follower = load(PartyConfig, SAMPLES / "party1.toml")
    dealer = load(DealerConfig, SAMPLES / "dealer.toml")
    client = load(ClientConfig, SAMPLES / "client.toml")
    assert leader.peer.address == follower.listen == client.party1
    assert leader.listen == client.party0
    assert leader.mpc.address == follower.mpc.listen
    assert leader.dealer.address == follower.dealer.address == dealer.listen
    assert leader.cohorts == follower.cohorts
    split, device = (
        load(SplitConfig, SPLIT_SAMPLES / "split.toml"),
        load(SplitClientConfig, SPLIT_SAMPLES / "split-client.toml"),
    )
    assert split.listen == device.server
    assert split.tail.stem == device.head.stem == device.key.stem
    assert build(leader.cohorts[0]).spec.name == "subspace32"


def edited(tmp_path, name, old, new):
    text = sample(name).read_text()
    assert old in text
    path = tmp_path / name
    path.write_text(text.replace(old, new))
    return path


@pytest.mark.parametrize(
    ("name", "old", "new", "why"),
    [
        ("party0.toml", "workers = 1", "wrokers = 1", "wrokers: unknown key"),
        ("party0.toml", "workers = 1", "workers = 0", "workers"),
        ("party0.toml", "index = 0", "index = 2", "index"),
        ("party0.toml", "index = 0", "index = 1", "party 1 needs"),
        ("party1.toml", "index = 1", "index = 0", "party 0 needs"),
        ("party1.toml", "workers = 1", 'engine = "tfp"', "engine"),
        ("party1.toml", "workers = 1", 'rounding = "nearest"', "rounding"),
        ("party1.toml", "workers = 1", 'engine = "crypten"\nrounding = "exact"', "rounding"),
        ("party0.toml", '"127.0.0.1:7001"', '"127.0.0.1"', "peer.address"),
        ("party0.toml", "margin = 0.8", "margin = 1.5", "margin"),
        ("party0.toml", 'preset = "subspace32"', "", "preset or spec_file"),
        ("party0.toml", 'preset = "subspace32"', 'preset = "auto"', "auto"),
        ("party0.toml", 'preset = "subspace32"', 'spec_file = "x"\ncomponents = 3', "components"),
        ("party0.toml", 'preset = "subspace32"', 'preset = "vector"', "needs size"),
        ("party0.toml", 'preset = "subspace32"', 'preset = "subspace32"\nsize = 9',
         "size and unit_length"),
        ("party0.toml", 'preset = "subspace32"', 'preset = "vector"\nsize = 1', "size"),
        ("party0.toml", "[[cohorts]]", '[[cohorts]]\nname = "people"\npreset = "x"\n[[cohorts]]',
         "cohorts: people is given twice"),
        ("party0.toml", "query_deadline_s = 60", "query_deadline_s = 1e300", "query_deadline_s"),
        ("party0.toml", "query_deadline_s = 60", "query_deadline_s = inf", "query_deadline_s"),
        ("party0.toml", "max_batch = 64", "max_batch = 1000000000", "limits.max_batch"),
        ("party0.toml", "max_queries = 256", "max_queries = 1000000000", "limits.max_queries"),
        ("party1.toml", "upload_deadline_s = 300", "upload_deadline_s = inf", "upload_deadline_s"),
        ("split.toml", "query_deadline_s = 60", "query_deadline_s = inf", "query_deadline_s"),
        ("party0.toml", "workers = 1", "insecure_loopback = true", "insecure_loopback"),
        ("dealer.toml", "max_sessions = 1024", "max_sessions = 0", "max_sessions"),
        ("split.toml", "max_batch = 64", "max_batch = 0", "max_batch"),
        ("split.toml", 'tail = "lenet.tail"', "", "tail: missing"),
        ("split.toml", 'tail = "lenet.tail"', 'head = "lenet.head"', "tail: missing"),
        ("split.toml", '"labels"', '"images"', "answers"),
    ],
)  # fmt: skip
def test_a_setting_that_does_not_fit_is_refused_by_name(tmp_path, name, old, new, why):
    kind = {"dealer.toml": DealerConfig, "split.toml": SplitConfig}.get(name, PartyConfig)
    with pytest.raises(ConfigError, match=rf"{name}.*{why}"):
        load(kind, edited(tmp_path, name, old, new))


@pytest.mark.parametrize("exposed", ["listen", "dealer", "peer"])
def test_plain_text_is_for_loopback_addresses_only(exposed):
    addresses = dict.fromkeys(("listen", "dealer", "peer"), "127.0.0.1:7000")

    def config():
        return PartyConfig.model_validate(
            {
                "index": 0,
                "listen": addresses["listen"],
                "state": "state",
                "insecure_loopback": True,
                "peer": {"address": addresses["peer"]},
                "mpc": {"address": "127.0.0.1:1"},
                "dealer": {"address": addresses["dealer"]},
                "cohorts": [{"name": "digits", "preset": "ran32"}],
            }
        )

    assert config().insecure_loopback
    addresses[exposed] = "192.0.2.1:7000"
    with pytest.raises(ValueError, match=r"192\.0\.2\.1"):
        config()


def test_a_database_url_is_not_shown():
    config = load(PartyConfig, SAMPLES / "party0.toml")
    shown = repr(config.model_copy(update={"registry_url": "postgresql://u:hidden@db/x"}))
    assert "hidden" not in shown


def test_waits_between_servers_are_those_of_before_unless_the_file_says_otherwise():
    leader = load(PartyConfig, SAMPLES / "party0.toml")
    dealer = load(DealerConfig, SAMPLES / "dealer.toml")
    waits = leader.timeouts
    assert (waits.half_s, waits.order_s, waits.late_s) == (10, 10, 5)
    assert dealer.timeouts.pairing_s == 20


@pytest.mark.parametrize(
    ("name", "kind", "line", "why"),
    [
        ("party0.toml", PartyConfig, "half_s = 0", r"timeouts\.half_s"),
        ("party1.toml", PartyConfig, "late_s = -1", r"timeouts\.late_s"),
        ("party1.toml", PartyConfig, "pairing_s = 5", r"timeouts\.pairing_s: unknown key"),
        ("dealer.toml", DealerConfig, "pairing_s = 0", r"timeouts\.pairing_s"),
    ],
)
def test_a_wait_that_cannot_be_is_refused_by_name(tmp_path, name, kind, line, why):
    head, _, rest = (SAMPLES / name).read_text().partition("[timeouts]\n")
    (tmp_path / name).write_text(f"{head}[timeouts]\n{line}\n" + rest[rest.find("\n[") :])
    with pytest.raises(ConfigError, match=why):
        load(kind, tmp_path / name)


def _party(tmp_path: Path, *lines: str, dealer: bool = True) -> PartyConfig:
    """The sample of party 0 with more keys, and with its [dealer] or without."""
    text = sample("party0.toml").read_text().replace("certs/", f"{SAMPLES}/certs/")
    if not dealer:
        before, after = text.split("[dealer]", 1)
        text = before + after[after.index("\n[") + 1 :]
    file = tmp_path / "party0.toml"
    file.write_text("\n".join((*lines, text)))
    return load(PartyConfig, file)


def test_two_parties_alone_have_no_dealer(tmp_path):
    config = _party(tmp_path, 'randomness = "two-party"', dealer=False)
    assert config.dealer is None


@pytest.mark.parametrize(
    ("lines", "dealer", "fault"),
    [
        ([], False, r"needs \[dealer\] address"),
        (['randomness = "two-party"'], True, r"no \[dealer\]"),
        (['randomness = "two-party"', 'engine = "crypten"'], False, "needs engine"),
    ],
)
def test_a_dealer_is_there_or_is_not_as_randomness_says(tmp_path, lines, dealer, fault):
    with pytest.raises(ConfigError, match=fault):
        _party(tmp_path, *lines, dealer=dealer)


def test_two_parties_alone_have_no_bundles_that_are_audited(tmp_path):
    config = _party(tmp_path, 'randomness = "two-party"', dealer=False)
    refusing = config.pool.model_copy(update={"unaudited": "refuse"})
    with pytest.raises(ValueError, match="needs a dealer"):
        PartyConfig.model_validate(dict(config) | {"pool": refusing})


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"preset": "vector", "size": 8193}, "at most 8192 inputs"),
    ],
)
def test_a_cohort_that_two_parties_alone_cannot_serve_is_refused(keys, fault):
    section = CohortSection(name="c", **keys)
    with pytest.raises(ConfigError, match=fault):
        build(section, "two-party")
    assert build(section).name == "c"


_SERVED = ["conv32", "conv64", "ran32", "ran64", "subspace64", "face", "paper"]


@pytest.mark.parametrize("preset", _SERVED)
def test_two_parties_alone_can_serve_every_preset(preset):
    section = CohortSection(name="c", preset=preset, model_check={})
    spec = build(section, "two-party").spec
    first, later = planned(lambda engine: _on_zeros(engine, spec))
    for kind in (*first, *later):
        # Raises ShareError for what they cannot make.
        memory(kind) if isinstance(kind, FixedProduct) else of_one(kind)


def _on_zeros(engine: FusedEngine, spec: RanSpec) -> Any:
    shapes = {name: (2, *shape) for name, shape in spec.parameters().items()}
    zeros = {name: engine.share(torch.zeros(shape).long()) for name, shape in shapes.items()}
    image = engine.share(torch.zeros(1, *spec.input_shape).long())
    return predict(engine, spec, zeros, image, Rule(1))


def test_what_two_parties_multiply_with_is_what_they_say():
    assert cohorts.MOST_INPUTS == encrypted.MOST_COLUMNS
    # A frame of one pixel around an image, and up to two more at its far sides.
    assert (cohorts.MOST_PIXELS**0.5 + 3) ** 2 <= ring.DEGREE
