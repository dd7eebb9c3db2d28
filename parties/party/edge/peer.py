"""Party 1 as party 0 calls it (peer.proto). Ids and digests only."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

import grpc

from parties.party.audit.heads import SaidHead
from parties.party.edge import codec, parts_codec
from parties.party.edge.watch import Watch
from parties.party.models.cohorts import ModelRef
from parties.party.models.enrolment import CHECK_S
from parties.party.models.model_checks import MODEL_CHECK_S, Shown
from parties.party.models.parts import Listed, Parts, parts_for
from parties.party.models.standing import Said, this_process
from parties.party.queries.inbox import HeldChange
from parties.party.queries.pending import Run
from parties.wire import peer_pb2 as pb
from parties.wire.peer_pb2_grpc import PeerStub
from privedge.errors import ManifestMismatch, PrivEdgeError, ShareError
from privedge.rpc import request_id
from privedge.rpc.status import calls_to, is_unknown_call, refusal_of

# Reading and writing the largest share, on a slow disk.
_REFRESH_S = 120.0
# How many models of a list party 1 compares and writes down in a second, on a slow machine.
_LISTED_A_SECOND = 1000.0


class Peer(Protocol):
    """What activation needs of party 1. Every call says party 0's state and returns party 1's, None
    from an older release. Every call raises Unreachable, DeadlineExceeded, DiskFull, or TermsDiffer
    if party 1 does not follow such a state.
    """

    def check(self, ref: ModelRef, said: Said, snapshot_id: str, query_id: str) -> "PlacedCheck":
        """Begin the check at enrolment at party 1, without waiting for it."""
        ...

    def draw_probes(self, ref: ModelRef, said: Said, commitment: bytes) -> bytes:
        """Party 1's part of a coin, after party 0's commitment to its own. Raises as `prepare`."""
        ...

    def check_model(self, ref: ModelRef, said: Said, query_id: str, part0: bytes) -> "PlacedCheck":
        """Begin the check of a new model at party 1, without waiting for it."""
        ...

    def prepare(self, ref: ModelRef, said: Said, shown: Shown) -> Said | None:
        """Raises UnknownModel (not uploaded there), NotReady (not checked there), ManifestMismatch
        or AlreadyEnrolled (retired there), ModelRefused (refused there, and not released).
        """
        ...

    def set_active(
        self,
        cohort: str,
        refs: Sequence[ModelRef],
        quarantined: Sequence[ModelRef],
        said: Said,
        deleted: Collection[str] = (),
    ) -> tuple[Said | None, frozenset[str]]:
        """Returns also the ids of the models that party 1's operator wants to be deleted. Those of
        `deleted` are deleted there if it does.

        Raises ManifestMismatch if party 1 lacks a model of `refs`.
        """
        ...

    def add_active(self, cohort: str, since: str, ref: ModelRef, said: Said) -> Said | None:
        """Raises ManifestMismatch if party 1 lacks the model, or has not the snapshot `since`."""
        ...

    def prepare_all(
        self, refs: Sequence[ModelRef], said: Said
    ) -> tuple[Said | None, Sequence[PrivEdgeError | None]]:
        """For models that are not checked: why party 1 refuses each of them, as `prepare` raises
        it; None if it does not. Raises NotReady if its release knows no such call.
        """
        ...

    def add_all_active(
        self, cohort: str, since: str, refs: Sequence[ModelRef], said: Said
    ) -> Said | None:
        """As `add_active`, for models of as many owners."""
        ...

    def prepare_refresh(self, ref: ModelRef, seed: bytes, said: Said) -> Said | None:
        """Raises ManifestMismatch if party 1 has not that share in use, DigestMismatch if it is
        damaged there.
        """
        ...


class PlacedRun:
    """An order that is on its way to party 1. This party's worker begins meanwhile."""

    def __init__(self, call: Any, name: str, run: Run, when_refused: Callable[[], None]) -> None:
        self._call = call
        self._name = name
        self._ordered = {ref.query_id for ref in run.queries}
        self._when_refused = when_refused
        call.add_done_callback(self._look)

    def missing(self) -> set[str]:
        """Wait for party 1, and return the ids that it no longer holds: if there are any, it runs
        none of the queries.

        Raises what party 1 refused, ManifestMismatch, Unreachable, DeadlineExceeded.
        """
        with calls_to(self._name):
            missing = {query_id.hex() for query_id in self._call.result().missing}
        if not missing <= self._ordered:
            raise ManifestMismatch("party 1 misses queries that were not ordered")
        return missing

    def _look(self, _: object) -> None:
        if self._call.code() is not grpc.StatusCode.OK or self._call.result().missing:
            self._when_refused()


