from itertools import permutations

from jacobian_ensembles.seeding import derive_seed


def test_a_seed_never_changes_silently():
    # computed once; another value would change every result of every user
    assert derive_seed("init", 0, "mnist", "bagging", 0.1, 4) == 6_470_304_731_031_080_573


def test_purposes_and_identities_are_independent():
    seeds = {derive_seed(role, *p) for role in ("init", "order") for p in permutations(["a", "b", 1, 2.5])}
    assert len(seeds) == 48
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_parts_do_not_run_together():
    assert derive_seed("init", 1, 23) != derive_seed("init", 12, 3)
    assert derive_seed("init", "1") != derive_seed("init", 1)
