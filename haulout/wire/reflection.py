"""gRPC server reflection that costs nothing until somebody asks: what describes descriptors is large to import."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc

REFLECTION = "grpc.reflection.v1alpha.ServerReflection"


class LazyReflection(grpc.GenericRpcHandler):
    """Handles the reflection service, which is imported and built with its first call."""

    def __init__(self, services: Sequence[str]) -> None:
        """`services`: full names of all that the server serves, reflection included."""
        self._services = services
        self._method: grpc.RpcMethodHandler[Any, Any] | None = None

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        if handler_call_details.method != f"/{REFLECTION}/ServerReflectionInfo":
            return None
        if self._method is None:
            from grpc_reflection.v1alpha.reflection import aio
            from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

            self._method = grpc.stream_stream_rpc_method_handler(
                aio.ReflectionServicer(self._services).ServerReflectionInfo,
                request_deserializer=ServerReflectionRequest.FromString,
                response_serializer=ServerReflectionResponse.SerializeToString,
            )
        return self._method
