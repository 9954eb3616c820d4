"""A small network to follow: genesis with funded accounts, a clock set by hand, signed transfers."""

from tests.town import ledger as ledger
from tests.town import town as town
