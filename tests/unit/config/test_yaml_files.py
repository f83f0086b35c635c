"""What files lose in silence is refused, what they honestly say is read."""

import time

import pytest
import yaml

from jacobian_ensembles.config.yaml_files import load_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grid: {a: 1}\ngrid: {b: 2}", "line 2, column 1: the key 'grid' is there twice"),
        ("grid:\n  a: 1\n  b: 2\n  a: 3", "line 4, column 3: the key 'a' is there twice"),
        ("- {a: 1, a: 1}", "the key 'a' is there twice"),
        ("{1: x, 1.0: y}", "the key 1.0 is there twice"),
        ("{yes: x, true: y}", "the key True is there twice"),
        ('{a: 1, "a": 2}', "the key 'a' is there twice"),
        ("seed: 010", "line 1, column 7: 010 would be read as another number"),
        ("seed: -007", "-007 would be read"),
        ("time: 1:30", "1:30 would be read as another number"),
        ("time: 1:30.5", "1:30.5 would be read"),
        ("a: [", "line"),
        ("a:\n\t- b", "line 2, column 1"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
        ("a: b: c", "mapping values are not allowed"),
        ("a: 1\n---\nb: 2", "another document"),
    ],
)
def test_what_would_be_dropped_or_changed_is_refused_with_its_place(text, message):
    with pytest.raises(ValueError, match=r"twice|number|line|constructor|mapping|document") as error:
        load_yaml(text)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "text",
    ["", "a: 0\nb: 0.10\nc: 0x1f", "a: &x {b: 1}\nc: {<<: *x, b: 2}", "a: '010'\nb: '1:30'", "a: 1e-2",
     "{? [1, 2] : x}", "a: 2026-01-02", "a: 1_000", "a: -0.5e-3"],
)  # fmt: skip
def test_honest_yaml_reads_as_always(text):
    try:
        expected = yaml.safe_load(text)
    except yaml.YAMLError:  # a list as a key
        with pytest.raises(ValueError, match="unhashable"):
            load_yaml(text)
        return
    assert load_yaml(text) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_in_any_unicode_are_read(tmp_path, encoding):
    (tmp_path / "a.yaml").write_text("run: {banner: λ}\r\n", encoding=encoding)
    assert read_yaml(tmp_path / "a.yaml") == {"run": {"banner": "λ"}}


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"- a\n", "a mapping of sections, got a list"), (b"text", "got a str"), (b"\xff\xfa", "cannot be read as YAML"),
     (b"run: {banner: \xe9}", "cannot be read as YAML"), (b"a: \x00", "cannot be read as YAML")],
)  # fmt: skip
def test_what_is_no_configuration_is_refused_by_name(tmp_path, content, message):
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_yaml(tmp_path / "a.yaml")
    assert "a.yaml: " in str(error.value)


def test_a_missing_file_is_called_missing(tmp_path):
    (tmp_path / "a.yaml").write_text("")
    for path in ("b.yaml", "a.yaml/b.yaml", "nowhere/b.yaml"):
        with pytest.raises(ValueError, match=r"b.yaml: there is no such file in"):
            read_yaml(tmp_path / path)
    with pytest.raises(ValueError, match="it is a folder; name a file in it"):
        read_yaml(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_json_is_read_as_json(tmp_path, encoding):
    (tmp_path / "a.json").write_text(
        '\n{\t"run": {\n\t\t"name": "größe", "x": [1e-2, null, true]\n\t}\n}\n', encoding=encoding
    )
    assert read_yaml(tmp_path / "a.json") == {"run": {"name": "größe", "x": [0.01, None, True]}}


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '{\t"a": {"b": 1, "c": [{"b": 1, "b": 1}]}}'])
def test_json_that_gives_a_key_twice_is_refused(text):
    with pytest.raises(ValueError, match="there twice, and one would be dropped"):
        load_yaml(text)


def doubling(line, first, levels=40):
    return "\n".join([first, *(line.format(this=f"a{i}", last=f"a{i - 1}") for i in range(1, levels))])


@pytest.mark.parametrize(
    "text",
    [
        doubling("{this}: &{this} [*{last}, *{last}]", "a0: &a0 [x, x]"),
        doubling("{this}: &{this} {{b: *{last}, c: *{last}}}", "a0: &a0 {b: 1, c: 2}"),
        doubling("{this}: &{this} {{<<: [*{last}, *{last}]}}", "a0: &a0 {b: 1}"),
        doubling("{this}: &{this} {{? *{last} : *{last}}}", "a0: &a0 {b: 1}"),
        "a: &a [*a]",
        "a: &a {b: {c: *a}}",
    ],
    ids=["lists", "mappings", "merges", "keys", "in itself", "deep in itself"],
)
def test_anchors_that_stand_for_too_much_are_refused_at_once(text):
    began = time.process_time()
    with pytest.raises(ValueError, match=r"line \d+, column \d+: its anchors stand for too much"):
        load_yaml(text)
    assert time.process_time() - began < 1


@pytest.mark.parametrize("text", ["[" * 5000, '{"a":' * 100_000 + "1" + "}" * 100_000, "- " * 5000 + "x"])
def test_what_is_nested_too_deeply_is_refused(text):
    with pytest.raises(ValueError, match=r"nested too deeply|nesting depth|recursion"):
        load_yaml(text)


def test_anchors_and_many_entries_are_read():
    cells = [{"dataset": "mnist", "members": i} for i in range(20_000)]
    assert load_yaml("cells:\n" + "".join(f"- {cell}\n" for cell in cells))["cells"] == cells
    assert load_yaml("a: &x {b: [1, 2]}\nc: [*x, *x]\nd: {<<: *x}")["d"] == {"b": [1, 2]}
