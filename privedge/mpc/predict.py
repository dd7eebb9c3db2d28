"""Which owner's RAN reconstructs the image best? Both parties run this in lockstep.

    1.  [d_j] = dissimilarity of the image to RAN_j's reconstruction, all owners at once
    2.  [a]   = one-hot of the best owner, or all zero for "unknown"

[v] is a secret-shared v. Only [a] leaves, as shares, to the client who asked. Step 1 is
docs/protocol.md#dissimilarity, step 2 docs/protocol.md#decision.
"""

from dataclasses import dataclass

from privedge.errors import ShareError
from privedge.mpc.decision import Decision, doubled_thresholds
from privedge.mpc.engine import Engine, T
from privedge.mpc.network import Network
from privedge.ran.spec import RanSpec
from privedge.sharing.question import MAX_IMAGES_OF_ONE_SUBJECT


@dataclass(frozen=True)
class Rule:
    """How a batch is answered. `verify_position` asks for one owner's bit instead of the row."""

    margin: float
    one_subject: bool = False
    verify_position: int | None = None
    mean_share: float = 0.0


def predict(
    engine: Engine[T], spec: RanSpec, parameters: dict[str, T], features: T, rule: Rule
) -> T:
    """features: (B, *input_shape) at f; parameters: name -> (N, *shape) at f.

    Returns (A, N) integers 0 or 1, or (A, 1) to verify; A = B, or 1 for one subject. Raises
    ShareError for more images of one subject than the range bound allows.
    """
    if rule.one_subject and features.size(0) > MAX_IMAGES_OF_ONE_SUBJECT:
        raise ShareError(
            f"one subject: at most {MAX_IMAGES_OF_ONE_SUBJECT} images, not {features.size(0)}"
        )
    # Step 1: (B, N) shares at 2f.
    distances = Network(spec, parameters, engine).dissimilarity(features)
    return decide(engine, distances, parameters["threshold"], rule)


def decide(engine: Engine[T], distances: T, thresholds: T, rule: Rule) -> T:
    """Step 2, from distances (B, N) at 2f and thresholds (N, 1) or (N,) at f.

    Returns what `predict` does.
    """
    # Images of one subject vote: distances are summed, locally, and a threshold counts as often.
    summed = distances.size(0) if rule.one_subject else 1
    if rule.one_subject:
        distances = distances.sum(0).unsqueeze(0)
    thresholds = doubled_thresholds(engine, thresholds, summed)
    with engine.phase("decision"):
        decision = Decision(engine, margin=rule.margin, mean_share=rule.mean_share)
        row = decision.answer(distances, thresholds)
    # Verifying computes the whole answer too: which owner is asked about changes no round or byte.
    if rule.verify_position is None:
        return row
    chosen: T = row[:, rule.verify_position : rule.verify_position + 1]
    return chosen
