"""Native code for the codec's inner loops, made on the user's machine by numba, and the choice whether to use it.

`choice` says which kernels serve and changes it; it imports no numba. Everything native stands beside a plain version
in numpy that gives the same bytes, serves while the kernels are being compiled, and stays where numba has no wheel::

    plain                                      native
    codec/transform.py, reed_solomon.py        gf16.py   butterflies in vector registers
                                               strips.py words of symbols through them; erasures
    codec/gf8.py                               gf8.py    a matrix over GF(2^8), for RS8
    crypto/batch.py                            crypto/blake2b_lanes.py   eight hashes at a time
                                               crypto/simd.py            the vector operations of all of them

What the transform does, by hand
--------------------------------
Elements are numbers whose sum is XOR; for the smallest ones 2 * 2 = 3, 2 * 3 = 1, 3 * 3 = 2. A code puts its symbols
at points 0, 1, 2 … of one polynomial. Two source symbols a = 1, b = 2 and two repair symbols (n = 4: the primary code)
take one chunk of two points for the source and one for the repair::

    point    0   1   |   2   3
    symbol   a   b   |   r0  r1        chunks of m = 2 points

*Inverse* butterflies take values to coefficients, *forward* ones take coefficients to the values at other points. One
of each, and each knows a single constant, its *skew element*: the point where its block starts, shifted right by the
layer::

    inverse at 0, skew 0    v' = b + a    u' = a + 0 v'             u' = 1          v' = 2 + 1 = 3
    forward at 2, skew 2    r0 = u' + 2 v'    r1 = v' + r0          r0 = 1 + 1 = 0  r1 = 3 + 0 = 3

Multiplied out that is r0 = 3 a + 2 b and r1 = 2 a + 3 b. If a is lost, b and r0 give it back: the matrix of that case
is a = (r0 + 2 b) / 3 = (0 + 3) / 3 = 1, which is the *direct* form of decoding. With many symbols lost the *transform*
form is cheaper: the error locator (the polynomial that is zero at every lost point) times the word can be interpolated
without knowing the lost symbols, and its derivative at a lost point is the lost symbol times a constant.

More points, more layers; a chunk of 4 at point 4 takes (inverse: upwards)::

    half-width 2    rows 0 and 2, 1 and 3                     skew (4 + 0) >> 1 = 2
    half-width 1    rows 0 and 1                              skew 4 + 0 = 4
                    rows 2 and 3                              skew 4 + 2 = 6

That is m log2(m) / 2 products per chunk instead of the m * m of a matrix: for 334 of 1000 symbols 13 times fewer.

How it is made fast
-------------------
* The same butterfly is done to many words at once, since all of them are coded alike: a row of the transform is a strip
  of up to 4 KiB, and all rows of a strip stay in the second-level cache (`strips.py`).
* Three layers are done per pass, eight rows in registers: a row is read and written once per three layers.
* A product with a constant is linear in the bits: four 8x8 bit matrices (GFNI), or eight tables for nibbles (shuffles
  of AVX-512, AVX2, SSSE3, NEON). 64 bytes hold 32 low and then 32 high bytes, as symbols store them anyway.
* What is expanded is hashed before it leaves the caches (`codec/words.py`), and blocks of rows that are known to be
  zero, or that nobody asks for, are skipped.
"""
