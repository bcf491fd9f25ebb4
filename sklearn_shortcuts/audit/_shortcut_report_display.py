"""Figures of a report on a shortcut: every measure before and after, with its interval."""

import numpy as np

from ._panels import COLORS, choose_panels

_COPIES = {"as_is": "as they are", "clean": "without the artifact", "attacked": "with the artifact"}
_BY_COPY = {"accuracy": "accuracy", "macro_f1": "macro F1", "auc": "AUC"}
_SINGLE = {
    "worst_group_accuracy": "worst-group accuracy",
    "gap": "accuracy lost to the artifact",
    "flip_rate": "flip rate",
    "artifact_relevance": "artifact relevance",
    "tcav": "TCAV",
    "decodability": "decodability of the artifact",
    "recovery": "recovery",
    "gap_closed": "gap closed",
    "off_target": "off-target change",
    "clean_accuracy_change": "change of clean accuracy",
}
_KNOWN = (*_BY_COPY, *_SINGLE)


class ShortcutReportDisplay:
    """Show what models score with and without an artifact, and how much they rely on it, as bars with intervals.

    Make one with :meth:`from_report`.

    Parameters
    ----------
    report : DataFrame
        What :func:`shortcut_report` gave, or the same read from a file.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
        The figure, after :meth:`plot`.
    axes_ : dict of str to matplotlib.axes.Axes
        Axes by panel, after :meth:`plot`.

    See Also
    --------
    shortcut_report : Makes the table.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_shortcuts.audit import ShortcutReportDisplay
    >>> report = pd.DataFrame(
    ...     {"flip_rate": [0.4, 0.1], "flip_rate_low": [0.3, 0.05], "flip_rate_high": [0.5, 0.2]},
    ...     index=["before", "after"],
    ... )
    >>> display = ShortcutReportDisplay.from_report(report)
    >>> sorted(display.axes_)
    ['flip_rate']
    """

    def __init__(self, report):
        self.report = report

    @classmethod
    def from_report(cls, report, *, panels=None, ax=None):
        """Draw a report.

        Parameters
        ----------
        report : DataFrame
            What :func:`shortcut_report` gave.
        panels : sequence of str, default=None
            What to draw, in this order: "accuracy", "macro_f1" and "auc" on each copy of the rows,
            "worst_group_accuracy", "gap", "flip_rate", "artifact_relevance", "tcav" (with its standard error),
            "decodability", "recovery", "gap_closed", "off_target", "clean_accuracy_change". By default all that were
            measured.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; takes one panel.

        Returns
        -------
        ShortcutReportDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If a panel is not known or has nothing to show, or ``ax`` is given for several.
        """
        return cls(report).plot(panels=panels, ax=ax)

    def plot(self, *, panels=None, ax=None):
        """Draw.

        Parameters
        ----------
        panels : sequence of str, default=None
            As in :meth:`from_report`.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; takes one panel.

        Returns
        -------
        ShortcutReportDisplay
            This object.

        Raises
        ------
        ValueError
            If a panel is not known or has nothing to show, or ``ax`` is given for several.
        """
        import matplotlib.pyplot as plt

        available = [panel for panel in _KNOWN if self._columns(panel)]
        if not available:
            raise ValueError("report has no measure to show; give what shortcut_report gave")
        panels = [panels] if isinstance(panels, str) else panels
        if ax is not None and panels is not None and len(panels) != 1:
            raise ValueError(f"ax takes one panel, but panels={list(panels)} were asked for")
        panels = choose_panels(
            panels,
            available=available,
            known=_KNOWN,
            first=available[0],
            has_ax=ax is not None,
            needs_many=None,
        )
        if ax is None:
            n_columns = min(3, len(panels))
            n_rows = -(-len(panels) // n_columns)
            size = (3.4 * n_columns, 2.9 * n_rows)
            self.figure_, grid = plt.subplots(n_rows, n_columns, figsize=size, squeeze=False, layout="constrained")
            axes = list(grid.ravel())
            for spare in axes[len(panels) :]:
                spare.remove()
        else:
            self.figure_, axes = ax.figure, [ax]
        self.axes_ = dict(zip(panels, axes))
        for panel, axis in self.axes_.items():
            self._draw(panel, axis)
        return self

    # -- inside ----------------------------------------------------------------------------------------------------
    def _columns(self, panel):
        """Give the measured columns of a panel, by what their bars are called."""
        wanted = {title: f"{panel}_{copy}" for copy, title in _COPIES.items()} if panel in _BY_COPY else {None: panel}
        return {
            title: column
            for title, column in wanted.items()
            if column in self.report and np.isfinite(self.report[column].to_numpy(dtype=float)).any()
        }

    def _limits(self, column, values):
        if f"{column}_standard_error" in self.report:
            error = self.report[f"{column}_standard_error"].to_numpy(dtype=float)
            return values - error, values + error
        return (
            self.report[f"{column}_{end}"].to_numpy(dtype=float) if f"{column}_{end}" in self.report else values
            for end in ("low", "high")
        )

    def _draw(self, panel, axis):
        columns = self._columns(panel)
        names = [str(name) for name in self.report.index]
        places = np.arange(len(names))
        width = 0.8 / len(columns)
        for number, (title, column) in enumerate(columns.items()):
            values = self.report[column].to_numpy(dtype=float)
            low, high = self._limits(column, values)
            shift = (number - (len(columns) - 1) / 2) * width
            axis.bar(places + shift, values, width * 0.92, color=COLORS[number], label=title, alpha=0.85)
            axis.vlines(places + shift, low, high, color="0.15", linewidth=1.2)
        if panel in ("tcav", "decodability"):
            axis.axhline(0.5, color="0.3", linestyle="--", linewidth=1.2)
        if panel == "artifact_relevance" and "artifact_relevance_chance" in self.report:
            chance = self.report["artifact_relevance_chance"].to_numpy(dtype=float)
            axis.hlines(chance, places - 0.4, places + 0.4, color="0.3", linestyle="--", linewidth=1.2, label="chance")
        axis.axhline(0, color="0.6", linewidth=0.8)
        axis.set_title({**_BY_COPY, **_SINGLE}[panel], fontsize=9)
        axis.set_xticks(places, names, fontsize=8, rotation=20 if len(names) > 2 else 0)
        axis.tick_params(axis="y", labelsize=8)
        axis.grid(axis="y", color="0.9", linewidth=0.8)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        if panel in _BY_COPY:
            axis.legend(frameon=False, fontsize=7, loc="lower right")
