"""Tokens of the cluster's service accounts, as a Pod of the cluster has one: whoever runs the network's processes says
whose they are, and is believed for a minute.

This service has no word with the API server itself. An account that was let in once stands among the tokens under its
name, without a secret: so the audit says who did what, and `revokeToken` shuts it out.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from dataclasses import dataclass

from graphql_api.records.database import Records
from graphql_api.records.tokens import Token, digest_of, find_token, keep_account
from haulout.errors import Corrupt, HauloutError, Unavailable
from haulout.observability.logs import get_logger
from haulout.ports import Clock, ClusterControl, ReviewedToken

TOKEN_MAX = 8_192
BELIEVED_MS = 60_000
KEPT_MAX = 1_000
AT_ONCE = 4
WAITING_MAX = 32
_SHAPE = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)  # a JSON Web Token

log = get_logger("access")


@dataclass(eq=False)
class TokenReviewUnavailable(Unavailable):
    """Nobody can say at present whose a token of the cluster is."""

    code = "TOKEN_REVIEW_UNAVAILABLE"
    template = "the cluster cannot be asked whose token this is: {problem}"
    hint = "try again; tokens that `haulout token create` has made need no review"
    problem: str


def has_shape(secret: str) -> bool:
    """Whether it may be a token of the cluster."""
    return len(secret) <= TOKEN_MAX and _SHAPE.fullmatch(secret) is not None


class ClusterTokens:
    """Has tokens reviewed; a few at a time, since anybody may send anything."""

    def __init__(self, control: ClusterControl, records: Records, clock: Clock) -> None:
        self._control = control
        self._records = records
        self._clock = clock
        self._believed: OrderedDict[bytes, tuple[int, bytes]] = OrderedDict()  # by digest: until when, whose account
        self._places = asyncio.Semaphore(AT_ONCE)
        self._n_waiting = 0

    async def token_of(self, secret: str) -> Token | None:
        """The account behind a token of the cluster; None when it is none for this network.

        Raises:
            TokenReviewUnavailable: nobody can say at present.
        """
        digest, now_us = digest_of(secret), self._clock.monotonic_us()
        until_us, account = self._believed.get(digest, (0, b""))
        if now_us < until_us:
            known = await self._records.read(find_token, account)
            if known is not None:
                return known
        reviewed = await self._review(secret)
        if reviewed is None:
            self._believed.pop(digest, None)
            return None
        account = digest_of(reviewed.username)  # no secret begins like that, so nobody can send it
        now_ms = self._clock.now_ms()
        token = await self._records.write(keep_account, account, reviewed.username, reviewed.scopes, now_ms)
        self._believed[digest] = (now_us + BELIEVED_MS * 1000, account)
        self._believed.move_to_end(digest)
        while len(self._believed) > KEPT_MAX:
            self._believed.popitem(last=False)
        return token

    async def _review(self, secret: str) -> ReviewedToken | None:
        if self._n_waiting >= WAITING_MAX:
            raise TokenReviewUnavailable(problem=f"{self._n_waiting} reviews wait already")
        self._n_waiting += 1
        try:
            async with self._places:
                return await self._control.review_token(secret)
        except (Unavailable, Corrupt) as e:
            raise TokenReviewUnavailable(problem=str(e)) from e
        except HauloutError as e:  # what the cluster has against it is not for strangers
            log.info("token of the cluster refused", code=e.code, problem=str(e))
            return None
        finally:
            self._n_waiting -= 1
