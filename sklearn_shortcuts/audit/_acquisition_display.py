"""Figures of an acquisition probe."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ._acquisition_rows import as_given
from ._panels import COLORS, choose_panels

_PANELS = ("confusion", "families", "spectra", "saliency")
_LEFT_OUT = "#999999"


class AcquisitionProbeDisplay:
    """Show what an acquisition probe found: confusion, feature families, spectra, and where its network looks.

    Make one with :meth:`from_estimator` or, from tables that were saved, with :meth:`from_results`.

    Parameters
    ----------
    confusion : DataFrame of shape (n_acquisitions, n_acquisitions)
        Numbers of rows, true acquisitions by predicted ones, as in ``AcquisitionProbe.confusion_``.
    evidence : DataFrame, default=None
        As ``AcquisitionProbe.evidence_``.
    spectra : DataFrame, default=None
        As ``AcquisitionProbe.spectra_``.
    saliency : list of (str, ndarray, ndarray), default=None
        Title, image and map of each row shown.
    title : str, default=None
        Above the confusion.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
        The figure, after :meth:`plot`.
    axes_ : dict of str to matplotlib.axes.Axes, or list of them for "saliency"
        Axes by panel, after :meth:`plot`.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_shortcuts.audit import AcquisitionProbeDisplay
    >>> confusion = pd.DataFrame([[40, 2], [3, 39]], index=["GE", "Siemens"], columns=["GE", "Siemens"])
    >>> display = AcquisitionProbeDisplay.from_results(confusion)
    >>> sorted(display.axes_)
    ['confusion']
    """

    def __init__(self, confusion, *, evidence=None, spectra=None, saliency=None, title=None):
        self.confusion = confusion
        self.evidence = evidence
        self.spectra = spectra
        self.saliency = saliency
        self.title = title

    @classmethod
    def from_estimator(cls, probe, X=None, *, which=None, rows=None, panels=None, ax=None):
        """Draw a fitted probe.

        Parameters
        ----------
        probe : AcquisitionProbe
            Fitted.
        X : ImageBunch or array-like, default=None
            Rows of which some are shown with the Grad-CAM of the network that names their acquisition; needs a network
            probe.
        which : {"fast", "network"}, default=None
            Probe whose confusion is drawn; by default the network if there is one.
        rows : sequence of int, default=None
            Rows of ``X`` to show; by default the first ones that are taken for each acquisition, two of each.
        panels : sequence of {"confusion", "families", "spectra", "saliency"}, default=None
            What to draw; by default all that there is.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; takes the confusion, or the one panel asked for.

        Returns
        -------
        AcquisitionProbeDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the probe has no such part, or ``X`` is given and there is no network.
        """
        check_is_fitted(probe, "verdict_")
        which = list(probe.confusion_)[-1] if which is None else which
        if which not in probe.confusion_:
            raise ValueError(f"which: the probe has no {which!r}, but {list(probe.confusion_)}")
        scores = probe.scores_.loc[which]
        display = cls(
            probe.confusion_[which],
            evidence=probe.evidence_,
            spectra=probe.spectra_,
            saliency=None if X is None else _explain(probe, X, rows),
            title=f"{which} probe: AUC {scores['auc']:.2f} ({scores['auc_low']:.2f} to {scores['auc_high']:.2f})",
        )
        return display.plot(panels=panels, ax=ax)

    @classmethod
    def from_results(cls, confusion, *, evidence=None, spectra=None, title=None, panels=None, ax=None):
        """Draw tables of a probe, such as were saved as CSV.

        Parameters
        ----------
        confusion : DataFrame of shape (n_acquisitions, n_acquisitions)
            Numbers of rows, true acquisitions by predicted ones.
        evidence : DataFrame, default=None
            As ``AcquisitionProbe.evidence_``; needed are ``auc``, ``low``, ``high`` and ``auc_without``.
        spectra : DataFrame, default=None
            As ``AcquisitionProbe.spectra_``.
        title : str, default=None
            Above the confusion.
        panels : sequence of str, default=None
            What to draw; by default all that there is.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; takes the confusion, or the one panel asked for.

        Returns
        -------
        AcquisitionProbeDisplay
            The display, drawn.
        """
        return cls(confusion, evidence=evidence, spectra=spectra, title=title).plot(panels=panels, ax=ax)

    def plot(self, *, panels=None, ax=None):
        """Draw.

        Parameters
        ----------
        panels : sequence of {"confusion", "families", "spectra", "saliency"}, default=None
            What to draw; by default all that there is.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; takes the confusion, or the one panel asked for.

        Returns
        -------
        AcquisitionProbeDisplay
            This object.
        """
        parts = (self.confusion, self.evidence, self.spectra, self.saliency)
        available = [panel for panel, part in zip(_PANELS, parts) if part is not None]
        wanted = choose_panels(
            panels,
            available=available,
            known=_PANELS,
            first="confusion",
            has_ax=ax is not None,
            needs_many="saliency",
        )
        if ax is not None:
            self.figure_, self.axes_ = ax.figure, {wanted[0]: ax}
        else:
            self._make_axes(wanted)
        for panel in wanted:
            getattr(self, f"_draw_{panel}")(self.axes_[panel])
        return self

    # -- inside ----------------------------------------------------------------------------------------------------
    def _make_axes(self, wanted):
        import matplotlib.pyplot as plt

        upper = [panel for panel in wanted if panel != "saliency"]
        widths = [4.6 if panel == "families" else 4.0 for panel in upper]
        n_rows = int("saliency" in wanted)
        shown = len(self.saliency) if n_rows else 0
        size = (max(sum(widths), 1.7 * shown), 3.6 * bool(upper) + 3.4 * n_rows)
        self.figure_ = plt.figure(figsize=size, layout="constrained")
        parts = self.figure_.subfigures(bool(upper) + n_rows, 1, squeeze=False)[:, 0]
        self.axes_ = {}
        if upper:
            axes = parts[0].subplots(1, len(upper), squeeze=False, width_ratios=widths)[0]
            self.axes_.update(zip(upper, axes))
        if n_rows:
            self.axes_["saliency"] = list(parts[-1].subplots(2, shown, squeeze=False).T.ravel())

    def _draw_confusion(self, ax):
        counts = self.confusion.to_numpy()
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(shares.shape):
            text = f"{counts[row, column]}\n{100 * shares[row, column]:.0f} %"
            color = "white" if shares[row, column] > 0.6 else "black"
            ax.text(column, row, text, ha="center", va="center", color=color, fontsize=9)
        names = [str(name) for name in self.confusion.columns]
        ax.set_xticks(range(len(names)), names, rotation=30 if max(map(len, names)) > 8 else 0)
        ax.set_yticks(range(len(names)), [str(name) for name in self.confusion.index])
        ax.set(xlabel="predicted acquisition", ylabel="true acquisition")
        ax.set_title(self.title or "", fontsize=9)

    def _draw_families(self, ax):
        table = self.evidence.sort_values("auc")
        places = np.arange(len(table))
        ax.hlines(places, table["low"], table["high"], color=COLORS[0], linewidth=2)
        ax.plot(table["auc"], places, "o", color=COLORS[0], label="this family alone")
        ax.plot(table["auc_without"], places, "D", color=_LEFT_OUT, markersize=5, label="all but this family")
        ax.axvline(0.5, color="0.5", linestyle=":", linewidth=1, zorder=0)
        ax.set_yticks(places, [str(name).replace("_", " ") for name in table.index])
        ax.set(xlabel="AUC of the acquisition", ylim=(-0.6, len(table) - 0.4))
        ax.legend(frameon=False, fontsize=8, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        ax.spines[["top", "right"]].set_visible(False)

    def _draw_spectra(self, ax):
        for number, name in enumerate(self.spectra.columns):
            style = ("-", "--", "-.", ":")[number // len(COLORS) % 4]
            power = 10 * self.spectra[name] / np.log(10)
            ax.plot(self.spectra.index.astype(float), power, style, color=COLORS[number % len(COLORS)], label=str(name))
        ax.set(xlabel="frequency (cycles per pixel or sample)", ylabel="share of the power (dB)")
        ax.legend(frameon=False, fontsize=8)
        ax.spines[["top", "right"]].set_visible(False)

    def _draw_saliency(self, axes):
        for (title, image, heat), above, below in zip(self.saliency, axes[::2], axes[1::2]):
            if image.ndim == 1:
                above.plot(image, color="black", linewidth=0.7)
                below.plot(heat, color=COLORS[1], linewidth=0.9)
            else:
                above.imshow(image, cmap="gray")
                below.imshow(image, cmap="gray")
                below.imshow(heat, cmap="inferno", alpha=0.6)
            above.set_title(title, fontsize=8)
            for ax in (above, below):
                ax.set(xticks=[], yticks=[])
        axes[0].set_ylabel("image", fontsize=8)
        axes[1].set_ylabel("Grad-CAM", fontsize=8)


def _explain(probe, X, rows):
    """Title, image and Grad-CAM of some rows."""
    from ..explain import grad_cam

    network = probe.estimators_.get("network")
    if network is None:
        raise ValueError("X is for the maps of a network, but the probe has none; fit it with method='both'")
    predicted = probe.predict(X)
    if rows is None:
        rows = np.concatenate([np.flatnonzero(predicted == name)[:2] for name in probe.classes_])
    rows = np.asarray(rows)
    chosen = X[rows] if hasattr(X, "fields") else np.asarray(X)[rows]
    chosen = as_given(chosen, probe._array_shape)
    maps = np.asarray(grad_cam(network, chosen, "predicted"))
    images = np.asarray(chosen, dtype=np.float64).reshape(len(rows), *probe.image_shape_).mean(axis=1)
    return [
        (f"row {row}, taken for {name}", image, heat)
        for row, name, image, heat in zip(rows.tolist(), predicted[rows].tolist(), images, maps)
    ]
