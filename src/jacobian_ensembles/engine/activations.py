"""Functions of vectors: a network's activations, and the exponential and logarithm that losses need."""

from __future__ import annotations

from jacobian_ensembles.engine.compiling import inlined
from jacobian_ensembles.engine.vectors import as_floats, bits, constant, fma, rounded, shifted, where


@inlined
def tanh(z):  # type: ignore[no-untyped-def]
    """A ratio of polynomials in z^2, as good as float32 allows; NaN stays NaN."""
    z = where(z < -7.9988117, constant(-7.9988117), z)  # beyond this, tanh is 1 in float32
    z = where(z > 7.9988117, constant(7.9988117), z)
    s = z * z
    p = fma(constant(-2.76076847742355e-16), s, constant(2.00018790482477e-13))
    p = fma(p, s, constant(-8.60467152213735e-11))
    p = fma(p, s, constant(5.12229709037114e-08))
    p = fma(p, s, constant(1.48572235717979e-05))
    p = fma(p, s, constant(6.37261928875436e-04))
    p = fma(p, s, constant(4.89352455891786e-03))
    q = fma(constant(1.19825839466702e-06), s, constant(1.18534705686654e-04))
    q = fma(q, s, constant(2.26843463243900e-03))
    q = fma(q, s, constant(4.89352518554385e-03))
    return z * p / q


@inlined
def activated(z, relu):  # type: ignore[no-untyped-def]
    """The activation: ReLU or tanh."""
    if relu:
        return where(z < 0.0, constant(0.0), z)
    return tanh(z)


@inlined
def slope(a, relu):  # type: ignore[no-untyped-def]
    """The activation's derivative where its output is ``a``."""
    if relu:
        return where(a > 0.0, constant(1.0), constant(0.0))
    return 1.0 - a * a


@inlined
def exp(x):  # type: ignore[no-untyped-def]
    """e^x for x <= 0: 2^n times a polynomial for the rest (Cephes, expf); at least e^-87."""
    x = where(x < -87.0, constant(-87.0), x)
    n = rounded(x * 1.44269504088896341)
    r = fma(as_floats(n), constant(-0.693359375), x)  # ln 2 in two parts, the first exact
    r = fma(as_floats(n), constant(2.12194440e-4), r)
    p = fma(constant(1.9875691500e-4), r, constant(1.3981999507e-3))
    p = fma(p, r, constant(8.3334519073e-3))
    p = fma(p, r, constant(4.1665795894e-2))
    p = fma(p, r, constant(1.6666665459e-1))
    p = fma(p, r, constant(5.0000001201e-1))
    p = fma(p * r, r, r + 1.0)
    return p * bits(shifted(n + 127, 23))


@inlined
def log(x):  # type: ignore[no-untyped-def]
    """The natural logarithm of a normal positive number: its exponent, and a polynomial for the rest (Cephes, logf)."""
    pattern = bits(x)
    n = as_floats(shifted(pattern, -23) - 126)
    m = bits((pattern & 0x007FFFFF) | 0x3F000000)  # in [1/2, 1)
    small = m < 0.707106781186547524
    n = where(small, n - 1.0, n)
    m = where(small, m + m, m) - 1.0
    p = fma(constant(7.0376836292e-2), m, constant(-1.1514610310e-1))
    p = fma(p, m, constant(1.1676998740e-1))
    p = fma(p, m, constant(-1.2420140846e-1))
    p = fma(p, m, constant(1.4249322787e-1))
    p = fma(p, m, constant(-1.6668057665e-1))
    p = fma(p, m, constant(2.0000714765e-1))
    p = fma(p, m, constant(-2.4999993993e-1))
    p = fma(p, m, constant(3.3333331174e-1))
    z = m * m
    y = fma(n, constant(-2.12194440e-4), m * z * p)
    y = fma(z, constant(-0.5), y)
    # NaN has an exponent too
    return where(x != x, x, fma(n, constant(0.693359375), m + y))
