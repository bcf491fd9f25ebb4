"""Figures of a comparison of models."""

import numpy as np
import pandas as pd

from ._panels import COLORS

_MARKERS = ("o", "s", "^", "D")
_KINDS = ("points", "tradeoff")
_COLUMNS = ("metric", "model", "value", "low", "high")
_TITLES = {
    "auc": "AUC",
    "flipped_auc": "AUC, shortcut flipped",
    "flipped_accuracy": "accuracy, shortcut flipped",
    "region_swap_accuracy": "accuracy, regions exchanged",
    "flip_rate": "flip rate (lower is better)",
    "region_removal_auc": "AUC, regions filled",
    "saliency_iou": "saliency IoU",
}


class ModelComparisonDisplay:
    """Show how models compare: every metric with its interval, or what one metric costs in another.

    Make one with :meth:`from_comparison` or, from a table that was saved, with :meth:`from_results`.

    Parameters
    ----------
    table : DataFrame
        As ``ModelComparison.table_``; needed are the columns ``metric``, ``model``, ``value``, ``low`` and ``high``,
        and ``chance`` for marks of the chance level.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
        The figure, after :meth:`plot`.
    axes_ : dict of str to matplotlib.axes.Axes
        Axes by metric, or the one under "tradeoff", after :meth:`plot`.

    See Also
    --------
    compare_models : Makes the tables.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_shortcuts.audit import ModelComparisonDisplay
    >>> table = pd.DataFrame(
    ...     [("accuracy", "A", 0.9, 0.85, 0.95), ("accuracy", "B", 0.8, 0.7, 0.9)],
    ...     columns=["metric", "model", "value", "low", "high"],
    ... )
    >>> display = ModelComparisonDisplay.from_results(table)
    >>> sorted(display.axes_)
    ['accuracy']
    """

    def __init__(self, table):
        self.table = table

    @classmethod
    def from_comparison(cls, comparison, *, kind="points", metrics=None, connect=False, ax=None):
        """Draw a comparison.

        Parameters
        ----------
        comparison : ModelComparison
            What :func:`compare_models` gave.
        kind : {"points", "tradeoff"}, default="points"
            A panel per metric with a point and interval per model, or one metric over another with a point per model.
        metrics : sequence of str, default=None
            Panels, by default all; or the metrics along the horizontal and the vertical axis, by default "accuracy"
            and "region_swap_accuracy".
        connect : bool, default=False
            Join the points of ``kind="tradeoff"`` in the order of the models, as for a series of penalty weights.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; takes one panel.

        Returns
        -------
        ModelComparisonDisplay
            The display, drawn.
        """
        return cls(comparison.table_).plot(kind=kind, metrics=metrics, connect=connect, ax=ax)

    @classmethod
    def from_results(cls, table, *, kind="points", metrics=None, connect=False, ax=None):
        """Draw a table of a comparison, such as was saved as CSV.

        Parameters
        ----------
        table : DataFrame
            As ``ModelComparison.table_``.
        kind : {"points", "tradeoff"}, default="points"
            As in :meth:`from_comparison`.
        metrics : sequence of str, default=None
            As in :meth:`from_comparison`.
        connect : bool, default=False
            As in :meth:`from_comparison`.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; takes one panel.

        Returns
        -------
        ModelComparisonDisplay
            The display, drawn.
        """
        return cls(table).plot(kind=kind, metrics=metrics, connect=connect, ax=ax)

    def plot(self, *, kind="points", metrics=None, connect=False, ax=None):
        """Draw.

        Parameters
        ----------
        kind : {"points", "tradeoff"}, default="points"
            As in :meth:`from_comparison`.
        metrics : sequence of str, default=None
            As in :meth:`from_comparison`.
        connect : bool, default=False
            As in :meth:`from_comparison`.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; takes one panel.

        Returns
        -------
        ModelComparisonDisplay
            This object.
        """
        if kind not in _KINDS:
            raise ValueError(f"kind must be one of {list(_KINDS)}, got {kind!r}")
        if connect and kind != "tradeoff":
            raise ValueError('connect=True joins the points of kind="tradeoff" only')
        metrics = self._choose(kind, metrics)
        self._models = list(pd.unique(self.table["model"]))
        draw = self._draw_tradeoff if kind == "tradeoff" else self._draw_points
        draw(metrics, ax, connect)
        return self

    def _choose(self, kind, metrics):
        lacking = [name for name in _COLUMNS if name not in self.table]
        if lacking:
            raise ValueError(f"table has no column {lacking[0]!r}; needed are {list(_COLUMNS)}")
        repeated = np.flatnonzero(self.table.duplicated(["metric", "model"]))
        if len(repeated):
            metric, model = self.table[["metric", "model"]].iloc[repeated[0]]
            raise ValueError(
                f"table: row {repeated[0]} is the second of {metric!r} and {model!r}; draw one table at a time"
            )
        there = list(pd.unique(self.table["metric"]))
        if metrics is None:
            metrics = there if kind == "points" else ["accuracy", "region_swap_accuracy"]
        metrics = [metrics] if isinstance(metrics, str) else list(metrics)
        if not metrics or len(set(metrics)) < len(metrics):
            raise ValueError(f"metrics must name at least one metric, and none twice, got {metrics}")
        missing = [metric for metric in metrics if metric not in there]
        if missing:
            raise ValueError(f"metrics: {missing[0]!r} is not in the table, which has {there}; name others by metrics=")
        if kind == "tradeoff" and len(metrics) != 2:
            raise ValueError(f'kind="tradeoff" draws one metric over another, but metrics={metrics}')
        return metrics

    def _of_metric(self, metric):
        """Values, limits and chance levels of all models, in their order."""
        rows = self.table[self.table["metric"] == metric].set_index("model").reindex(self._models)
        return rows if "chance" in rows else rows.assign(chance=np.nan)

    def _draw_points(self, metrics, ax, _):
        import matplotlib.pyplot as plt

        if ax is not None:
            if len(metrics) != 1:
                raise ValueError(f"ax takes one panel, but metrics={metrics}; name one by metrics=")
            self.figure_, axes = ax.figure, [ax]
        else:
            n_columns = min(len(metrics), 4)
            n_rows = -(-len(metrics) // n_columns)
            height = 0.34 * len(self._models) + 0.9
            self.figure_, grid = plt.subplots(
                n_rows,
                n_columns,
                figsize=(2.4 * n_columns + 1.4, height * n_rows),
                sharey=True,
                squeeze=False,
                layout="constrained",
            )
            axes = list(grid.ravel())
            for unused in axes[len(metrics) :]:
                unused.set_visible(False)
        self.axes_ = dict(zip(metrics, axes))
        places, mark = np.arange(len(self._models)), None
        for metric, axis in self.axes_.items():
            rows = self._of_metric(metric)
            for place, (_, row) in zip(places, rows.iterrows()):
                color = COLORS[place % len(COLORS)]
                axis.plot([row["low"], row["high"]], [place, place], color=color, linewidth=2, solid_capstyle="butt")
                axis.plot(row["value"], place, "o", color=color, markersize=6)
                if np.isfinite(row["chance"]):
                    (mark,) = axis.plot(row["chance"], place, "|", color="0.4", markersize=12, markeredgewidth=1.2)
            axis.set_title(_title(metric), fontsize=9)
            axis.set_ylim(len(places) - 0.5, -0.5)
            axis.set_yticks(places, self._models, fontsize=9)
            axis.tick_params(axis="x", labelsize=8)
            axis.grid(axis="x", color="0.9", linewidth=0.8)
            axis.set_axisbelow(True)
            axis.spines[["top", "right"]].set_visible(False)
        if ax is None and mark is not None:
            self.figure_.legend([mark], ["chance level"], loc="outside lower right", frameon=False, fontsize=8)

    def _draw_tradeoff(self, metrics, ax, connect):
        import matplotlib.pyplot as plt

        if ax is None:
            self.figure_, ax = plt.subplots(figsize=(6.2, 4.2), layout="constrained")
        self.figure_, self.axes_ = ax.figure, {"tradeoff": ax}
        across, up = (self._of_metric(metric) for metric in metrics)
        if connect:
            ax.plot(across["value"], up["value"], color="0.7", linewidth=1.2, zorder=1)
        for place, model in enumerate(self._models):
            color = COLORS[place % len(COLORS)]
            x, y = across.loc[model], up.loc[model]
            ax.plot([x["low"], x["high"]], [y["value"]] * 2, color=color, linewidth=1, alpha=0.5, zorder=2)
            ax.plot([x["value"]] * 2, [y["low"], y["high"]], color=color, linewidth=1, alpha=0.5, zorder=2)
            marker = _MARKERS[place // len(COLORS) % len(_MARKERS)]
            ax.plot(x["value"], y["value"], marker, color=color, markersize=6, zorder=3, label=model)
        ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
        ax.set(xlabel=_title(metrics[0]), ylabel=_title(metrics[1]))
        ax.grid(color="0.92", linewidth=0.8)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)


def _title(metric):
    return _TITLES.get(metric, metric.replace("_", " "))
