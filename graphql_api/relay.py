"""Brings what is uploaded in the console to the gateway.

The policy of the pages lets them talk to nobody but the process that they came from, and in a cluster the gateway has
no address that a browser could reach. Who may store was asked when the upload was announced: its id is the permission.
"""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from graphql_api.gateway import Gateway
from haulout.errors import HauloutError, InvalidField, Unreachable
from haulout.gateway.errors import error_response
from haulout.observability import tracing

CONNECT_S = 5
WRITE_S = 60  # for the gateway to take the next piece
ID_BYTES = 16  # of an upload, as the gateway makes them
STORE_S = 3_600  # for its answer, which comes when the blob is certified


class UploadRelay:
    """Passes bodies on as they come; none is ever held here."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def put(self, request: Request) -> Response:
        """Put the body to the upload of this id; the answer is the gateway's, its refusals included."""
        try:
            return await self._pass_on(request, _upload_id(str(request.path_params["upload_id"])))
        except HauloutError as e:
            return error_response(e)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it

    async def _pass_on(self, request: Request, upload_id: str) -> Response:
        import httpx

        length = request.headers.get("content-length")
        try:
            with tracing.call("PUT", self._gateway.url) as span:
                answer = await self._gateway.http.put(
                    f"{self._gateway.url}/v1/uploads/{upload_id}",
                    content=request.stream(),
                    headers={**({} if length is None else {"content-length": length}), **dict(span.headers)},
                    timeout=httpx.Timeout(STORE_S, connect=CONNECT_S, write=WRITE_S, pool=CONNECT_S),
                )
        except httpx.HTTPError as e:
            raise Unreachable(peer="the gateway", problem=type(e).__name__) from e
        headers = {"content-type": answer.headers.get("content-type", "text/plain"), "cache-control": "no-store"}
        return Response(answer.content, answer.status_code, headers)


def _upload_id(text: str) -> str:
    try:
        is_id = len(bytes.fromhex(text)) == ID_BYTES
    except ValueError:
        is_id = False
    if not is_id:
        raise InvalidField(field="upload_id", problem="is not the id of an upload")
    return bytes.fromhex(text).hex()
