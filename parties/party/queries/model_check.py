"""The query of a check of a new model (models/model_checks.py). Sees one share of it, as bytes."""

from collections.abc import Callable

from parties.party.models.cohorts import Snapshot
from parties.party.models.model_checks import MODEL_CHECK_S
from parties.party.models.tables import Model
from parties.party.queries.pending import PendingQuery
from parties.party.workers.messages import AnswerBytes, Checked
from privedge.errors import PrivEdgeError
from privedge.ran.narrow import word_bits
from privedge.rpc.deadline import Deadline
from privedge.rpc.server import MayLeave
from privedge.sharing.question import Question
from privedge.sharing.ring import width


class ModelCheckQueries:
    """Asks like a client of its own for each model. Safe to call from many threads."""

    def __init__(self, answer: Callable[[PendingQuery], AnswerBytes], party: int) -> None:
        """`answer`: Leader.answer or Follower.answer."""
        self._answer = answer
        self._party = party

    def ask(
        self, row: Model, alone: Snapshot, query_id: str, coin: bytes, caller: MayLeave
    ) -> bytes:
        """This party's share of whether the model is to be refused, one word. `alone`: a snapshot
        of this model only, whose file stays where it is meanwhile. `coin` draws the probes, if the
        cohort has any.

        Ends when `caller` leaves. Raises what the query ends with.
        """
        cohort = alone.cohort
        pool = cohort.model_check.probes if cohort.model_check else None
        probes = pool.drawn(coin) if pool else None
        shape = (len(probes) if probes else 1, *cohort.spec.input_shape)
        question = Question(query_id, row.cohort, alone.id, shape)
        # The probes are public: party 0 takes them as its share, and party 1 zeros.
        bits = word_bits(cohort.spec)
        zeros = bytes(width(bits) * question.words)
        mine = probes.to_words(bits) if probes and self._party == 0 else zeros
        asks = f"model-check/{row.owner}/{row.model_id}"  # no certificate has a name with a slash
        deadline = Deadline.after(MODEL_CHECK_S)
        query = PendingQuery(question, alone, mine, asks, deadline)
        query.check = Checked(probes.bounds if probes else None)
        if not caller.add_callback(query.leave):
            query.leave()
        answer = self._answer(query)
        if answer.shape != (1, 1):
            raise PrivEdgeError("a check of a model: its answer is one word")
        return answer.words
