"""Figures of which rows are hard."""

import numpy as np
import pandas as pd

# Okabe and Ito's colors, which are told apart with any color vision.
_COLORS = {
    **{"TP": "#0072B2", "TN": "#56B4E9", "FP": "#E69F00", "FN": "#D55E00"},
    **{"easy": "#0072B2", "hard": "#D55E00", "ambiguous": "0.6"},
}
_TITLES = {
    "aux": "length of the row's own logits",
    "aux_margin": "lead of the row's own logits",
    "loss": "last loss",
    "mean_loss": "mean loss",
    "confidence": "1 - mean probability of the label",
    "variability": "standard deviation of the probability",
    "el2n": "early error (EL2N)",
    "aum": "minus mean lead of the label (AUM)",
    "probability": "probability of the label",
}
_MOST_POINTS = 5000  # more than this hide each other and make files large


class HardSampleDisplay:
    """Show which rows a network finds hard: their scores by bucket, two scores against each other, the hardest images.

    Make one with :meth:`from_estimator` or, from a table that was saved, with :meth:`from_table`.

    Parameters
    ----------
    sample_table : DataFrame
        As ``sample_table_`` of :class:`~sklearn_shortcuts.mitigation.BAMHardSampleMiner`: a column ``bucket`` and
        scores.
    difficulty : str, default="aux"
        Column that ranks the rows.
    against : str, default="el2n"
        Column that it is compared with.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
        The figure, after :meth:`plot`.
    axes_ : dict of str to matplotlib.axes.Axes
        Panels "buckets" and "scatter", after :meth:`plot`.
    gallery_ : SaliencyDisplay or None
        The hardest rows with their saliency maps, in a figure of their own, if images were given.

    See Also
    --------
    enrichment_table : What hard rows have that others lack.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_shortcuts.audit import HardSampleDisplay
    >>> table = pd.DataFrame({"bucket": ["TP", "TP", "FN"], "aux": [0.1, 0.2, 1.5], "el2n": [0.2, 0.3, 1.1]})
    >>> sorted(HardSampleDisplay.from_table(table).axes_)
    ['buckets', 'scatter']
    """

    def __init__(self, sample_table, *, difficulty="aux", against="el2n"):
        self.sample_table = sample_table
        self.difficulty = difficulty
        self.against = against
        self.gallery_ = None

    @classmethod
    def from_estimator(cls, miner, X=None, *, against="el2n", n_hardest=6, method="grad_cam_plus_plus", ax=None):
        """Draw what a miner found.

        Parameters
        ----------
        miner : fitted BAMHardSampleMiner
            Miner.
        X : ImageBunch or array-like, default=None
            The images it was fitted on; gives the gallery of the hardest rows.
        against : str, default="el2n"
            Column of ``sample_table_`` that the miner's ``difficulty`` is compared with.
        n_hardest : int, default=6
            Rows in the gallery.
        method : str or callable, default="grad_cam_plus_plus"
            Saliency maps in the gallery, for the row's own class: a function of :mod:`sklearn_shortcuts.explain` by
            name, or one that is called like them.
        ax : array of two matplotlib.axes.Axes, default=None
            Where to draw the two panels.

        Returns
        -------
        HardSampleDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If a column is missing or X has another number of rows.
        """
        table = miner.sample_table_
        if X is not None and len(X) != len(table):
            raise ValueError(f"X has {len(X)} rows, but the miner was fitted on {len(table)}: give the same rows")
        display = cls(table, difficulty=miner.difficulty, against=against).plot(ax=ax)
        if X is not None:
            from ..explain import SaliencyDisplay

            ranks = np.argsort(-np.nan_to_num(miner.sample_scores_, nan=-np.inf), kind="stable")
            several = np.ndim(table["label"].iloc[0]) > 0
            display.gallery_ = SaliencyDisplay.from_estimator(
                miner.stage_one_,
                X,
                method,
                target="predicted" if several else "true",
                y=None if several else table["label"].to_numpy(),
                rows=ranks[:n_hardest],
            )
        return display

    @classmethod
    def from_table(cls, sample_table, *, difficulty="aux", against="el2n", ax=None):
        """Draw a table of scores.

        Parameters
        ----------
        sample_table : DataFrame
            Column ``bucket`` and scores.
        difficulty, against : str, default="aux", "el2n"
            Columns.
        ax : array of two matplotlib.axes.Axes, default=None
            Where to draw.

        Returns
        -------
        HardSampleDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If a column is missing.
        """
        return cls(sample_table, difficulty=difficulty, against=against).plot(ax=ax)

    def plot(self, *, ax=None):
        """Draw the two panels.

        Parameters
        ----------
        ax : array of two matplotlib.axes.Axes, default=None
            Where to draw; by default in a new figure.

        Returns
        -------
        HardSampleDisplay
            The display itself.

        Raises
        ------
        ValueError
            If a column is missing.
        """
        import matplotlib.pyplot as plt

        table = self._scored_rows()
        if ax is None:
            figure, ax = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
        else:
            ax = np.ravel(ax)
            if len(ax) != 2:
                raise ValueError(f"ax must hold two axes, got {len(ax)}")
            figure = ax[0].figure
        self.figure_, self.axes_ = figure, {"buckets": ax[0], "scatter": ax[1]}
        order = table.groupby("bucket")[self.difficulty].median().sort_values().index
        self._draw_buckets(self.axes_["buckets"], table, order)
        self._draw_scatter(self.axes_["scatter"], table, order)
        return self

    # -- inside ----------------------------------------------------------------------------------------------------
    def _scored_rows(self):
        for name in ("bucket", self.difficulty, self.against):
            if name not in self.sample_table:
                raise ValueError(f"sample_table has no column {name!r}; it has {list(self.sample_table.columns)}")
        table = self.sample_table[list(dict.fromkeys(["bucket", self.difficulty, self.against]))].dropna()
        if len(table) == 0:
            raise ValueError("no row has a score")
        return table

    def _draw_buckets(self, ax, table, order):
        parts = [table.loc[table["bucket"] == bucket, self.difficulty].to_numpy() for bucket in order]
        boxes = ax.boxplot(parts, orientation="vertical", widths=0.6, patch_artist=True, showfliers=False)
        for box, median, bucket in zip(boxes["boxes"], boxes["medians"], order):
            box.set(facecolor=_COLORS.get(bucket, "0.6"), alpha=0.6, edgecolor="0.2")
            median.set(color="black")
        labels = [f"{bucket}\n{len(part)}" for bucket, part in zip(order, parts)]
        ax.set_xticks(np.arange(1, len(order) + 1), labels)
        ax.set(xlabel="bucket, and its number of rows", ylabel=_TITLES.get(self.difficulty, self.difficulty))

    def _draw_scatter(self, ax, table, order):
        if len(table) > _MOST_POINTS:
            table = table.iloc[np.sort(np.random.default_rng(0).permutation(len(table))[:_MOST_POINTS])]
        for bucket in order:
            some = table[table["bucket"] == bucket]
            ax.scatter(
                some[self.against],
                some[self.difficulty],
                s=9,
                color=_COLORS.get(bucket, "0.6"),
                alpha=0.6,
                linewidths=0,
                label=bucket,
            )
        rank = pd.Series(table[self.difficulty]).corr(table[self.against], method="spearman")
        ax.set(
            xlabel=_TITLES.get(self.against, self.against),
            ylabel=_TITLES.get(self.difficulty, self.difficulty),
            title=f"rank correlation {rank:.2f}" if np.isfinite(rank) else "",
        )
        ax.legend(frameon=False, fontsize="small", markerscale=1.5)
