"""Figures of a spectral analysis of relevances."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ._panels import COLORS, choose_panels

_PANELS = ("clusters", "outliers", "eigenvalues", "table")
_MOST_POINTS = 5000  # more than this hide each other and make files large
_MOST_CLUSTERS = 12  # lines of the table


class SpectralRelevanceDisplay:
    """Show clusters and outliers among relevances: the spectral embedding, the eigenvalues, and a table of clusters.

    Make one with :meth:`from_estimator`.

    Parameters
    ----------
    analysis : fitted SpectralRelevanceAnalysis
        What is shown.
    target : object, default=None
        Class whose embedding and eigenvalues are shown, by default that of the most suspicious cluster.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
        The figure, after :meth:`plot`.
    axes_ : dict of str to matplotlib.axes.Axes
        Panels "clusters", "outliers", "eigenvalues" and "table", those drawn, after :meth:`plot`.
    target_ : object
        Class that is shown.
    rows_ : ndarray of int
        Rows of the analysis that are drawn as points, at most 5,000 of the class.

    See Also
    --------
    SpectralRelevanceAnalysis : Finds them.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.audit import SpectralRelevanceAnalysis, SpectralRelevanceDisplay
    >>> R = np.random.default_rng(0).normal(1, 0.2, (60, 4))
    >>> analysis = SpectralRelevanceAnalysis(n_references=1, random_state=0).fit(R)
    >>> list(SpectralRelevanceDisplay.from_estimator(analysis).axes_)
    ['clusters', 'outliers', 'eigenvalues', 'table']
    """

    def __init__(self, analysis, *, target=None):
        self.analysis = analysis
        self.target = target

    @classmethod
    def from_estimator(cls, analysis, *, target=None, panels=None, ax=None):
        """Draw an analysis.

        Parameters
        ----------
        analysis : fitted SpectralRelevanceAnalysis
            What is shown.
        target : object, default=None
            Class that is shown, by default that of the most suspicious cluster.
        panels : sequence of {"clusters", "outliers", "eigenvalues", "table"}, default=None
            What to draw, by default everything; on ``ax``, the clusters.
        ax : matplotlib.axes.Axes, default=None
            Where to draw one panel.

        Returns
        -------
        SpectralRelevanceDisplay
            The display, drawn.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the analysis is not fitted.
        ValueError
            If there is no such class or panel, or ``ax`` is given for several panels.
        """
        return cls(analysis, target=target).plot(panels=panels, ax=ax)

    def plot(self, *, panels=None, ax=None):
        """Draw the panels.

        Parameters
        ----------
        panels : sequence of {"clusters", "outliers", "eigenvalues", "table"}, default=None
            What to draw, by default everything; on ``ax``, the clusters.
        ax : matplotlib.axes.Axes, default=None
            Where to draw one panel.

        Returns
        -------
        SpectralRelevanceDisplay
            The display itself.

        Raises
        ------
        ValueError
            If there is no such class or panel, or ``ax`` is given for several panels.
        """
        analysis = self.analysis
        check_is_fitted(analysis, "clusters_")
        known = list(analysis.classes_)
        self.target_ = analysis.clusters_["class"].iloc[0] if self.target is None else self.target
        if self.target_ not in known:
            raise ValueError(f"target={self.target!r} is not one of the classes, which are {known}")
        wanted = choose_panels(
            panels, available=_PANELS, known=_PANELS, first="clusters", has_ax=ax is not None, needs_many=""
        )
        import matplotlib.pyplot as plt

        clusters = analysis.clusters_[analysis.clusters_["class"].isin([self.target_])]
        if self.target_ is None:
            clusters = analysis.clusters_
        members = np.flatnonzero(self._of_class())
        # Evenly spaced, with the most suspicious rows, which must not be missing.
        if len(members) > _MOST_POINTS:
            ranked = members[np.argsort(-analysis.outlier_scores_[members], kind="stable")]
            most = ranked[: _MOST_POINTS // 5]
            others = np.sort(ranked[_MOST_POINTS // 5 :])
            spaced = np.linspace(0, len(others) - 1, _MOST_POINTS - len(most)).astype(int)
            members = np.sort(np.r_[most, others[spaced]])
        self.rows_ = members
        if ax is None:
            _, drawn = plt.subplots(
                1, len(wanted), figsize=(4.2 * len(wanted), 3.8), layout="constrained", squeeze=False
            )
            self.axes_ = dict(zip(wanted, drawn[0]))
        else:
            self.axes_ = {wanted[0]: ax}
        self.figure_ = self.axes_[wanted[0]].figure
        for panel, one in self.axes_.items():
            getattr(self, f"_draw_{panel}")(one, clusters)
        return self

    # -- inside ----------------------------------------------------------------------------------------------------
    def _of_class(self):
        analysis = self.analysis
        return analysis.row_classes_ == list(analysis.classes_).index(self.target_)

    def _coordinates(self):
        # The first eigenvector of a connected graph tells only the degrees of the rows.
        embedding = self.analysis.embedding_[self.rows_]
        return embedding[:, 1], embedding[:, 2] if embedding.shape[1] > 2 else embedding[:, 0]

    def _draw_clusters(self, ax, clusters):
        x, y = self._coordinates()
        labels = self.analysis.labels_[self.rows_]
        for color, (_, line) in zip(_cycle(), clusters.iterrows()):
            some = labels == line["cluster"]
            name = f"{line['cluster']}: {line['rows']} rows{', suspicious' if line['suspicious'] else ''}"
            ax.scatter(x[some], y[some], s=10, color=color, label=name)
        if (labels < 0).any():
            ax.scatter(x[labels < 0], y[labels < 0], s=10, color="0.6", label="in no cluster")
        ax.legend(frameon=False, fontsize="x-small")
        ax.set(xlabel="second eigenvector", ylabel="third eigenvector", title=self._title("clusters"))

    def _draw_outliers(self, ax, clusters):
        x, y = self._coordinates()
        scores = self.analysis.outlier_scores_[self.rows_]
        order = np.argsort(scores, kind="stable")  # the most suspicious on top
        points = ax.scatter(x[order], y[order], c=scores[order], s=10, cmap="viridis")
        ax.figure.colorbar(points, ax=ax, label="outlier score")
        ax.set(xlabel="second eigenvector", ylabel="third eigenvector", title=self._title("outlier scores"))

    def _draw_eigenvalues(self, ax, clusters):
        position = list(self.analysis.classes_).index(self.target_)
        values = self.analysis.eigenvalues_.iloc[position].dropna().to_numpy()
        verdict = self.analysis.verdicts_.iloc[position]
        ax.plot(np.arange(1, len(values) + 1), values, "o-", color=COLORS[0], markersize=4)
        before = int(verdict["eigengap_clusters"])
        if before < len(values):
            ax.axvspan(before, before + 1, color=COLORS[1], alpha=0.2, label=f"widest gap, after {before}")
        if np.isfinite(verdict["reference"]):
            ax.axhline(verdict["reference"], color="0.4", linestyle="--", linewidth=0.8, label="second, no clusters")
        if ax.get_legend_handles_labels()[0]:
            ax.legend(frameon=False, fontsize="x-small")
        ax.set(xlabel="eigenvector", ylabel="1 - eigenvalue", title=self._title("eigenvalues"))

    def _draw_table(self, ax, clusters):
        ax.axis("off")
        ax.set_title("clusters, the most suspicious first")
        shown = self.analysis.clusters_.head(_MOST_CLUSTERS)
        text = [
            [
                str(line["cluster"]),
                "all" if line["class"] is None else str(line["class"]),
                f"{line['rows']}",
                f"{line['share']:.1%}",
                f"{line['outlier_score']:.2f}",
                f"{line['isolation']:.2f}",
                "yes" if line["suspicious"] else "no",
            ]
            for _, line in shown.iterrows()
        ]
        header = ["cluster", "class", "rows", "share", "score", "isolation", "suspicious"]
        table = ax.table(text, colLabels=header, loc="upper center", cellLoc="center", edges="horizontal")
        table.auto_set_font_size(False)
        table.set_fontsize(7)

    def _title(self, what):
        return what if self.target_ is None else f"{what} of class {self.target_}"


def _cycle():
    while True:
        yield from COLORS
