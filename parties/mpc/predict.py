"""Find the owner whose RAN reconstructs the image best. Both parties run this in lockstep.

    1.  [d_j] = dissimilarity of the image to RAN_j's reconstruction, all owners at once; and to
        the public rivals, if the cohort has any
    2.  [a]   = one-hot of the best owner, or all zero for "unknown"

[v] is a secret-shared v. Only [a] leaves the parties, as shares, to the client of the query. Step 1
is docs/protocol.md#dissimilarity, step 2 docs/protocol.md#decision.
"""

from dataclasses import dataclass

import torch

from parties.mpc.decision import Decision, doubled_thresholds
from parties.mpc.engine import Engine, T
from parties.mpc.network import Distances, Network
from parties.mpc.products import runs
from parties.mpc.schedule import Levels
from privedge.errors import ShareError
from privedge.ran.narrow import Norms, norms, tensor_bits, word_bits
from privedge.ran.narrow import distances as between
from privedge.ran.rivals import Rivals
from privedge.ran.spec import RanSpec
from privedge.sharing.question import MAX_IMAGES_OF_ONE_SUBJECT
from privedge.sharing.ring import RING_BITS


@dataclass(frozen=True)
class Rule:
    """The rule by which a batch is answered.

    margin, mean_share: the rule for "unknown" (docs/protocol.md#decision).
    one_subject: whether all images show one subject and get one answer.
    verify_position: the place of the owner to verify; None answers with the whole row.
    rivals: public models that every owner must be nearer than; they are never an answer, but for
        the first `public_owners` of them, which have columns after the owners'.
    anybody_but: leave out the owners at these places, and answer only whether anybody is named;
        None for a query of a client.
    """

    margin: float
    one_subject: bool = False
    verify_position: int | None = None
    mean_share: float = 0.0
    rivals: Rivals | None = None
    anybody_but: tuple[int, ...] | None = None
    public_owners: int = 0


def predict(
    engine: Engine[T], spec: RanSpec, parameters: dict[str, T], features: T, rule: Rule
) -> T:
    """Answer a batch on shares.

    features: (B, *input_shape) at scale f.
    parameters: name -> (N, *shape) at scale f.
    Where the spec's words are narrow, both are shared modulo 2^bits, or modulo 2^64.

    Returns (A, N + public owners) integers 0 or 1, or (A, 1) to verify and for `anybody_but`. A is
    B, or 1 for one subject. Raises ShareError for more images of one subject than the range bound
    allows.
    """
    distances = measure(engine, spec, parameters, features, rule)
    return decide(engine, distances, parameters["threshold"], rule, spec)


def measure(
    engine: Engine[T], spec: RanSpec, parameters: dict[str, T], features: T, rule: Rule
) -> Distances[T]:
    """Compute step 1 of `predict`, with the same arguments and errors."""
    if rule.one_subject and features.size(0) > MAX_IMAGES_OF_ONE_SUBJECT:
        raise ShareError(
            f"one subject: at most {MAX_IMAGES_OF_ONE_SUBJECT} images, not {features.size(0)}"
        )
    rivals = None if rule.rivals is None else torch.from_numpy(rule.rivals.words)
    bits = word_bits(spec)
    if bits < RING_BITS:
        parameters = widened(engine, spec, parameters)
        # One round, in which all words are brought to a bounded range, whatever was sent.
        features = engine.widened(features, bits=bits)
    return Network(spec, parameters, engine).distances(features, rivals)


def widened(engine: Engine[T], spec: RanSpec, parameters: dict[str, T]) -> dict[str, T]:
    """Bring parameters, (N, *shape) at f and shared modulo 2^bits, to shares modulo 2^64.

    They are constants of a snapshot: only its first run exchanges anything, a round for every 2^22
    words. A word that is valid is the same each time (parties/mpc/widening.py).
    """
    return {
        name: _wide(engine, name, number, tensor_bits(spec, name))
        for name, number in parameters.items()
    }


def _wide(engine: Engine[T], name: str, number: T, bits: int) -> T:
    if bits == RING_BITS:
        return number

    def compute() -> T:
        parts = [engine.widened(number[run], bits=bits) for run in runs(number.size())]
        return engine.joined(parts, 0)

    return engine.constant(f"{name} wide", compute)


def decide(
    engine: Engine[T],
    distances: Distances[T],
    thresholds: T,
    rule: Rule,
    spec: RanSpec | None = None,
) -> T:
    """Compute step 2 from distances (B, N) and (B, M) at 2f, and thresholds (N, 1) or (N,) at f.

    spec: says what is asked of the images, and how far apart distances can be. Images that are not
        so are answered with zeros. Without it, nothing is asked or known.

    Returns what `predict` returns.
    """
    wanted = norms(spec) if spec else None
    # For one subject, the distances of its images are summed, and the thresholds are multiplied by
    # the number of images.
    summed = distances.owners.size(0) if rule.one_subject else 1
    valid = _valid(engine, distances.whole, wanted, rule)
    if rule.one_subject:
        distances = distances.together()
    slack = wanted.slack * summed if wanted else 0
    owners = distances.owners
    thresholds = doubled_thresholds(engine, thresholds, summed)
    if rule.anybody_but is not None:
        # Local: the others' columns, as if there were no more. A model of the same owner would
        # else be the best, or too close to the best for anybody to be named.
        others = [at for at in range(owners.size(1)) if at not in rule.anybody_but]
        owners, thresholds = owners[:, others], thresholds[others]
    with engine.phase("decision"):
        decision = Decision(
            engine,
            margin=rule.margin,
            mean_share=rule.mean_share,
            slack=slack,
            public_owners=rule.public_owners,
            levels=Levels(between(spec, summed)) if spec else Levels(),
        )
        row = decision.answer(owners, thresholds, distances.rivals, valid)
    # Verifying computes the whole answer too: which owner is asked about changes no round or byte.
    if rule.anybody_but is not None:
        # Local: at most one entry is 1, so the sum is a bit. The entries stay in shares. Public
        # owners are nobody.
        anybody: T = row[:, : owners.size(1)].sum(1).unsqueeze(1)
        return anybody
    if rule.verify_position is None:
        return row
    chosen: T = row[:, rule.verify_position : rule.verify_position + 1]
    return chosen


def _valid(engine: Engine[T], whole: T | None, wanted: Norms | None, rule: Rule) -> T | None:
    """(A, V) at 2f: below 0 where what is asked about is as it is wanted; None if nothing is.
    whole: |x|^2 of every image, (B,) at 2f. Local.

    Of one subject the mean is held to the bounds. The sum of all may leave the ring, so the upper
    bound is asked of each part of them that cannot; if all parts keep to it, the sum is exact.
    """
    if whole is None or wanted is None:
        return None
    images = whole.size(0)
    each = whole.reshape(1, images) if rule.one_subject else whole.reshape(images, 1)
    together = each.size(1)
    checks = [
        engine.plus(each[:, start:stop].sum(1), torch.tensor((start - stop) * wanted.bound))
        for start, stop in wanted.parts(together)
    ]
    # A check at enrolment asks with a mean, which is shorter than what it is the mean of.
    if wanted.least and rule.anybody_but is None:
        least = torch.tensor(together * wanted.least - 1)
        checks.append(engine.plus(engine.scaled(each.sum(1), -1), least))
    return engine.joined([check.unsqueeze(1) for check in checks], 1)
