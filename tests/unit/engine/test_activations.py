"""Functions of vectors against float64."""

import numpy as np
import pytest

pytest.importorskip("jacobian_ensembles.engine.vectors", reason="numba is missing", exc_type=ImportError)

from jacobian_ensembles.engine import activations
from jacobian_ensembles.engine.compiling import inner
from jacobian_ensembles.engine.network import activate, through
from jacobian_ensembles.engine.vectors import LANES, load, store


def applied(function, x):
    """A compiled function of each element of an array, whatever its length."""

    @inner
    def every(x, out):
        for at in range(len(x)):
            store(out, at, function(load(x, at)))

    padded = np.resize(x, (-(-len(x) // LANES), LANES)).astype(np.float32)
    out = np.empty_like(padded)
    every(padded, out)
    return out.ravel()[: len(x)]


def test_tanh_is_exact_to_float32_and_passes_on_nan():
    z = np.concatenate([np.linspace(-12, 12, 100_001), [0.0, 1e-8, -1e-30, np.inf, -np.inf]]).astype(np.float32)
    got = applied(activations.tanh, z)
    np.testing.assert_allclose(got, np.tanh(z.astype(np.float64)), rtol=5e-7, atol=0)
    assert np.abs(got).max() <= 1
    for relu in (True, False):
        nan = np.full((3, LANES), np.nan, np.float32)
        activate(nan, relu)
        assert np.isnan(nan).all()


def test_exp_of_what_is_not_positive():
    x = np.concatenate([np.linspace(-87, 0, 10_001), [-1e-8, 0.0]]).astype(np.float32)
    np.testing.assert_allclose(applied(activations.exp, x), np.exp(x.astype(np.float64)), rtol=2e-7)
    assert applied(activations.exp, np.array([-200, -np.inf], np.float32)).max() < 2e-38
    assert np.isnan(applied(activations.exp, np.array([np.nan], np.float32)))


def test_log_of_positive_numbers():
    x = np.concatenate([np.geomspace(1e-30, 1e30, 10_001), [1.0, 1 + 1e-6]]).astype(np.float32)
    np.testing.assert_allclose(applied(activations.log, x), np.log(x.astype(np.float64)), rtol=2e-7, atol=1e-7)
    assert np.isnan(applied(activations.log, np.array([np.nan], np.float32)))


def test_slopes_are_those_of_outputs():
    q, a = (np.linspace(low, 1, 5 * LANES, dtype=np.float32).reshape(5, LANES) for low in (-2, -1))
    p = np.empty_like(q)
    through(q, a, False, p)
    np.testing.assert_allclose(p, q * (1 - a * a), rtol=1e-6, atol=1e-7)
    through(q, a, True, p)
    np.testing.assert_array_equal(p, np.where(a > 0, q, 0))