class PlacedCheck:
    """A check of a new model that is under way at party 1. As a caller it leaves if party 1
    refuses, so that party 0 does not wait for a half that never comes.
    """

    def __init__(self, call: Any, name: str) -> None:
        self._call = call
        self._name = name

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """See rpc.server.MayLeave."""
        self._call.add_done_callback(
            lambda call: callback() if call.code() is not grpc.StatusCode.OK else None
        )
        return True

    def share(self) -> tuple[bytes, ...]:
        """Wait for party 1; its share, or none if the operators are not told. Raises Refused."""
        with calls_to(self._name):
            share = self._call.result().share
        return (share,) if share else ()

    def raise_refusal(self) -> None:
        """Raise what party 1 has refused; else let it give up."""
        if not self._call.done():
            self._call.cancel()
        elif self._call.code() is not grpc.StatusCode.OK:
            self.share()


class PeerClient:
    """A Peer over gRPC, and what queries need of party 1. Safe to call from many threads."""

    def __init__(self, stub: PeerStub, name: str, *, timeout_s: float = 10.0) -> None:
        """`name` is for messages: "party 1 (host:port)". `timeout_s` holds for activation."""
        self.stub = stub
        self._name = name
        self._timeout_s = timeout_s

    def exchange_heads(self, said: SaidHead) -> SaidHead:
        """Tell party 1 where this party's audit log is, and return where party 1's is.

        Raises Unreachable, DeadlineExceeded, NotReady (a release without audit logs), ShareError.
        """
        request = codec.audit_head_to_wire(said)
        with calls_to(self._name):
            answer = self.stub.ExchangeAuditHeads(request, timeout=self._timeout_s)
        return codec.audit_head_from_wire(answer)

    # --- Models -----------------------------------------------------------------------------------

    def check(self, ref: ModelRef, said: Said, snapshot_id: str, query_id: str) -> PlacedCheck:
        """Peer.check."""
        request = pb.CheckEnrolmentRequest(
            model=codec.model_ref_to_wire(ref),
            state=codec.said_to_wire(said),
            snapshot_id=snapshot_id,
            query_id=codec.id_to_wire(query_id),
        )
        call = self.stub.CheckEnrolment.future(request, timeout=CHECK_S + self._timeout_s)
        return PlacedCheck(call, self._name)

    def draw_probes(self, ref: ModelRef, said: Said, commitment: bytes) -> bytes:
        """Peer.draw_probes."""
        request = pb.DrawProbesRequest(
            model=codec.model_ref_to_wire(ref),
            state=codec.said_to_wire(said),
            commitment=commitment,
        )
        with calls_to(self._name):
            return self.stub.DrawProbes(request, timeout=self._timeout_s).part

    def check_model(self, ref: ModelRef, said: Said, query_id: str, part0: bytes) -> PlacedCheck:
        """Peer.check_model."""
        request = pb.CheckModelRequest(
            model=codec.model_ref_to_wire(ref),
            state=codec.said_to_wire(said),
            query_id=codec.id_to_wire(query_id),
            part=part0,
        )
        call = self.stub.CheckModel.future(request, timeout=MODEL_CHECK_S + self._timeout_s)
        return PlacedCheck(call, self._name)

    def prepare(self, ref: ModelRef, said: Said, shown: Shown) -> Said | None:
        """Peer.prepare."""
        request = pb.PrepareModelRequest(
            model=codec.model_ref_to_wire(ref),
            state=codec.said_to_wire(said),
            enrolment_share=shown.enrolment,
            check_share=shown.check,
            released=shown.released,
        )
        with calls_to(self._name):
            response = self.stub.PrepareModel(request, timeout=self._timeout_s)
        return codec.said_from_wire(response)

    def set_active(
        self,
        cohort: str,
        refs: Sequence[ModelRef],
        quarantined: Sequence[ModelRef],
        said: Said,
        deleted: Collection[str] = (),
    ) -> tuple[Said | None, frozenset[str]]:
        """Peer.set_active: in parts, of which only those cross that differ."""
        listed = [Listed(ref) for ref in refs] + [Listed(ref, True) for ref in quarantined]
        parts = Parts(listed, parts_for(len(listed)))
        within_s = self._timeout_s + len(listed) / _LISTED_A_SECOND
        with calls_to(self._name):
            try:
                sent = self._differing(cohort, parts, said, within_s)
                requests = parts_codec.parts_to_wire(cohort, said, parts, sent, deleted)
                response = self.stub.FollowActiveModels(requests, timeout=within_s)
            except grpc.RpcError as error:
                if not is_unknown_call(error):
                    raise
                response = self._set_active_whole(cohort, refs, quarantined, said, deleted)
        return codec.said_from_wire(response), codec.model_ids_from_wire(response.unwanted)

    def _differing(self, cohort: str, parts: Parts, said: Said, within_s: float) -> Sequence[int]:
        """Numbers of the parts that party 1 has not; of a list of one part, that one."""
        if len(parts.digests) == 1:
            return (0,)
        request = pb.CompareActiveModelsRequest(
            cohort=cohort, state=codec.said_to_wire(said), digests=parts.digests
        )
        response = self.stub.CompareActiveModels(request, timeout=within_s)
        return parts_codec.numbers_from_wire(response.differing, len(parts.digests))

    def _set_active_whole(
        self,
        cohort: str,
        refs: Sequence[ModelRef],
        quarantined: Sequence[ModelRef],
        said: Said,
        deleted: Collection[str],
    ) -> Any:
        """The whole list in one message, to a release that takes no parts."""
        request = pb.SetActiveModelsRequest(
            cohort=cohort,
            models=map(codec.model_ref_to_wire, refs),
            quarantined=map(codec.model_ref_to_wire, quarantined),
            state=codec.said_to_wire(said),
            deleted=deleted,
        )
        return self.stub.SetActiveModels(request, timeout=self._timeout_s)

    def add_active(self, cohort: str, since: str, ref: ModelRef, said: Said) -> Said | None:
        """Peer.add_active."""
        model, state = codec.model_ref_to_wire(ref), codec.said_to_wire(said)
        request = pb.AddActiveModelRequest(cohort=cohort, since=since, model=model, state=state)
        with calls_to(self._name):
            response = self.stub.AddActiveModel(request, timeout=self._timeout_s)
        return codec.said_from_wire(response)

    def prepare_all(
        self, refs: Sequence[ModelRef], said: Said
    ) -> tuple[Said | None, Sequence[PrivEdgeError | None]]:
        """Peer.prepare_all."""
        models, state = map(codec.model_ref_to_wire, refs), codec.said_to_wire(said)
        request = pb.PrepareModelsRequest(models=models, state=state)
        within_s = self._timeout_s + len(refs) / _LISTED_A_SECOND
        with calls_to(self._name):
            response = self.stub.PrepareModels(request, timeout=within_s)
        if len(response.refusals) != len(refs):
            raise ShareError(f"{self._name}: answers for other models than were asked")
        answers = [refusal_of(text, self._name) if text else None for text in response.refusals]
        return codec.said_from_wire(response), answers

    def add_all_active(
        self, cohort: str, since: str, refs: Sequence[ModelRef], said: Said
    ) -> Said | None:
        """Peer.add_all_active."""
        models, state = map(codec.model_ref_to_wire, refs), codec.said_to_wire(said)
        request = pb.AddActiveModelsRequest(cohort=cohort, since=since, models=models, state=state)
        within_s = self._timeout_s + len(refs) / _LISTED_A_SECOND
        with calls_to(self._name):
            response = self.stub.AddActiveModels(request, timeout=within_s)
        return codec.said_from_wire(response)

    def prepare_refresh(self, ref: ModelRef, seed: bytes, said: Said) -> Said | None:
        """Peer.prepare_refresh."""
        model, state = codec.model_ref_to_wire(ref), codec.said_to_wire(said)
        request = pb.PrepareRefreshRequest(model=model, seed=seed, state=state)
        with calls_to(self._name):
            response = self.stub.PrepareRefresh(request, timeout=_REFRESH_S)
        return codec.said_from_wire(response)

    # --- Queries ----------------------------------------------------------------------------------

    def watch(self) -> Watch[HeldChange]:
        """Follow which queries party 1 holds, over a connection that may be yet to come.

        The first change has all of them. Iterating raises what gRPC does.
        """
        request = pb.WatchHalvesRequest(process=this_process())
        call = self.stub.WatchHalves(request, wait_for_ready=True)
        return Watch(call, codec.held_changes_from_wire)

    def refuse(self, query_id: str, *, timeout_s: float) -> None:
        """Let party 1 end a query whose question differs. Raises Refused."""
        request = pb.RefuseHalfRequest(query_id=codec.id_to_wire(query_id))
        about = request_id.metadata([query_id])
        with calls_to(self._name):
            self.stub.RefuseHalf(request, timeout=timeout_s, metadata=about)

    def start(self, run: Run, when_refused: Callable[[], None], *, timeout_s: float) -> PlacedRun:
        """Order a run, without waiting for party 1. It answers within `timeout_s`, or not at all.

        `when_refused` is called, from another thread, as soon as party 1 is known not to run it.
        """
        about = request_id.metadata([ref.query_id for ref in run.queries])
        order = codec.run_to_wire(run)
        call = self.stub.StartRun.future(order, timeout=timeout_s, metadata=about)
        return PlacedRun(call, self._name, run, when_refused)
