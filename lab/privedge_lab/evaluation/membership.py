"""Who was in an owner's training set? Asked of the answers alone, which is all a client gets.

The answers are those of the plaintext model in the parties' fixed point. A private query gives the
same label (`privedge bench query` counts the exceptions: ties), so what holds here holds there, at
a thousandth of the time.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch

from privedge.errors import ImageError
from privedge.progress import Progress
from privedge.ran.images import fit
from privedge.ran.public_files import NO_FILES, PublicFiles
from privedge.ran.spec import RanSpec
from privedge.user.fitting import fit_ran
from privedge.user.settings import settings_for
from privedge_lab import encoded
from privedge_lab.attacks.membership import COPIES, copies, infer_membership
from privedge_lab.attacks.views import AnswersView
from privedge_lab.datasets import Labelled
from privedge_lab.evaluation.cohort import features_of
from privedge_lab.evaluation.pixels import as_bytes
from privedge_lab.reference.model import PlainModel
from privedge_lab.results.rows.membership import MembershipRow
from privedge_lab.results.rows.values import Raw
from privedge_lab.results.store import Results

EXPERIMENT = "membership"


@dataclass(frozen=True)
class MembershipSettings:
    """`members` training images an owner, `owners` models; `asked` members and as many others of
    each owner are attacked. `steps`: of training, if not the preset's. `dp_epsilon`: of training
    with differential privacy. `spec`: in place of the preset; `files`: the encoder that it needs,
    or that the preset gets.
    """

    preset: str
    owners: int = 10
    members: int = 100
    asked: int = 50
    margin: float = 1.0
    steps: int | None = None
    seed: int = 0
    dp_epsilon: float | None = None
    spec: RanSpec | None = None
    files: PublicFiles = NO_FILES

    def named(self) -> Raw:
        """What names a row; spec and files are part of what names the results."""
        rest = asdict(self)
        del rest["spec"], rest["files"]
        if self.dp_epsilon is None:  # left out, as in files of before
            del rest["dp_epsilon"]
        return rest


def measure(
    settings: MembershipSettings, data: Labelled, results: Results, progress: Progress
) -> Iterator[MembershipRow]:
    """A row for each attack, unless `results` has them. Raises ImageError for too few images of a
    class.

    Of every owner's images, four sets that share none: members and others of the service under
    attack, and of the cohort that the attacker trains itself.
    """
    named = {"experiment": EXPERIMENT, "copies": COPIES, **settings.named()}
    if results.find(named) is not None:
        return
    if settings.asked > settings.members:
        raise ImageError("membership: no more members can be asked about than there are")
    spec = encoded.spec_for(settings.preset, settings.spec, data.images.shape, settings.files)
    sets = _sets(data, settings)
    right, truth = _answers(spec, sets[0], sets[1], settings, progress)
    known_right, known_truth = _answers(spec, sets[2], sets[3], settings, progress)
    for score in infer_membership(AnswersView(right, known_right, known_truth), truth):
        row = MembershipRow(
            **named,
            attack=score.attack,
            auc=score.auc.value,
            auc_plus_minus=score.auc.plus_minus,
            advantage=score.advantage.value,
            advantage_plus_minus=score.advantage.plus_minus,
            images=score.auc.count,
            right_members=float(right[truth, 0].double().mean()),
            right_others=float(right[~truth, 0].double().mean()),
        )
        results.add(row.to_json())
        yield row


_Sets = list[torch.Tensor]


def _sets(data: Labelled, settings: MembershipSettings) -> list[_Sets]:
    """Members, others, own members, own others: pixels (n, C, H, W) for each owner."""
    rng = np.random.default_rng(settings.seed)
    sizes = (settings.members, settings.asked) * 2
    found: list[_Sets] = [[] for _ in sizes]
    for owner in range(settings.owners):
        mine = rng.permutation(torch.nonzero(data.labels == owner).flatten().numpy())
        if len(mine) < sum(sizes):
            raise ImageError(f"class {owner}: {len(mine)} images, {sum(sizes)} are needed")
        for place, part in enumerate(np.split(mine[: sum(sizes)], np.cumsum(sizes)[:-1])):
            found[place].append(data.images[torch.from_numpy(part)])
    return found


def _answers(
    spec: RanSpec, members: _Sets, others: _Sets, settings: MembershipSettings, progress: Progress
) -> tuple[torch.Tensor, torch.Tensor]:
    """Train on `members`; which copies of members and others are answered right, and who is one."""
    changes: Raw = {"seed": settings.seed, "files": settings.files}
    changes |= {"dp_epsilon": settings.dp_epsilon}
    changes |= {"steps": settings.steps} if settings.steps else {}
    rans = []
    for owner, pixels in enumerate(members):
        progress("train", owner, len(members))
        shaped = fit(as_bytes(pixels), spec.image_shape)
        rans.append(fit_ran(shaped, spec, settings_for(spec, **changes), f"owner-{owner}"))
    service = PlainModel(rans, settings.margin)
    generator = torch.Generator().manual_seed(settings.seed)
    right, truth = [], []
    for owner in range(len(rans)):
        progress("ask", owner, len(rans))
        for part, is_member in ((members[owner][: settings.asked], True), (others[owner], False)):
            asked = copies(part, generator)
            given = features_of(spec, as_bytes(asked.flatten(0, 1)), settings.files)
            names = service.owners(given)
            right.append(torch.tensor([name == f"owner-{owner}" for name in names]))
            truth += [is_member] * len(part)
    return torch.cat(right).reshape(-1, COPIES), torch.tensor(truth)
