"""Rebuilding slivers from what other nodes gave: CPU work for `Workers`, pure.

Everything that comes in here may be a lie. A symbol without a proof is only checked for its shape and for standing on
a sliver that its sender owns, so that no peer can speak for another; the rebuilt sliver is then verified as a whole.
"""
