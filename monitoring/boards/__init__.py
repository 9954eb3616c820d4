"""The dashboards. The first row of each says in numbers and colours whether something is wrong; the rest, what."""

from __future__ import annotations

from monitoring.boards.durability import DURABILITY
from monitoring.boards.gateway import GATEWAY
from monitoring.boards.ledger import LEDGER
from monitoring.boards.network import NETWORK
from monitoring.boards.node import NODE
from monitoring.boards.operator import OPERATOR

BOARDS = (NETWORK, NODE, LEDGER, GATEWAY, DURABILITY, OPERATOR)
