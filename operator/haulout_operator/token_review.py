"""Tokens of the cluster's service accounts: whose one is, and what its owner may do with a network's GraphQL.

The API server is asked twice. A TokenReview says whose the token is; it has to be made for the network, so that one
that was made for the API server, or for another network, is none here. Then a SubjectAccessReview for each scope says
whether the cluster's rules let its owner use it::

    kubectl create token ci --audience haulout.dev/demo/main

    rules:  # of a Role in the network's namespace, bound to the service account
      - apiGroups: [haulout.dev]
        resources: [storagenetworks/graphql]
        resourceNames: [main]
        verbs: [read, write-blob]

Both need the ClusterRole `system:auth-delegator`, which the chart binds when it is told to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from haulout.errors import Forbidden
from haulout.ports import ReviewedToken
from haulout_operator.kube import AccessRefused, ApiServerUnavailable, Kube, Manifest
from haulout_operator.models.base import GROUP

VERBS = {"READ": "read", "WRITE_BLOB": "write-blob", "STAKE": "stake", "OPERATE": "operate", "ADMIN": "admin"}
ACCOUNT_PREFIX = "system:serviceaccount:"
TOKEN_MAX = 8_192


@dataclass(eq=False)
class TokenReviewOff(Forbidden):
    """The chart was not told to."""

    code = "TOKEN_REVIEW_OFF"
    template = "tokens of service accounts are not accepted here"
    hint = "set tokenReview.enabled of the chart, or make a token with `haulout token create`"


@dataclass(eq=False)
class TokenRefused(Forbidden):
    """The cluster says no."""

    code = "TOKEN_REFUSED"
    template = "{problem}"
    problem: str


def audience_of(namespace: str, network: str) -> str:
    """What a token has to be made for."""
    return f"{GROUP}/{namespace}/{network}"


class TokenReviewer:
    """Reviews tokens for one network of a namespace."""

    def __init__(self, kube: Kube, *, network: str, namespace: str) -> None:
        self._kube = kube
        self._network = network
        self._namespace = namespace

    async def review(self, token: str) -> ReviewedToken:
        """Whose a token is, and the scopes that its owner has.

        Raises:
            TokenRefused: it is none for this network, or its owner may do nothing with it.
            ApiServerUnavailable: the API server does not answer, or the operator may not ask it this.
        """
        user = await self._owner_of(token)
        scopes = tuple([scope for scope, verb in VERBS.items() if await self._may(user, verb)])
        if not scopes:
            problem = (
                f"{user['username']} may do nothing with storagenetworks/graphql {self._network} in {self._namespace}; "
                f"verbs of it are {', '.join(VERBS.values())}"
            )
            raise TokenRefused(problem=problem)
        return ReviewedToken(str(user["username"]), scopes)

    async def _owner_of(self, token: str) -> Mapping[str, Any]:
        audience = audience_of(self._namespace, self._network)
        if not 0 < len(token) <= TOKEN_MAX:
            raise TokenRefused(problem=f"a token has 1 to {TOKEN_MAX} characters")
        spec = {"token": token, "audiences": [audience]}
        status = await self._ask("authentication.k8s.io/v1", "TokenReview", spec)
        # An API server that does not know audiences names none: then nobody knows what the token is for.
        if not status.get("authenticated") or audience not in (status.get("audiences") or ()):
            raise TokenRefused(problem=f"it is no valid token of this cluster for the audience {audience}")
        user: Mapping[str, Any] = status.get("user") or {}
        if not str(user.get("username") or "").startswith(ACCOUNT_PREFIX):
            raise TokenRefused(problem="its owner is no service account")
        return user

    async def _may(self, user: Mapping[str, Any], verb: str) -> bool:
        who = {
            "user": user["username"],
            "uid": user.get("uid") or "",
            "groups": user.get("groups") or [],
            "extra": user.get("extra") or {},
        }
        what = {
            "group": GROUP,
            "resource": "storagenetworks",
            "subresource": "graphql",
            "namespace": self._namespace,
            "name": self._network,
            "verb": verb,
        }
        spec = {**who, "resourceAttributes": what}
        status = await self._ask("authorization.k8s.io/v1", "SubjectAccessReview", spec)
        return bool(status.get("allowed")) and not status.get("denied")

    async def _ask(self, api_version: str, kind: str, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        body: Manifest = {"apiVersion": api_version, "kind": kind, "metadata": {}, "spec": spec}
        try:
            answer = await self._kube.review(body)
        except AccessRefused as e:
            problem = f"the operator may not make a {kind}; it needs the ClusterRole system:auth-delegator"
            raise ApiServerUnavailable(problem=problem) from e
        status: Mapping[str, Any] = answer.get("status") or {}
        return status
