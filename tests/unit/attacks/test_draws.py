import numpy as np
import pytest
import torch

from jacobian_ensembles.attacks.draws import Draws


@pytest.mark.parametrize("seed", [0, 1, 12345, 2**31 + 5, 2**32 - 1, 2**40 + 17, 2**63 - 1])
def test_draws_are_torchs_to_the_bit_in_any_order(seed):
    draws, theirs = Draws(seed), torch.Generator().manual_seed(seed)
    for size in (1, 2, 5, 200, 8000):
        assert np.array_equal(draws.permutation(size), torch.randperm(size, generator=theirs).numpy())
        for shape in ((1, 1, 1), (1, 28, 28), (3, 40, 50)):
            found = draws.uniform(shape)
            assert found.dtype == np.float32
            assert np.array_equal(found, torch.rand(*shape, generator=theirs).numpy())
        assert draws.seeds(7) == torch.randint(2**62, (7,), generator=theirs).tolist()


def test_a_permutation_by_hand():
    # a draw z exchanges place i with place i + z mod (n - i)
    draws, raw = Draws(3), Draws(3)._bits.random_raw(2).tolist()
    expected = [0, 1, 2]
    for i, z in enumerate(raw):
        j = i + z % (3 - i)
        expected[i], expected[j] = expected[j], expected[i]
    assert draws.permutation(3).tolist() == expected
