"""The API for owners: upload a model, list an owner's models at the parties, delete a model.

Sees the owner's plaintext model and, during an upload, both shares of it. Each party is sent its
own share only.
"""

from collections.abc import Iterable
from typing import Literal

from privedge.config import ClientConfig, StrPath, as_path, load
from privedge.errors import CheckpointError
from privedge.identity.receipts import SignedReceipt
from privedge.identity.roles import Role
from privedge.progress import Progress
from privedge.ran.spec import RanSpec
from privedge.user import (
    architecture,
    checkpoint,
    cohorts,
    models,
    served_model,
    upload,
    upload_many,
)
from privedge.user.checkpoint import Ran
from privedge.user.party import Exposure, ModelFacts
from privedge.user.served_model import Model
from privedge.user.upload import Receipt
from privedge.user.upload_many import ManyReceipt


class Owner:
    """An owner's access to both parties: upload, list and delete models.

    Every call opens new connections, so one Owner works from any number of threads and after a
    fork. The parties accept one upload of an owner at a time.

    Example:
        owner = Owner.from_file("owner-ana.toml")
        receipt = owner.upload("ana.ran", cohort="faces")
        print([model.model_id for model in owner.models("faces") if model.state == "active"])
        owner.delete(receipt.model_id)
    """

    def __init__(self, config: ClientConfig) -> None:
        """Create an Owner. It connects to the parties in each call.

        Args:
            config: the addresses of the parties, and the certificate to show them.
        """
        self._config = config

    @staticmethod
    def from_file(path: StrPath) -> "Owner":
        """Create an Owner from a TOML file such as `parties/samples/client.toml`.

        Args:
            path: the file. Relative paths in it start at its folder.

        Returns:
            The Owner.

        Raises:
            ConfigError: the file is missing, is not TOML or has a wrong key.
        """
        return Owner(load(ClientConfig, path))

    def cohorts(self) -> tuple[str, ...]:
        """List the cohorts that both parties describe alike, and that this owner may join.

        Returns:
            Their names, sorted.

        Raises:
            NotAllowed: the certificate's role may not list cohorts.
            Unreachable, DeadlineExceeded: a party does not answer.
        """
        found = cohorts.listed(self._config)
        return tuple(each.name for each in found if each.state == cohorts.AGREED)

    def architecture(self, cohort: str) -> RanSpec:
        """Ask party 0 for the architecture that every model of a cohort must have.

        Args:
            cohort: the name of the cohort.

        Returns:
            The architecture, to train for this cohort with `train(preset=...)`.

        Raises:
            UnknownCohort: there is no such cohort.
            Unreachable, DeadlineExceeded: party 0 does not answer.
        """
        return architecture.of_cohort(cohort, self._config)

    def upload(
        self,
        ran: Ran | Model | StrPath,
        cohort: str,
        *,
        progress: Progress | None = None,
        signed: bool = False,
    ) -> Receipt:
        """Split a trained model into two shares, send one to each party, and activate it.

        The model replaces the owner's earlier model in the cohort, if there is one.

        Args:
            ran: the model, or the file it was saved in: a RAN, or a model to serve.
            cohort: the name of the cohort to join.
            progress: called with ("upload", bytes sent, bytes in all), counted over both parties.
            signed: ask both parties to sign that the model is active.

        Returns:
            The model's id, the cohort's new snapshot id, the bytes sent to each party, the model
            that it has replaced, and what came of the check at enrolment, if the owner is told.

        Raises:
            CheckpointError: the model is another owner's, of another architecture, or damaged.
            RangeError: a value does not fit the fixed-point ring.
            AlreadyEnrolled: the cohort refuses a person who is among the owners already.
            ReceiptError: the model is active, and what a party has signed does not hold.
            Refused: a party refuses; the message names the party.
        """
        if isinstance(ran, Ran | Model):
            model = ran
        else:
            model = served_model.load(as_path(ran, CheckpointError))
        return upload.send(model, cohort, self._config, progress, signed=signed)

    def upload_many(
        self,
        rans: Iterable[Ran | StrPath],
        cohort: str,
        *,
        progress: Progress | None = None,
    ) -> ManyReceipt:
        """Upload and activate the models of many owners, hundreds a second if they are small.

        This owner must be a registrar of the cohort in both operators' files: it uploads for owners
        whose names begin with its own and a dot.

        Args:
            rans: the models, or the files they were saved in; each is read when it is needed.
            cohort: the name of the cohort to join.
            progress: called with ("upload", models active, models read so far).

        Returns:
            How many models are active, how many they have replaced, and which were refused. The
            model of a refused owner is not kept active, and the others are.

        Raises:
            CheckpointError: a model is no owner's of this registrar, of another architecture, or
                damaged.
            RangeError: a value does not fit the fixed-point ring.
            Refused: a party refuses; the message names the party, and says how many models are
                active. The others are not.
        """
        models = (
            each if isinstance(each, Ran) else checkpoint.load(as_path(each, CheckpointError))
            for each in rans
        )
        return upload_many.send_many(models, cohort, self._config, progress)

    def models(
        self, cohort: str | None = None, *, party: Literal[0, 1] = 0
    ) -> tuple[ModelFacts, ...]:
        """List this owner's models at one party, newest first.

        Args:
            cohort: list only the models of this cohort; None lists all.
            party: the party to ask, 0 or 1. Party 0 decides which models are active.

        Returns:
            The facts of each model.

        Raises:
            UnknownCohort: there is no such cohort.
            Unreachable, DeadlineExceeded: the party does not answer.
        """
        role = Role.PARTY0 if party == 0 else Role.PARTY1
        return tuple(models.listed(self._config, cohort, role))

    def exposure(self, cohort: str) -> tuple[Exposure, Exposure]:
        """Ask both parties how much a cohort was asked, in which this owner has an active model.

        Every query asks every model of its cohort. The parties tell no clients' names, and know no
        answers.

        Args:
            cohort: the name of the cohort.

        Returns:
            The counts of party 0 and of party 1. They should be equal, but for what ended at one
            party only; a lasting difference is for the operators to explain.

        Raises:
            UnknownCohort: there is no such cohort.
            UnknownModel: this owner has no active model in it.
            Unreachable, DeadlineExceeded: a party does not answer.
        """
        return models.exposure(self._config, cohort)

    def delete(self, model_id: str) -> SignedReceipt | None:
        """Delete a model from both parties. Queries that are running on it still finish.

        If a party does not answer, call it again when it does. A deleted model may be deleted again
        for another receipt.

        Args:
            model_id: 32 hexadecimal digits, from the receipt or from `models`.

        Returns:
            What both parties have signed, verified; None if one of them signs nothing. Its
            `to_text` is what `privedge receipt verify` reads.

        Raises:
            UnknownModel: neither party has such a model of this owner.
            ReceiptError: both parties have deleted it, and what one of them has signed does not
                hold.
            Unreachable, DeadlineExceeded: a party does not answer.
        """
        return models.delete(model_id, self._config).receipt
