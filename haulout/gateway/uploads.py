"""Uploads that are announced first: a link that works once, and how far the upload is, for as long as it is of use.

`POST /v1/uploads` takes the parameters of a store and gives a path; the content is put there once, by whoever knows it,
and `GET` of the same path tells the phase, the bytes and what each storage node has answered. A JSON body of the `POST`
may announce the content, `{"sizeBytes": 5, "attributes": {"type": "film"}}`: the path takes exactly so many bytes, and
the upload is done when its object has these attributes. All of it is in memory: after a restart the link is unknown,
and storing the same bytes again goes on where it was.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from haulout.client.confirmations import NodeOutcome
from haulout.client.documents import store_result
from haulout.client.network import Network
from haulout.client.store import Progress, StoreRequest, check_request
from haulout.codec.sizes import check_blob_size
from haulout.errors import HauloutError, NotFound, Rejected, Unavailable
from haulout.gateway.errors import MalformedRequest, error_response
from haulout.gateway.publisher import Publisher, parse_store_request, store_response
from haulout.ledger.blobs import MAX_ATTRIBUTE_KEY_BYTES, MAX_ATTRIBUTE_VALUE_BYTES, MAX_ATTRIBUTES
from haulout.primitives import hex_id_text

UPLOADS_MAX = 1_000
LIFE_MS = 3_600_000
ID_BYTES = 16
ANNOUNCEMENT_BYTES_MAX = 256 * 1024  # of JSON that escapes every character of as many attributes as there may be
DONE, FAILED, WAITING, RECEIVING = "done", "failed", "waiting", "receiving"


@dataclass(eq=False)
class UploadNotFound(NotFound):
    """No such upload is known here (any more)."""

    code = "UPLOAD_NOT_FOUND"
    template = "there is no upload {upload_id}"
    hint = "announce it again; what was stored of the same bytes is found again"
    upload_id: str


@dataclass(eq=False)
class UploadUsed(Rejected):
    """The link was used before."""

    code = "UPLOAD_USED"
    template = "upload {upload_id} has begun already"
    hint = "announce another one"
    upload_id: str


@dataclass(eq=False)
class UploadCutOff(Unavailable):
    """The upload ended with the request that brought it."""

    code = "UPLOAD_CUT_OFF"
    template = "upload {upload_id} was cut off"
    hint = "announce another one; what has arrived of the same bytes is not sent again"
    upload_id: str


@dataclass(frozen=True, slots=True)
class Announcement:
    """What is known of the content before it comes.

    Attributes:
        size_bytes: how many bytes it has; None when nobody has said.
        attributes: what its object is to have.
    """

    size_bytes: int | None
    attributes: Mapping[str, str]


@dataclass(slots=True)
class Upload:
    """One announced upload."""

    upload_id: str
    request: StoreRequest
    expires_ms: int
    announced_bytes: int | None
    phase: str = WAITING
    done_bytes: int = 0
    total_bytes: int = 0
    nodes: dict[bytes, NodeOutcome] = field(default_factory=dict)
    result: dict[str, Any] | None = None
    error: dict[str, str] | None = None

    def on_progress(self, progress: Progress) -> None:
        self.phase, self.done_bytes, self.total_bytes = progress.phase, progress.done_bytes, progress.total_bytes

    def on_node(self, outcome: NodeOutcome) -> None:
        self.nodes[outcome.node_id] = outcome

    def fail(self, error: HauloutError) -> None:
        self.error = {"code": error.code, "message": str(error), "failurePhase": self.phase}
        self.phase = FAILED

    def document(self) -> dict[str, Any]:
        """How it stands, in JSON."""
        nodes = [
            {
                "nodeId": hex_id_text(node.node_id),
                "name": node.name,
                "weight": node.weight,
                "hasConfirmed": node.has_confirmed,
                "problem": node.problem,
            }
            for node in self.nodes.values()
        ]
        return {
            "id": self.upload_id,
            "phase": self.phase,
            "expiresMs": self.expires_ms,
            "doneBytes": self.done_bytes,
            "totalBytes": self.total_bytes,
            "nodes": nodes,
            "result": self.result,
            "error": self.error,
        }


class Uploads:
    """The uploads that are known: at most `UPLOADS_MAX`, the oldest is forgotten first."""

    def __init__(self, network: Network, publisher: Publisher) -> None:
        self._network = network
        self._publisher = publisher
        self._known: OrderedDict[str, Upload] = OrderedDict()

    async def create(self, request: Request) -> Response:
        """Announce an upload; nothing is paid yet."""
        store_request = parse_store_request(request)
        params = await self._network.view.params()
        check_request(store_request, params)
        announcement = await read_announcement(request)
        if announcement.size_bytes is not None:
            check_blob_size(announcement.size_bytes, params.n_shards, params.max_blob_bytes, store_request.encoding)
        now_ms = self._network.clock.now_ms()
        for upload_id in [u.upload_id for u in self._known.values() if u.expires_ms < now_ms]:
            del self._known[upload_id]
        while len(self._known) >= UPLOADS_MAX:
            self._known.popitem(last=False)
        upload_id = self._network.rng.random_bytes(ID_BYTES).hex()
        wanted = replace(store_request, attributes=tuple(announcement.attributes.items()))
        upload = Upload(upload_id, wanted, now_ms + LIFE_MS, announcement.size_bytes)
        self._known[upload.upload_id] = upload
        headers = {"location": f"/v1/uploads/{upload.upload_id}", "cache-control": "no-store"}
        return JSONResponse(upload.document(), 201, headers)

    async def put(self, request: Request) -> Response:
        """Take the content in and store it; answers as a store does."""
        upload = self._find(request)
        if upload.phase != WAITING:
            raise UploadUsed(upload_id=upload.upload_id)
        upload.phase = RECEIVING
        try:
            result = await self._publisher.store(
                request,
                upload.request,
                on_progress=upload.on_progress,
                on_node=upload.on_node,
                announced_bytes=upload.announced_bytes,
            )
        except HauloutError as e:
            upload.fail(e)
            return error_response(e, extra=upload.error)
        except BaseException:
            upload.fail(UploadCutOff(upload_id=upload.upload_id))
            raise
        upload.phase, upload.result = DONE, store_result(result)
        return store_response(result)

    async def show(self, request: Request) -> Response:
        """How it stands."""
        return JSONResponse(self._find(request).document(), headers={"cache-control": "no-store"})

    def _find(self, request: Request) -> Upload:
        upload_id = str(request.path_params["upload_id"])
        upload = self._known.get(upload_id)
        if upload is None or upload.expires_ms < self._network.clock.now_ms():
            raise UploadNotFound(upload_id=upload_id[: 2 * ID_BYTES])
        return upload


async def read_announcement(request: Request) -> Announcement:
    """The JSON body of an announcement; none says nothing.

    Raises:
        MalformedRequest: with what is wrong.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > ANNOUNCEMENT_BYTES_MAX:
            raise MalformedRequest(problem=f"the announcement has more than {ANNOUNCEMENT_BYTES_MAX} bytes")
    try:
        document = json.loads(bytes(body)) if body else {}
    except (ValueError, RecursionError) as e:
        raise MalformedRequest(problem="the announcement is not JSON") from e
    if not isinstance(document, dict) or set(document) - {"sizeBytes", "attributes"}:
        raise MalformedRequest(problem="an announcement has sizeBytes and attributes, nothing else")
    size_bytes, attributes = document.get("sizeBytes"), document.get("attributes") or {}
    if size_bytes is not None and (type(size_bytes) is not int or size_bytes < 0):
        raise MalformedRequest(problem="sizeBytes is not a number of bytes")
    if not isinstance(attributes, dict) or len(attributes) > MAX_ATTRIBUTES:
        raise MalformedRequest(problem=f"attributes are up to {MAX_ATTRIBUTES} pairs of texts")
    for key, value in attributes.items():
        if not isinstance(value, str) or not _fits(key, 1, MAX_ATTRIBUTE_KEY_BYTES):
            raise MalformedRequest(
                problem=f"{key[:40]!r} is no attribute: a key has 1 to {MAX_ATTRIBUTE_KEY_BYTES} bytes"
            )
        if not _fits(value, 0, MAX_ATTRIBUTE_VALUE_BYTES):
            raise MalformedRequest(problem=f"the value of {key[:40]!r} has more than {MAX_ATTRIBUTE_VALUE_BYTES} bytes")
    return Announcement(size_bytes, attributes)


def _fits(text: str, least: int, most: int) -> bool:
    """Whether a text can be sent, and is as long as it may be; half a character cannot."""
    try:
        return least <= len(text.encode()) <= most
    except UnicodeEncodeError:
        return False
