"""The page of several runs prints names as they are."""

import pandas as pd

from jacobian_ensembles.report.comparison import render_comparison


def test_names_are_text_and_a_bar_ends_no_cell():
    table = pd.DataFrame({"Run": ["a | b", "<script>x()</script>"], "Clean": ["90.0", "–"]})
    drawn = {"tradeoff.png": b"one", "tradeoff.pdf": b"pdf"}
    page = render_comparison(["<i>a</i>"], ["costs $5 & <b>6</b>"], table, drawn)
    assert "<tr><td>a | b</td><td>90.0</td></tr>" in page
    assert "<td>&lt;script&gt;x()&lt;/script&gt;</td>" in page
    assert "<li>costs $5 &amp; &lt;b&gt;6&lt;/b&gt;</li>" in page
    assert "<i>a</i>" not in page
    assert page.count("data:image/png") == 1
    both = render_comparison(["a"], [], table, {"tradeoff.png": b"one", "certified.png": b"two"})
    assert both.count("data:image/png") == 2
