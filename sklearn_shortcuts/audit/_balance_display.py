"""Figure of how alike acquisitions are, before and after balancing."""

import numpy as np

_COLORS = {"before": "#D55E00", "after": "#0072B2"}  # of Okabe and Ito, told apart with any color vision


class BalanceDisplay:
    """Show how much acquisitions differ in every variable before and after balancing, as a Love plot.

    Make one with :meth:`from_estimator` or, from a table, with :meth:`from_table`.

    Parameters
    ----------
    balance_table : DataFrame
        As :func:`~sklearn_shortcuts.preprocessing.balance_table` gives: columns "before" and, where there are weights,
        "after", indexed by variable and statistic.
    threshold : float, default=0.1
        Standardized mean difference at which a line is drawn: what is commonly called imbalance.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
        The figure, after :meth:`plot`.
    ax_ : matplotlib.axes.Axes
        Its axes, after :meth:`plot`.
    variables_ : list of str
        Variables from the top, the least balanced first, after :meth:`plot`.

    See Also
    --------
    sklearn_shortcuts.preprocessing.AcquisitionBalancer : Balances, and has such a table.

    Examples
    --------
    >>> from sklearn_shortcuts.audit import BalanceDisplay
    >>> from sklearn_shortcuts.preprocessing import acquisition_weights, balance_table
    >>> scanner, label = ["GE", "GE", "GE", "Siemens", "Siemens", "Siemens"], [1, 1, 0, 0, 0, 1]
    >>> table = balance_table(scanner, label, sample_weight=acquisition_weights(scanner, label))
    >>> BalanceDisplay.from_table(table).variables_
    ['y']
    """

    def __init__(self, balance_table, *, threshold=0.1):
        self.balance_table = balance_table
        self.threshold = threshold

    @classmethod
    def from_estimator(cls, balancer, *, threshold=0.1, ax=None):
        """Draw what a balancer or resampler did.

        Parameters
        ----------
        balancer : fitted AcquisitionBalancer or AcquisitionResampler
            With ``balance_table_``.
        threshold : float, default=0.1
            Where to draw a line.
        ax : matplotlib.axes.Axes, default=None
            Where to draw.

        Returns
        -------
        BalanceDisplay
            The display, drawn.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If it is not fitted.
        """
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(balancer, "balance_table_")
        return cls(balancer.balance_table_, threshold=threshold).plot(ax=ax)

    @classmethod
    def from_table(cls, balance_table, *, threshold=0.1, ax=None):
        """Draw a table of balance.

        Parameters
        ----------
        balance_table : DataFrame
            As :func:`~sklearn_shortcuts.preprocessing.balance_table` gives.
        threshold : float, default=0.1
            Where to draw a line.
        ax : matplotlib.axes.Axes, default=None
            Where to draw.

        Returns
        -------
        BalanceDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If it is no such table.
        """
        return cls(balance_table, threshold=threshold).plot(ax=ax)

    def plot(self, *, ax=None):
        """Draw one line per variable.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default in a new figure.

        Returns
        -------
        BalanceDisplay
            The display itself.

        Raises
        ------
        ValueError
            If ``balance_table`` is no such table.
        """
        differences = self._differences()
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(figsize=(6, 1.2 + 0.32 * len(differences)), layout="constrained")
        places = np.arange(len(differences))[::-1]
        moments = list(differences.columns)
        finite = differences.to_numpy()[np.isfinite(differences.to_numpy())]
        edge = 1.05 * max([self.threshold, *finite])
        if len(moments) == 2:
            shown = differences.clip(upper=edge)
            ax.hlines(places, shown.min(axis=1), shown.max(axis=1), color="0.8", zorder=1)
        for moment in moments:
            values = differences[moment].to_numpy()
            # Without variation within acquisitions a difference is infinite: an arrow at the edge.
            for unbounded, marker in ((False, "o"), (True, ">")):
                rows = np.isinf(values) == unbounded
                if unbounded and not rows.any():
                    continue
                ax.scatter(
                    np.minimum(values[rows], edge),
                    places[rows],
                    marker=marker,
                    s=36,
                    facecolor=_COLORS[moment] if moment == "after" else "white",
                    edgecolor=_COLORS[moment],
                    label=None if unbounded else moment,
                    zorder=2,
                )
        ax.axvline(0, color="0.6", linewidth=0.8, zorder=0)
        ax.axvline(self.threshold, color="0.4", linestyle="--", linewidth=0.8, zorder=0)
        ax.set_yticks(places, list(differences.index))
        ax.set(xlabel="standardized mean difference between acquisitions", ylim=(-0.6, len(differences) - 0.4))
        ax.legend(frameon=False, fontsize="small")
        self.ax_, self.figure_, self.variables_ = ax, ax.figure, list(differences.index)
        return self

    # -- inside ----------------------------------------------------------------------------------------------------
    def _differences(self):
        table = self.balance_table
        if "before" not in table or "smd" not in table.index.get_level_values(-1):
            raise ValueError(
                "balance_table has no column 'before' or no statistic 'smd': give what balance_table() or a balancer's "
                "balance_table_ gives"
            )
        differences = table.xs("smd", level=-1)[[name for name in ("before", "after") if name in table]]
        return differences.sort_values("before", ascending=False, kind="stable")
