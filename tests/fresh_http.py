"""HTTP requests, each over a connection of its own, to this machine and its clusters.

httpx reads the certificates of the whole world for every client that it makes, 46 ms of CPU; what is asked here speaks
plain HTTP.
"""

from __future__ import annotations

import ssl
from functools import partial

import httpx

NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

get = partial(httpx.get, trust_env=False, verify=NO_CERTIFICATES)
put = partial(httpx.put, trust_env=False, verify=NO_CERTIFICATES)
post = partial(httpx.post, trust_env=False, verify=NO_CERTIFICATES)
