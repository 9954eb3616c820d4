"""Seeds that found something once. They stay for ever, also when a later draw makes another world of them."""

from typing import Final

SEEDS_THAT_FAILED: Final = (
    11,  # slivers that rotted between upload and confirmation, in an oracle that did not look again
    13,  # a replica set back by a power cut called a certified blob unwanted; it went off the list of what is lacking
    14,  # slivers that were not synced when their blob was certified were not listed, and a power cut took them
    21,  # a ledger lost when an epoch had just begun: pruned nodes gave a snapshot whose committee nobody had signed
    70,  # a replica set back by a crash, in an oracle that took its epoch for the present one
    72,  # who had not got a shard before passing it on was asked for its slivers alone, again and again
    86,  # a clock that had been an hour ahead put a repair off by an hour
    439,  # metadata that rotted kept a node from reading its pieces again
    522,  # a blob deleted by its owner while it was being stored: an assertion instead of an error
    946,  # an empty disk that was full when its node began anew, in a world that did not start the process again
)

SEEDS_THAT_FAILED_SINCE: Final = (
    155,  # takers of shards whose giver had none of a blob took no symbols of each other, and were never complete
    181,  # signatures of an epoch's end were thrown away with every try that found no quorum: a replica was kept out
    291,  # damage forgotten durably and listed after that: a disk set back to between the two lacked a sliver for ever
    314,  # a right sliver that a giver handed over under the name of another was stored in its place
)
"""With what is drawn since the others were kept: lies, shared blobs, disks that are set back."""
