"""Where a network's children go."""

from __future__ import annotations

from haulout_operator.manifests.common import Place
from haulout_operator.observed import Observed


def place_of(observed: Observed) -> Place:
    """The network's place, with the image of the operator for networks that name none."""
    network = observed.network
    return Place(observed.namespace, network.name, network.spec, observed.default_image, observed.control_address)
