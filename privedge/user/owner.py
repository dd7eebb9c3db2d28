"""One door for owners: upload a model, list what the parties hold, delete it.

Sees the owner's plaintext model and both shares of it on their way; each party is sent its own.
"""

from pathlib import Path
from typing import Literal

from privedge.config import ClientConfig, StrPath, load
from privedge.identity.roles import Role
from privedge.progress import Progress
from privedge.ran.spec import RanSpec
from privedge.user import architecture, checkpoint, models, upload
from privedge.user.checkpoint import Ran
from privedge.user.party import ModelFacts
from privedge.user.upload import Receipt


class Owner:
    """An owner as both parties know them.

    Every call has connections of its own, so one Owner works from any number of threads, and after
    a fork. The parties accept one upload of an owner at a time.

    Example:
        owner = Owner.from_file("owner-ana.toml")
        receipt = owner.upload("ana.ran", cohort="faces")
        print([model.model_id for model in owner.models("faces") if model.state == "active"])
        owner.delete(receipt.model_id)
    """

    def __init__(self, config: ClientConfig) -> None:
        """`config` says where the parties are and whose certificate is shown to them."""
        self._config = config

    @staticmethod
    def from_file(path: StrPath) -> "Owner":
        """As a configuration file says (TOML).

        Args:
            path: the file; relative paths in it start at its folder.

        Raises:
            ConfigError: the file is missing, is no TOML or has a wrong key.
        """
        return Owner(load(ClientConfig, path))

    def architecture(self, cohort: str) -> RanSpec:
        """What every model of a cohort must be like, to train for it: `train(preset=...)`.

        Raises:
            UnknownCohort: there is no such cohort.
            Unreachable, DeadlineExceeded: party 0 does not answer.
        """
        return architecture.of_cohort(cohort, self._config)

    def upload(
        self, ran: Ran | StrPath, cohort: str, *, progress: Progress | None = None
    ) -> Receipt:
        """Split a trained model into two shares, send one to each party, and activate it.

        It takes the place of the owner's earlier model of the cohort, if there is one.

        Args:
            ran: the model, or the file it was saved in.
            cohort: the cohort to join.
            progress: called with ("upload", bytes sent, bytes in all), both parties together.

        Returns:
            The model's id, the cohort's new snapshot id, and the bytes that each party got.

        Raises:
            CheckpointError: the model is another owner's, of another architecture, or damaged.
            RangeError: a value does not fit the fixed-point ring.
            Refused: whatever a party refuses; the message names the party.
        """
        model = ran if isinstance(ran, Ran) else checkpoint.load(Path(ran))
        return upload.send(model, cohort, self._config, progress)

    def models(
        self, cohort: str | None = None, *, party: Literal[0, 1] = 0
    ) -> tuple[ModelFacts, ...]:
        """What a party holds of this owner's models, newest first.

        Args:
            cohort: only the models of this cohort.
            party: whose list; party 0 leads.

        Returns:
            Facts of each model: id, cohort, owner, state ("uploaded", "prepared", "active" or
            "retired"), bytes, and when it was uploaded (seconds since 1970, UTC).

        Raises:
            UnknownCohort: there is no such cohort.
            Unreachable, DeadlineExceeded: the party does not answer.
        """
        role = Role.PARTY0 if party == 0 else Role.PARTY1
        return tuple(models.listed(self._config, cohort, role))

    def delete(self, model_id: str) -> None:
        """Delete a model from both parties; queries that run on it now still finish.

        Args:
            model_id: 32 hexadecimal digits, as a receipt and `models` have them.

        Raises:
            UnknownModel: neither party has such a model of this owner.
            Unreachable, DeadlineExceeded: a party does not answer.
        """
        models.delete(model_id, self._config)
