"""Every figure and table of a run: name, caption, what it is made from, and what makes it. Light: no pandas, no torch.

The rules, the page, shipped runs and their redrawing all read this list. To add a figure, write its function and a row
here; docs/how-to/extend.md has an example.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

_FIGURES, _FURTHER = "jacobian_ensembles.paper.figures", "jacobian_ensembles.paper.further_figures"


@dataclass(frozen=True)
class Item:
    """A figure or table.

    Attributes:
        name: The stem of its files.
        function: ``package.module:function``, or ``path/to/file.py:function``. For a figure it maps the tables by name,
            and the settings, to a matplotlib figure; for a table it also gets ``run`` and ``banner``, and returns a
            :class:`~jacobian_ensembles.paper.labels.RenderedTable`.
        inputs: Tables of the run: ``metrics``, ``summary``, ``jacobian``, ``worst_of_k``, ``ablation``,
            ``stress``, ``transfer``, ``trials``, and the tables ``claims`` and ``effects``.
        optional: Further tables that it uses where a run has them: ``images``, ``members``.
        caption: What readers see beside it.
        alt: What a figure shows, for those who cannot see it.
        target: The workflow target that makes it.
        settings: Which of the run's settings it takes: ``eps``, ``confidence``, ``clean_weight``, ``clip``,
            ``objective``.
        latex: Whether a table is also written as LaTeX.
        only: Which runs have it: all, or those with an ``ablation``, a ``stress`` test, a ``transfer`` matrix,
            ``trials``, several ``repetitions``, ``members`` attacked one by one or ``certified`` accuracies.
    """

    name: str
    function: str
    inputs: tuple[str, ...]
    caption: str
    alt: str = ""
    target: str = "figures"
    settings: tuple[str, ...] = ()
    latex: bool = False
    only: str = ""
    optional: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The extensions of its files: for a figure with its caption."""
        if self in TABLES:
            return ("tex", "csv", "md") if self.latex else ("csv", "md")
        return "pdf", "png", "txt"

    def belongs_to(self, has: Collection[str]) -> bool:
        """Whether a run has this figure or table, by which of the things that :attr:`only` names it has."""
        return not self.only or self.only in has


#: The sources that are tables of the catalogue themselves.
WRITTEN = ("claims", "effects")
#: The columns that a source must have, of those that are not tables of models.
COLUMNS: dict[str, tuple[str, ...]] = {
    "members": ("dataset", "ensemble", "lambda", "repetition", "member", "eps"),
    "trials": ("trial", "dataset", "lambda"),
    "claims": ("claim", "statement", "verdict"),
    "effects": ("claim", "analysis", "dataset", "part", "value"),
}
_GRID = "a row of panels per dataset, a column per ensemble method, a line per number of learners M."

#: In the order of the page.
FIGURES = (
    Item(
        name="figure1_clean_accuracy",
        function=f"{_FIGURES}:clean_accuracy",
        inputs=("metrics", "summary"),
        settings=("confidence", "objective"),
        caption="Figure 1. Clean accuracy against λ.",
        alt=f"Line plots of clean test accuracy against the strength lambda of Jacobian regularisation: {_GRID}",
    ),
    Item(
        name="figure2_robustness",
        function=f"{_FIGURES}:robustness",
        inputs=("metrics", "summary"),
        settings=("eps", "confidence", "objective"),
        caption="Figure 2. Accuracy under the worst universal perturbation against λ.",
        alt=f"Line plots of test accuracy under the worst universal perturbation at one eps against lambda: {_GRID}",
    ),
    Item(
        name="figure3_tradeoff",
        function=f"{_FIGURES}:tradeoff",
        inputs=("metrics", "summary"),
        settings=("confidence",),
        caption="Figure 3. Clean accuracy against robustness, per ε.",
        alt="Scatter plots of clean accuracy (vertical) against accuracy under the worst universal "
        "perturbation (horizontal): a row of panels per dataset, a column per eps, points labelled by lambda.",
    ),
    Item(
        name="theory",
        function=f"{_FURTHER}:theory",
        inputs=("jacobian",),
        target="theory",
        caption="Theorem 3.1: how the norm of the Jacobian falls with M: measured (solid), by the theorem for "
        "independent learners (dashed), and for learners as correlated as these (dotted).",
        alt="Measured expectation and variance of the squared Frobenius norm of the Jacobian against the number of "
        "learners M, beside the bounds of Theorem 3.1, for independent learners (dashed) and correlated ones (dotted).",
    ),
    Item(
        name="claim_effects",
        function="jacobian_ensembles.paper.claims_figure:claim_effects",
        inputs=("summary", "claims", "effects"),
        target="claims",
        caption="The paper's claims: each effect with its interval, and dashed the size that it needs. A hollow dot is "
        "a single value, which has no interval; an arrow, an effect beyond the panel.",
        alt="Dot plots with intervals of the effects behind each of the paper's claims, a panel per claim, which its "
        "title gives with the verdict; a dashed mark at each effect shows the size that the claim needs.",
    ),
    Item(
        name="worst_of_k",
        function=f"{_FURTHER}:worst_of_k",
        inputs=("worst_of_k",),
        target="worst_of_k",
        caption="The expected worst case of K attack seeds, against K: means over models, and the middle 80% of them.",
        alt="Line plots of how far the expected accuracy under the worst of K attack seeds falls below that under one, "
        "against K: a panel per dataset, a line per eps, the mean over models, with bars for the middle 80% of them.",
    ),
    Item(
        name="certified",
        function=f"{_FURTHER}:certified",
        inputs=("metrics",),
        only="certified",
        caption="Between what is proved and what the attack reached: no perturbation of size ε leaves less than the "
        "lower edge of a band, and the worst one found leaves the upper edge. Means over methods and trainings.",
        alt="Bands of accuracy against eps, from the certified accuracy up to that under the worst perturbation found: "
        "a row of panels per dataset, a column per number of learners M, a colour per lambda.",
    ),
    Item(
        name="ablation",
        function=f"{_FURTHER}:ablation",
        inputs=("ablation",),
        target="ablation",
        only="ablation",
        caption="Variants of the attack on the same models: means over the models of each λ, the strongest variant at "
        "the top.",
        alt="Dot plots of the accuracy under every variant of the attack, a panel per dataset, a row per variant, a "
        "colour per lambda: the worst, the mean and the best of the attack seeds, below clean accuracy.",
    ),
    Item(
        name="budget",
        function=f"{_FURTHER}:budget",
        inputs=("ablation",),
        target="ablation",
        only="ablation",
        caption="Variants of the attack, against ε: means over the models of the smallest and of the largest λ.",
        alt="Line plots of the accuracy under the worst seed of every variant of the attack against eps, from clean "
        "accuracy at 0, a row of panels per dataset, one for the smallest and one for the largest lambda.",
    ),
    Item(
        name="transfer",
        function="jacobian_ensembles.robustness.stress_tables:transfer",
        inputs=("transfer",),
        target="transfer",
        only="transfer",
        caption="Accuracy (%) under the strongest perturbation of every model, and of one learner of every ensemble, "
        "on every model of the dataset; a model's own is framed.",
        alt="Heat maps of accuracy: a row per perturbation, named by the model that it was crafted on, a column per "
        "model that it was tried on, a panel per dataset and eps.",
    ),
)

