"""Values as people write them."""

import pytest

from jacobian_ensembles.config.values import expanded, numbers_in_text, tidy


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1e-2", 0.01), ("1E5", 1e5), ("-2.5e3", -2500.0), ("+.5e-1", 0.05), ("1.e2", 100.0),
        ("e5", "e5"), ("1e", "1e"), ("1e-2x", "1e-2x"), ("3", "3"), ("0x1e2", "0x1e2"), ("relu", "relu"),
        ("1e2 ", "1e2 "),
        (0.5, 0.5), (True, True), (None, None),
        ({"a": ["1e1", {"b": "2e0"}], "c": "x"}, {"a": [10.0, {"b": 2.0}], "c": "x"}),
    ],
)  # fmt: skip
def test_numbers_that_yaml_takes_for_text_become_numbers(value, expected):
    assert numbers_in_text(value) == expected
    assert type(numbers_in_text(value)) is type(expected)


@pytest.mark.parametrize(("value", "expected"), [(0.1 + 0.2, 0.3), (0.30000000000000004, 0.3), (1 / 3, 0.333333333333),
                                                  (1e-20, 1e-20), (0.0, 0.0), (123456.789, 123456.789)])  # fmt: skip
def test_what_rounding_left_is_dropped(value, expected):
    assert tidy(value) == expected


def test_homes_and_variables_are_replaced(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("DATA", "/data")
    for path in ("~/x", "$HOME/x", "${HOME}/x"):
        assert expanded(path) == "/home/me/x"
    assert expanded("$DATA/a b/~") == "/data/a b/~"
    assert expanded("plain/a~b") == "plain/a~b"
    for path, what in (("$NOT_SET/x", "$NOT_SET"), ("~nobody_here/x", "~nobody_here"), ("a/${NOT_SET}", "${NOT_SET}")):
        with pytest.raises(ValueError, match="stands for nothing; write the path in full") as error:
            expanded(path)
        assert what in str(error.value)
