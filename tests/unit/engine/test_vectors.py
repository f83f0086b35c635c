"""Each word against NumPy, on this processor and, in processes of their own, with vectors of 8 and of 4 images."""

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("jacobian_ensembles.engine.vectors", reason="numba is missing", exc_type=ImportError)

from jacobian_ensembles.engine import vectors as v
from jacobian_ensembles.engine.compiling import inner

LANES = v.LANES
RNG = np.random.default_rng(0)


def draw(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def test_arithmetic_comparisons_and_choices():
    @inner
    def f(x, out):
        a, b = v.load(x, 0), v.load(x, 1)
        v.store(out, 0, (a + b) * 2 - 1.0 / b)
        v.store(out, 1, v.where((a > b) | (a < -1.0), a, b))
        v.store(out, 2, v.where((a >= 0.0) & (b != b), a, v.constant(0.5)))
        v.store(out, 3, v.fma(a, b, v.broadcast(x, 1)))
        v.store(out, 4, v.as_floats(v.rounded(a * 10)))
        v.store(out, 5, v.as_floats(v.shifted(v.shifted(v.constant(5), 3) + 1, -1) & 22))
        v.store(out, 6, v.bits(v.bits(a)))
        v.store(out, 7, v.sqrt(a * a))
        return v.total(a)

    x, out = draw(2, LANES), np.zeros((8, LANES), np.float32)
    x[1, 0] = np.nan
    got, (a, b) = f(x, out), x
    np.testing.assert_allclose(out[0], (a + b) * 2 - 1 / b, rtol=1e-5)
    np.testing.assert_array_equal(out[1], np.where((a > b) | (a < -1), a, b))
    np.testing.assert_array_equal(out[2], np.where((a >= 0) & np.isnan(b), a, np.float32(0.5)))
    np.testing.assert_allclose(out[3], a * b + a[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(out[4], np.rint(a * np.float32(10)))
    np.testing.assert_array_equal(out[5], ((5 << 3) + 1) >> 1 & 22)
    np.testing.assert_array_equal(out[6], a)
    np.testing.assert_allclose(out[7], abs(a), rtol=1e-6)
    assert got == pytest.approx(a.sum(), abs=1e-5)


def test_flat_arrays_count_elements_and_arrays_of_vectors_count_vectors():
    @inner
    def f(x, flat, out):
        v.store(out, 0, v.load(flat, 3))
        v.store(out, 1, v.load(x, 3))
        v.store_tile(out, 2, v.load_tile(x, 1, v.zeros(2)))
        v.store_tile(out, 4, v.strided(x, 0, 2, v.zeros(2)))

    x, out = draw(5, LANES), np.zeros((6, LANES), np.float32)
    f(x, x.reshape(-1), out)
    np.testing.assert_array_equal(out, [x.ravel()[3 : 3 + LANES], x[3], x[1], x[2], x[0], x[2]])


def test_outer_products_and_taps():
    @inner
    def f(x, w, which, out):
        pair = v.load(x, 0), v.load(x, 1)
        sums = v.outer(v.outer(v.zeros2(3, 2), w, 1, 7, pair), w, 2, 7, pair)
        for i in range(3):
            v.store_tile(out, 2 * i, sums[i])
        v.store_tile(out, 6, v.outer(v.zeros(2), w, 0, 1, pair[0]))
        v.store_tile(out, 8, v.picked(v.zeros(6), w, 3, v.load(which, 0), pair[0]))
        v.store_tile(out, 14, v.picked(v.zeros(2), w, 0, (v.load(which, 1), v.load(which, 2)), pair[0]))

    x, w, out = draw(2, LANES), draw(64), np.zeros((16, LANES), np.float32)
    which = RNG.integers(0, 4, (3, LANES)).astype(np.int32)
    f(x, w, which, out)
    expected = [(w[1 + 7 * i] + w[2 + 7 * i]) * x[j] for i in range(3) for j in range(2)] + [w[0] * x[0], w[1] * x[0]]
    expected += [w[3 + 4 * i + which[0]] * x[0] for i in range(6)] + [w[4 * i + which[1 + i]] * x[0] for i in range(2)]
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("height", [1, 2, 5])
def test_correlations(height):
    @inner
    def f(x, value, which, out):
        sums = v.correlate(v.zeros2(height, 5), v.load(value, 0), v.load(which, 0), x, 7, 6)
        v.store_tile(out, 0, sums)

    x, value, which = draw(7 + 6 * 6, LANES), draw(1, LANES), np.arange(LANES, dtype=np.int32)[None] % 4
    out, lanes = np.zeros((5 * height, LANES), np.float32), np.arange(LANES)
    f(x, value, which, out)
    expected = [
        value[0] * x[7 + (y + which[0] // 2) * 6 + k + which[0] % 2, lanes] for y in range(height) for k in range(5)
    ]
    np.testing.assert_array_equal(out, expected)


def test_transposed_reads_and_writes_and_totals():
    @inner
    def f(x, rows, out, turned, totals):
        tile = v.gather(x, rows, 20, 1)
        v.store_tile(out, 0, tile)
        v.scatter(turned, LANES + 1, 0, tile)
        v.add_totals(totals, 0, tile)
        v.add_totals(totals, 0, v.load_tile(out, 0, v.zeros(3)))

    x, rows = draw(40, 20), RNG.integers(0, 40, LANES)
    out, turned = np.zeros((LANES, LANES), np.float32), np.zeros((LANES, LANES + 1), np.float32)
    totals = np.ones(LANES, np.float32)
    f(x.reshape(-1), rows, out, turned.reshape(-1), totals)
    part = x[rows, 1 : 1 + LANES]
    np.testing.assert_array_equal(out, part.T)
    np.testing.assert_array_equal(turned[:, :LANES], part)
    expected = 1 + part.sum(0)
    expected[:3] += part.sum(0)[:3]
    np.testing.assert_allclose(totals, expected, rtol=1e-4, atol=1e-5)


#: Processors without AVX-512, and without AVX2.
OTHERS = {
    8: {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+sse4.2,+avx,+avx2,+fma,+bmi,+bmi2,+popcnt"},
    4: {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+sse2"},
}


@pytest.mark.parametrize(
    ("module", "lanes"),
    [*(("vectors", n) for n in OTHERS), *(pytest.param("layers", n, marks=pytest.mark.faults) for n in OTHERS)],
)
def test_narrower_vectors_compute_the_same(lanes, module):
    """Words and layers on processors with other registers; with 4 lanes there is no permutation."""
    if lanes >= LANES:
        pytest.skip("only from wider vectors")
    path = os.path.join(os.path.dirname(__file__), f"test_{module}.py")
    environment = {**os.environ, **OTHERS[lanes], "LANES": str(lanes)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", path, "-k", "not narrower"]
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout[-3000:]


@pytest.mark.skipif("LANES" not in os.environ, reason="for the processes that the test above starts")
def test_the_lanes_are_those_asked_for():
    assert int(os.environ["LANES"]) == LANES
