"""The query of a check at enrolment (models/enrolment.py). Sees one share of it, as bytes."""

from collections.abc import Callable

from parties.party.models.cohorts import Snapshot
from parties.party.models.enrolment import CHECK_S
from parties.party.models.tables import Model
from parties.party.queries.pending import PendingQuery
from parties.party.workers.messages import AnswerBytes
from privedge.errors import PrivEdgeError
from privedge.rpc.deadline import Deadline
from privedge.rpc.server import MayLeave
from privedge.sharing.question import Question


class EnrolmentQueries:
    """Asks like a client of its own for each model. Safe to call from many threads."""

    def __init__(self, answer: Callable[[PendingQuery], AnswerBytes]) -> None:
        """`answer`: Leader.answer or Follower.answer."""
        self._answer = answer

    def ask(
        self, row: Model, mean: bytes, snapshot: Snapshot, query_id: str, caller: MayLeave
    ) -> bytes:
        """This party's share of the bit, one word. `snapshot` stays pinned meanwhile.

        Ends when `caller` leaves. Raises what the query ends with.
        """
        shape = (1, *snapshot.cohort.spec.input_shape)
        question = Question(query_id, row.cohort, snapshot.id, shape)
        # No certificate has a name with a slash, so no client's query is taken for this one, and
        # the digest of the question binds the two halves to one model and owner.
        asks = f"enrolment/{row.owner}/{row.model_id}"
        deadline = Deadline.after(CHECK_S)
        query = PendingQuery(question, snapshot, mean, asks, deadline, enrolling=row.owner)
        if not caller.add_callback(query.leave):
            query.leave()
        answer = self._answer(query)
        if answer.shape != (1, 1):
            raise PrivEdgeError("a check at enrolment: its answer is one word")
        return answer.words
