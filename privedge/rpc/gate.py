"""What every call to a server passes before it reaches a servicer, and how it ends.

In gRPC's own serving thread, which must not wait:

    1.  the connection is TLS 1.3 with a certificate of our authority, or insecure loopback; the
        certificate is good now, and the caller allowed by this server: rpc/callers.py
    2.  the caller's role is in the access table for this method
    3.  there is a place for the call: rpc/admission.py

Only then does the call take a thread, and there:

    4.  its first message must come soon, and the call must end in its time
    5.  the servicer runs; any exception becomes a status of rpc/status.py

A caller that goes on after many refusals gets further ones late, so refusing it costs nothing.
Logs say who called which method and how the call ended. The message of one of our own errors is
logged; any other exception is logged only by type and place.
"""

import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from contextlib import ExitStack
from contextvars import copy_context
from functools import partial
from typing import Any

import grpc

from privedge import traces
from privedge.errors import BudgetSpent, Busy, NotAllowed, PrivEdgeError, Restarting
from privedge.identity.roles import Identity, Role
from privedge.log import about, name_requests
from privedge.rpc import request_id
from privedge.rpc.admission import Admission, Quota
from privedge.rpc.callers import Callers, Known, let_in
from privedge.rpc.requests import Requests, lenient
from privedge.rpc.status import ERROR_ID, RETRY_AFTER, kind_of, status_of
from privedge.rpc.threads import threads
from privedge.rpc.time_limit import given_up_after, ring_after
from privedge.rpc.witness import Witness

log = logging.getLogger(__name__)

FIRST_MESSAGE_S = 5.0
# Refusals of one caller within a second that are logged and sent at once; further ones are not.
_PROMPT_REFUSALS = 20
_LATE_S = 0.5
# What methods outside the table are called: callers choose those names, and could choose many.
_UNLISTED = "/unlisted/unlisted"

Send = Callable[[Any], None]
# Told of each call that ended: its method, the code's name, the kind of error ("" if none) and the
# kind of places for which it counted ("" if it was refused before). It must not wait.
Ended = Callable[[str, str, str, str], object]


class InPlace(futures.ThreadPoolExecutor):
    """What gRPC takes for its pool of threads: it runs a task where the task is submitted.

    That is gRPC's serving thread, and the task is a _Door's decision.
    """

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "futures.Future[Any]":
        """Run the task, and return its future, which is done."""
        done: futures.Future[Any] = futures.Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:
            done.set_exception(error)
        return done


class Gate(grpc.ServerInterceptor):
    """Puts a _Door before every handler of the server."""

    def __init__(
        self,
        access: Mapping[str, frozenset[Role]],
        patient: frozenset[str],
        quotas: Mapping[str, Quota],
        callers: Callers,
        witness: Witness,
        ended: Ended = lambda *_: None,
    ) -> None:
        """`patient` are methods whose first message may come late."""
        self.witness = witness
        self.access = access
        self.patient = patient
        self.admission = Admission(quotas)
        self.callers = callers
        self.ended = ended
        self.refusals = _Refusals()
        # By method of `access`: all calls of a method have one door.
        self._doors: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Return the handler that gRPC calls. On the wire all four kinds of call look alike."""
        method = handler_call_details.method
        if method in self._doors:
            return self._doors[method]
        handler: Any = continuation(handler_call_details)
        if handler is None:
            return None  # gRPC answers UNIMPLEMENTED
        listed = method in self.access
        door = grpc.stream_stream_rpc_method_handler(
            _Door(self, method if listed else _UNLISTED, handler),
            request_deserializer=lenient(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )
        if listed:
            self._doors[method] = door
        return door


class _Door:
    """Decides on one call, and lets it in or refuses it."""

    # Of gRPC: the handler gets a function that sends, and may return before the call has ended.
    experimental_non_blocking = True

    def __init__(self, gate: Gate, method: str, handler: Any) -> None:
        self._gate, self._method, self._handler = gate, method, handler

    def __call__(self, requests: Iterator[Any], context: grpc.ServicerContext, send: Send) -> None:
        with about(()):
            self._decide(requests, context, send)

    def _decide(self, requests: Iterator[Any], context: grpc.ServicerContext, send: Send) -> None:
        who, places = None, ""
        try:
            known = self._gate.callers.identify(context)
            who = known.who
            self._gate.callers.require(known)
            name_requests(request_id.received(context, who.role))
            if who.role not in self._gate.access.get(self._method, ()):
                raise NotAllowed(f"{who.uri} has no access")
            quota = self._gate.admission.quota(who, self._method)
            places = quota.kind
            leave = self._gate.admission.enter(who, quota)
            try:
                self._let_in(requests, context, send, quota, leave, known)
            except BaseException:
                leave()
                raise
        except Exception as error:
            self._refuse(context, send, who, error, places)

    def _let_in(
        self,
        requests: Iterator[Any],
        context: grpc.ServicerContext,
        send: Send,
        quota: Quota,
        leave: Callable[[], None],
        known: Known,
    ) -> None:
        who = known.who
        let_in(context, who)
        if who.role is Role.ADMIN:
            _tell(self._gate.witness.admin_called, who.uri, self._method)
        serve = partial(self._serve, requests, context, send, quota, leave, known)
        try:
            # The thread's lines are about the same queries as this one's.
            threads.run(partial(copy_context().run, serve))
        except RuntimeError:
            raise Busy("the system has no more threads") from None

    def _refuse(
        self,
        context: grpc.ServicerContext,
        send: Send,
        who: Identity | None,
        error: Exception,
        places: str,
    ) -> None:
        if isinstance(error, NotAllowed):
            _tell(self._gate.witness.refused, who.uri if who is not None else "", self._method)
        late = self._gate.refusals.too_many(who)
        self._failed(context, error, places, quiet=late)
        if late:
            ring_after(_LATE_S, partial(send, None))
        else:
            send(None)

    def _serve(
        self,
        requests: Iterator[Any],
        context: grpc.ServicerContext,
        send: Send,
        quota: Quota,
        leave: Callable[[], None],
        known: Known,
    ) -> None:
        """Runs in the call's own thread."""
        with ExitStack() as ending:
            ending.callback(send, None)
            ending.callback(leave)
            ending.enter_context(self._gate.callers.running(known, context))
            try:
                if quota.longest_s is not None:
                    ending.enter_context(given_up_after(quota.longest_s, context))
                if traces.on():
                    said = context.invocation_metadata()
                    ending.enter_context(traces.continued(said, known.who.role))
                first_s = None if self._method in self._gate.patient else FIRST_MESSAGE_S
                for response in self._responses(Requests(requests, context, first_s), context):
                    send(response)
                    if not context.is_active():
                        break
                self._ended(context, "", quota.kind)
            except Exception as error:
                if _aborted(error, context):
                    self._ended(context, "", quota.kind)
                else:
                    self._failed(context, error, quota.kind)

    def _failed(
        self, context: grpc.ServicerContext, error: Exception, places: str, *, quiet: bool = False
    ) -> None:
        """Choose the status with which the call ends, and tell of it."""
        _set_status(self._method, context, error, quiet=quiet)
        self._ended(context, kind_of(error).__name__, places)

    def _ended(self, context: grpc.ServicerContext, kind: str, places: str) -> None:
        _tell(self._gate.ended, self._method, _code_of(context), kind, places)

    def _responses(self, requests: Requests, context: grpc.ServicerContext) -> Iterator[Any]:
        handler = self._handler
        request: Any = requests if handler.request_streaming else requests.only()
        if handler.response_streaming:
            behaviour = handler.stream_stream or handler.unary_stream
            yield from behaviour(request, context)
        else:
            behaviour = handler.stream_unary or handler.unary_unary
            yield behaviour(request, context)


