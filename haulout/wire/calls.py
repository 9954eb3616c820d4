"""How calls are made: every one with a deadline, every foreign exception turned into ours.

A stream has two limits: the time without any progress, and a long one for the whole that the server sees as the
deadline. So a large sliver may take its time, while a peer that stops answering is given up after seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc

from haulout.errors import DeadlineExceeded, InvalidField, UndecodableBytes, Unreachable
from haulout.observability import tracing
from haulout.wire.errors import MalformedAnswer
from haulout.wire.status import from_status

T = TypeVar("T")

# What grpc.aio puts in place of a status when a write fails.
GRPC_WRITE_FAILED = "Internal error from Core"
STATUS_LOOKS = 500
STATUS_LOOK_S = 0.01

# A message is a MiB of payload and its framing; answers with many small things stay below this too.
MAX_MESSAGE_BYTES = (4 << 20) + (64 << 10)
# What an answer may carry so that it fits with its framing.
MAX_ANSWER_BYTES = 4 << 20

COMMON_OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
)
CLIENT_OPTIONS: tuple[tuple[str, str | int], ...] = (
    *COMMON_OPTIONS,
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # A peer that comes back is found again within half a second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 400),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long calls may take."""

    unary_ms: int = 10_000
    progress_ms: int = 10_000
    stream_ms: int = 600_000


class CallEnding:
    """What the server ended a call with.

    When a write fails because the call has ended, gRPC puts a status of its own in place of the server's, whether that
    has arrived already or is still on its way. So each status is looked at in the moment in which it is set, and
    gRPC's own does not count.
    """

    def __init__(self, call: grpc.aio.StreamUnaryCall[Any, Any]) -> None:
        self._call = call
        self._status: tuple[grpc.StatusCode, str, Any, Any] | None = None
        call.add_done_callback(self._note)

    async def error(self) -> grpc.aio.AioRpcError | None:
        """The server's status as an error, or None when it is OK; waits for it for a while."""
        for _ in range(STATUS_LOOKS):
            self._note(self._call)
            if self._status is not None:
                break
            await asyncio.sleep(STATUS_LOOK_S)
        else:
            raise grpc.aio.AioRpcError(
                grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "the call broke in mid-upload"
            )
        code, details, initial, trailing = self._status
        return None if code is grpc.StatusCode.OK else grpc.aio.AioRpcError(code, initial, trailing, details)

    def _note(self, call: Any) -> None:
        details = _at_once(call.details()) if call.done() else GRPC_WRITE_FAILED
        if self._status is None and details != GRPC_WRITE_FAILED:
            others = map(_at_once, (call.code(), call.initial_metadata(), call.trailing_metadata()))
            code, initial, trailing = others
            self._status = code, details, initial, trailing


def _at_once(answer: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that has nothing to wait for."""
    try:
        answer.send(None)
    except StopIteration as e:
        return e.value
    raise AssertionError("a call that has ended knows its status")


@dataclass(frozen=True, slots=True)
class Peer:
    """The other side of a channel, for deadlines and error texts."""

    address: str
    timeouts: Timeouts
    metadata: tuple[tuple[str, str], ...] = ()  # sent with every call that has one answer

    async def unary(
        self, operation: str, call: grpc.aio.UnaryUnaryMultiCallable[Any, T], request: Any, *, wait_ms: int = 0
    ) -> T:
        """One request, one answer; `wait_ms` is how long the server was asked to wait, on top of the deadline."""
        timeout_ms = self.timeouts.unary_ms + wait_ms
        with self.span(operation) as span, self.errors(operation, timeout_ms):
            metadata = (*self.metadata, *span.headers)
            answer: T = await call(request, timeout=timeout_ms / 1000, metadata=metadata or None)
            return answer

    def span(self, operation: str) -> tracing.Span:
        """One call as a part of the current trace; its `headers` are sent with it."""
        return tracing.call(operation, self.address)

    async def messages(
        self, operation: str, call: grpc.aio.UnaryStreamCall[Any, T], *, endless: bool = False
    ) -> AsyncIterator[T]:
        """The messages of an answer stream; when the reader stops early the call is cancelled.

        Args:
            operation: name of the call.
            call: the call, already made.
            endless: silence is no error; the connection's keepalive tells whether the peer is there.
        """
        timeout_ms = self.timeouts.progress_ms
        try:
            while True:
                with self.errors(operation, timeout_ms):
                    async with asyncio.timeout(None if endless else timeout_ms / 1000):
                        message = await call.read()
                if message is grpc.aio.EOF:
                    return
                yield message  # type: ignore[misc]
        finally:
            call.cancel()

    async def progress(self, operation: str, step: Awaitable[T]) -> T:
        """Wait for one step of a stream."""
        with self.errors(operation, self.timeouts.progress_ms):
            async with asyncio.timeout(self.timeouts.progress_ms / 1000):
                return await step

    async def write(
        self, operation: str, call: grpc.aio.StreamUnaryCall[Any, Any], message: Any, ending: CallEnding
    ) -> bool:
        """Send one message of a stream; False when the call has ended well without it, which its answer then shows.

        A server may refuse in the middle of an upload; `ending` then knows why.
        """

        async def write() -> bool:
            try:
                await call.write(message)
            except (asyncio.InvalidStateError, grpc.aio.AioRpcError):
                error = await ending.error()
                if error is None:
                    return False
                raise error from None
            return True

        return await self.progress(operation, write())

    @contextlib.contextmanager
    def errors(self, operation: str, timeout_ms: int) -> Iterator[None]:
        """Turn what gRPC raises into our errors.

        Raises:
            HauloutError: what the server raised, as the same class.
            Unreachable: the peer cannot be reached or the call was cut off.
            DeadlineExceeded: no answer, or no progress, in time.
        """
        try:
            yield
        except grpc.aio.AioRpcError as e:
            raise from_status(
                e.code(),
                e.details() or "",
                tuple(e.trailing_metadata() or ()),
                peer=self.address,
                operation=operation,
                timeout_ms=timeout_ms,
            ) from e
        except TimeoutError as e:
            raise DeadlineExceeded(operation=f"{operation} at {self.address}", timeout_ms=timeout_ms) from e
        except grpc.aio.UsageError as e:  # the channel was closed before the call
            raise Unreachable(peer=self.address, problem="the connection was closed") from e
        except asyncio.CancelledError as e:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Nobody cancelled us: the channel was closed under the call.
            raise Unreachable(peer=self.address, problem="the connection was closed") from e

    @contextlib.contextmanager
    def reading(self, operation: str) -> Iterator[None]:
        """Turn what is wrong with an answer into `MalformedAnswer`, which names the peer."""
        try:
            yield
        except (InvalidField, UndecodableBytes) as e:
            raise MalformedAnswer(peer=self.address, operation=operation, problem=str(e)) from e
