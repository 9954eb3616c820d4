"""Copies bytes between two Pods with nothing but gRPC: what moving shards is measured against.

python grpc_copy.py serve              python grpc_copy.py copy HOST:PORT MIB
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

METHOD = "/copy.Copy/Read"
CHUNK = bytes(1 << 20)


def serve() -> None:
    def read(request: bytes, _: Any) -> Iterator[bytes]:
        for _ in range(int(request)):
            yield CHUNK

    handler = grpc.method_handlers_generic_handler(
        "copy.Copy", {"Read": grpc.unary_stream_rpc_method_handler(read, lambda raw: raw, lambda raw: raw)}
    )
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port("0.0.0.0:9000")
    server.start()
    server.wait_for_termination()


def copy(address: str, mib: int) -> None:
    options = [("grpc.max_receive_message_length", 4 << 20)]
    with grpc.insecure_channel(address, options=options) as channel:
        read = channel.unary_stream(METHOD, lambda raw: raw, lambda raw: raw)
        started = time.monotonic()
        size = sum(len(chunk) for chunk in read(str(mib).encode(), wait_for_ready=True))
        seconds = time.monotonic() - started
    print(f"{size / seconds / 2**20:.1f}")


if __name__ == "__main__":
    serve() if sys.argv[1] == "serve" else copy(sys.argv[2], int(sys.argv[3]))