class _Refusals:
    """How often each caller was refused within this second. For one thread."""

    def __init__(self) -> None:
        self._since = 0.0
        self._counts: Counter[Identity | None] = Counter()

    def too_many(self, who: Identity | None) -> bool:
        """Count one refusal, and return whether it is one too many."""
        now = time.monotonic()
        if now > self._since + 1:
            self._since = now
            self._counts.clear()
        self._counts[who] += 1
        return self._counts[who] > _PROMPT_REFUSALS


def _tell(listener: Callable[..., object], *said: str) -> None:
    """Tell somebody of a call. Whatever goes wrong there, the call goes on."""
    try:
        listener(*said)
    except Exception as error:
        log.error("a call was not recorded: %s", _place(error))


def _aborted(error: Exception, context: Any) -> bool:
    """Return whether the servicer called context.abort(), which raises a bare Exception."""
    return type(error) is Exception and not error.args and context.code() is not None


def _code_of(context: Any) -> str:
    """Return the name of the code with which the call ends."""
    if not context.is_active():
        return grpc.StatusCode.CANCELLED.name
    code: grpc.StatusCode = context.code() or grpc.StatusCode.OK
    return code.name


def _set_status(
    method: str, context: grpc.ServicerContext, error: Exception, *, quiet: bool = False
) -> None:
    """Choose the status with which the call ends, and log it unless `quiet`."""
    if not context.is_active():  # cancelled, disconnected or out of time: nobody is listening
        log.info("%s: abandoned by its caller (%s)", method, type(error).__name__)
        return
    code, text = status_of(error)
    context.set_code(code)
    context.set_details(text)
    if isinstance(error, BudgetSpent | Busy | Restarting):
        milliseconds = str(round(1000 * error.retry_after_s))
        context.set_trailing_metadata(((RETRY_AFTER, milliseconds),))
    if not isinstance(error, PrivEdgeError) or code is grpc.StatusCode.INTERNAL:
        error_id = secrets.token_hex(4)
        context.set_trailing_metadata(((ERROR_ID, error_id),))
        log.error("%s: error %s: %s", method, error_id, _place(error))
    elif not quiet:
        log.warning("%s: refused as %s: %s", method, code.name, " ".join(str(error).split()))


def _place(error: Exception) -> str:
    """Return type and line of `error`, without its text, which could quote data."""
    where, trace = "", error.__traceback__
    while trace is not None:
        where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    text = f": {' '.join(str(error).split())}" if isinstance(error, PrivEdgeError) else ""
    return f"{type(error).__name__} at {where}{text}"
