"""Native code for the codec's inner loops, made on the user's machine by numba, and the choice whether to use it.

`choice` says which kernels serve and changes it; it imports no numba. `haulout.crypto.simd` and `crypto.blake2b_lanes`
hold the vector operations and the hash. Everything native stands beside a plain version in numpy that gives the same
bytes, serves while the kernels are being compiled, and stays where numba has no wheel.
"""
