import pytest

from jacobian_ensembles.config.schema import load_config
from jacobian_ensembles.config.variants import RunAttacks


def attacks(ablation, **attack):
    grid = {"datasets": ["mnist"], "ensembles": ["voting"], "members": [1], "lambdas": [0], "eps": [0.3, 0.15]}
    figures = {"eps": 0.15}
    return RunAttacks(
        load_config({"run": {"name": "t"}, "grid": grid, "figures": figures, "attack": attack, "ablation": ablation})
    )


def test_a_variant_is_the_runs_own_attack_if_nothing_that_counts_differs():
    variants = {
        "spelled_out": {"loss": "cross_entropy", "iterations": 100},
        "in_other_jobs": {"seeds_per_job": 1},
        "at_one_eps": {"eps": [0.15]},
        "fewer_seeds": {"seeds": 2},
        "margin": {"loss": "margin"},
        "other_images": {"split": "validation"},
        "staged": {"method": "staged"},
    }
    found = attacks(variants)
    assert [name for name in variants if found.is_own(name)] == ["spelled_out", "in_other_jobs", "at_one_eps"]
    assert found.is_own("attack")
    assert found.own_name == "spelled_out"
    assert list(found.all) == ["spelled_out", "fewer_seeds", "margin", "other_images", "staged"]
    assert attacks({"margin": {"loss": "margin"}}).own_name == "attack"
    assert list(attacks({}).all) == ["attack"]


def test_variants_are_tried_at_their_own_eps_in_the_order_of_the_run():
    found = attacks({"one": {"loss": "margin", "eps": [0.15]}, "both": {"momentum": 0.5, "eps": [0.15, 0.3]}})
    assert found.eps_of("one") == [0.15]
    assert found.eps_of("both") == [0.3, 0.15]
    assert {name: radii for name, (_, radii) in found.all.items()} == {
        "attack": [0.3, 0.15],
        "one": [0.15],
        "both": [0.3, 0.15],
    }


def test_what_flags_know_and_which_attacks_see_gradients():
    variants = {
        "noise": {"iterations": 0, "init": "sign"},
        "short": {"iterations": 10, "eps": [0.15]},
        "staged": {"method": "staged"},
        "square": {"method": "square", "options": {"queries": 7}},
    }
    found = attacks(variants, seeds=3)
    assert found.known == {
        "attack": {"kind": "white box", "steps": 100, "family": "sgd, split train"},
        "noise": {"kind": "noise", "steps": 0, "family": ""},
        "short": {"kind": "white box", "steps": 10, "family": "sgd, split train"},
        "staged": {"kind": "white box", "steps": 300, "family": ""},
        "square": {"kind": "black box", "steps": 7, "family": ""},
    }
    assert found.white_boxes(0.3) == ["attack", "staged"]
    assert found.white_boxes(0.15) == ["attack", "short", "staged"]
    assert attacks({}, method="square").white_boxes(0.3) == ["attack"]


@pytest.mark.parametrize("change", [{"clip": True}, {"norm": "l2"}, {"split": "validation"}])
def test_variants_compare_with_the_first_where_they_attack_the_same(change):
    assert attacks({"a": {}, "b": {"loss": "margin"}, "c": change}).comparable == ["a", "b"]
    assert attacks({"c": change, "a": {}}).comparable == ["c"]
    assert attacks({}).comparable == []


def test_a_plan_runs_no_file_of_the_users_until_it_asks_what_the_attack_is(tmp_path):
    file = tmp_path / "own.py"
    file.write_text("raise RuntimeError('run')\ndef own(): ...\n")
    found = attacks({"own": {"method": f"{file}:own"}})
    assert list(found.all) == ["attack", "own"]
    with pytest.raises(RuntimeError, match="run"):
        found.white_boxes(0.3)