TABLES = (
    Item(
        name="table1",
        function="jacobian_ensembles.paper.table1:table1",
        inputs=("summary",),
        target="tables",
        settings=("confidence",),
        latex=True,
        caption="Table 1: the three models with the highest weighted accuracy (mean of clean accuracy and mean "
        "accuracy under the worst universal perturbation of each eps), then the best with Jacobian regularisation "
        "only, with an ensemble only, and with neither. Fractions in the CSV; LaTeX and Markdown show percent.",
    ),
    Item(
        name="comparison",
        function="jacobian_ensembles.paper.comparison:comparison",
        inputs=("summary",),
        target="tables",
        caption="Our models beside the paper's Table 1, in percent. adds_up is false where the paper's printed "
        "weighted accuracy is not the mean of its own clean and average UAP accuracy. Empty: the run has no "
        "such model.",
    ),
    Item(
        name="claims",
        function="jacobian_ensembles.paper.claims:claims",
        inputs=("metrics", "summary", "jacobian"),
        optional=("images", "members"),
        target="claims",
        settings=("clean_weight", "confidence"),
        caption="Each claim of the paper with this run's numbers behind it, the test used and a verdict; the rules of "
        "the verdicts are in jacobian_ensembles/paper/claim_rules.py.",
    ),
    Item(
        name="effects",
        function="jacobian_ensembles.paper.claims:effects",
        inputs=("metrics", "summary", "jacobian"),
        optional=("images", "members"),
        target="claims",
        settings=("clean_weight", "confidence"),
        caption="The effects behind the claims, a row each: what is compared, the size needed, the mean with its "
        "interval, and the trainings behind it. Only the primary analysis of a claim gives a verdict.",
    ),
    Item(
        name="reliability",
        function="jacobian_ensembles.paper.reliability:reliability",
        inputs=("metrics", "summary", "members"),
        target="claims",
        settings=("clean_weight", "confidence"),
        only="members",
        caption="How far new trainings of ensembles differ, and of single networks, and the worst of them; the rule is "
        "in jacobian_ensembles/paper/reliability.py.",
    ),
    Item(
        name="theorem",
        function="jacobian_ensembles.paper.theory:theorem",
        inputs=("metrics", "summary", "jacobian"),
        target="theory",
        settings=("confidence",),
        caption="Theorem 3.1 beside what was measured: expectation and variance of every ensemble's squared Jacobian "
        "norm relative to its learners', the theorem's bounds, and how well two kinds of correlation between learners "
        "explain the difference. The Markdown adds the rank correlation between norm and robustness.",
    ),
    Item(
        name="attack_variants",
        function="jacobian_ensembles.paper.ablation:attack_variants",
        inputs=("ablation",),
        target="ablation",
        only="ablation",
        caption="Variants of the attack on the same models with the same attack seeds.",
    ),
    Item(
        name="stress",
        function="jacobian_ensembles.robustness.stress_tables:stress",
        inputs=("stress", "transfer"),
        target="stress",
        settings=("clip",),
        only="stress",
        caption="Accuracy under every attack, and the flags that they raise; the rules are in "
        "jacobian_ensembles/robustness/flags.py.",
    ),
    Item(
        name="recipe",
        function="jacobian_ensembles.paper.trials:trials",
        inputs=("trials",),
        target="recipe",
        only="trials",
        caption="Training recipes by their accuracy on the validation split: how the settings were chosen.",
    ),
    Item(
        name="spread",
        function="jacobian_ensembles.paper.spread:spread",
        inputs=("metrics",),
        target="spread",
        settings=("clean_weight", "confidence"),
        only="repetitions",
        caption="The spread over trainings, and over attack seeds within one training.",
    ),
)


def items_of(target: str) -> list[Item]:
    """The figures and tables that a target makes."""
    return [item for item in (*FIGURES, *TABLES) if item.target == target]


def find(name: str) -> Item:
    """The figure or table of that name.

    Raises:
        KeyError: If the catalogue has none.
    """
    return {item.name: item for item in (*FIGURES, *TABLES)}[name]
