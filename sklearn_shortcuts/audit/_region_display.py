"""Figures of a region audit."""

import textwrap

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from ._panels import COLORS, choose_panels
from ._region_maskings import CONTROLS, MASKINGS, example_images, masking_title

_PANELS = ("matrix", "controls", "dilation", "embedding", "examples")


class RegionSensitivityDisplay:
    """Show what a region audit found: the matrix of AUCs, the controls, the dilation curve, embeddings and examples.

    Make one with :meth:`from_estimator` or, from tables that were saved, with :meth:`from_results`.

    Parameters
    ----------
    cells : DataFrame
        As ``RegionSensitivity.cells_``.
    label : object, default=None
        Label to show; may be left out if there is one.
    dilation_curve : DataFrame, default=None
        As ``RegionSensitivity.dilation_curve_``.
    embedding_map : DataFrame, default=None
        As ``RegionSensitivity.embedding_map_``.
    embedding_similarity : DataFrame, default=None
        As ``RegionSensitivity.embedding_similarity_``; its corrected cosines go into the legend of the map.
    examples : dict of str to ndarray of shape (n_examples, H, W), default=None
        Images by masking.
    region_name : str, default="region of interest"
        What the region is called.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
        The figure, after :meth:`plot`.
    axes_ : dict of str to matplotlib.axes.Axes, or list of them for "examples"
        Axes by panel, after :meth:`plot`.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_shortcuts.audit import RegionSensitivityDisplay
    >>> names = ["all", "background"]
    >>> cells = pd.DataFrame(
    ...     [("1", train, test, 0.9, 0.85, 0.95) for train in names for test in names],
    ...     columns=["label", "train", "test", "auc", "low", "high"],
    ... )
    >>> display = RegionSensitivityDisplay.from_results(cells, region_name="lungs")
    >>> sorted(display.axes_)
    ['matrix']
    """

    def __init__(
        self,
        cells,
        *,
        label=None,
        dilation_curve=None,
        embedding_map=None,
        embedding_similarity=None,
        examples=None,
        region_name="region of interest",
    ):
        self.cells = cells
        self.label = label
        self.dilation_curve = dilation_curve
        self.embedding_map = embedding_map
        self.embedding_similarity = embedding_similarity
        self.examples = examples
        self.region_name = region_name

    @classmethod
    def from_estimator(cls, audit, X=None, *, label=None, rows=None, panels=None, ax=None):
        """Draw a fitted audit.

        Parameters
        ----------
        audit : RegionSensitivity
            Fitted.
        X : ImageBunch or array-like, default=None
            Rows to take example images from; they need masks, or a segmenter in the audit's masker.
        label : object, default=None
            Label to show; needed if there are several.
        rows : sequence of int, default=None
            Rows of ``X`` to show; by default the first two that have a mask.
        panels : sequence of {"matrix", "controls", "dilation", "embedding", "examples"}, default=None
            What to draw; by default all that there is.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; takes the matrix, or the one panel asked for.

        Returns
        -------
        RegionSensitivityDisplay
            The display, drawn.
        """
        check_is_fitted(audit, "cells_")
        display = cls(
            audit.cells_,
            label=label,
            dilation_curve=audit.dilation_curve_,
            embedding_map=audit.embedding_map_,
            embedding_similarity=audit.embedding_similarity_,
            examples=None if X is None else example_images(audit, X, rows),
            region_name=audit.region_name,
        )
        return display.plot(panels=panels, ax=ax)

    @classmethod
    def from_results(
        cls,
        cells,
        *,
        label=None,
        dilation_curve=None,
        embedding_map=None,
        embedding_similarity=None,
        region_name="region of interest",
        panels=None,
        ax=None,
    ):
        """Draw tables of an audit, such as were saved as CSV.

        Parameters
        ----------
        cells : DataFrame
            As ``RegionSensitivity.cells_``; needed are the columns ``label``, ``train``, ``test``, ``auc``, ``low`` and
            ``high``.
        label : object, default=None
            Label to show; needed if there are several.
        dilation_curve : DataFrame, default=None
            As ``RegionSensitivity.dilation_curve_``.
        embedding_map : DataFrame, default=None
            As ``RegionSensitivity.embedding_map_``.
        embedding_similarity : DataFrame, default=None
            As ``RegionSensitivity.embedding_similarity_``.
        region_name : str, default="region of interest"
            What the region is called.
        panels : sequence of str, default=None
            What to draw; by default all that there is.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; takes the matrix, or the one panel asked for.

        Returns
        -------
        RegionSensitivityDisplay
            The display, drawn.
        """
        display = cls(
            cells,
            label=label,
            dilation_curve=dilation_curve,
            embedding_map=embedding_map,
            embedding_similarity=embedding_similarity,
            region_name=region_name,
        )
        return display.plot(panels=panels, ax=ax)

    def plot(self, *, panels=None, ax=None):
        """Draw.

        Parameters
        ----------
        panels : sequence of {"matrix", "controls", "dilation", "embedding", "examples"}, default=None
            What to draw; by default all that there is.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; takes the matrix, or the one panel asked for.

        Returns
        -------
        RegionSensitivityDisplay
            This object.
        """
        import matplotlib.pyplot as plt

        self._cells = self._of_label(self.cells)
        wanted = choose_panels(
            panels,
            available=self._available(),
            known=_PANELS,
            first="matrix",
            has_ax=ax is not None,
            needs_many="examples",
        )
        if ax is not None:
            self.figure_, self.axes_ = ax.figure, {wanted[0]: ax}
        else:
            self.figure_, self.axes_ = self._make_axes(plt, wanted)
        draw = {
            "matrix": self._draw_matrix,
            "controls": self._draw_controls,
            "dilation": self._draw_dilation,
            "embedding": self._draw_embedding,
            "examples": self._draw_examples,
        }
        for panel in wanted:
            draw[panel](self.axes_[panel])
        return self

    # -- what there is ---------------------------------------------------------------------------------------------
    def _available(self):
        there = ["matrix"]
        if self._cells["train"].isin(CONTROLS).any():
            there.append("controls")
        if self.dilation_curve is not None:
            there.append("dilation")
        if self.embedding_map is not None:
            there.append("embedding")
        if self.examples is not None:
            there.append("examples")
        return there

    def _of_label(self, table):
        labels = list(pd.unique(table["label"]))
        if self.label is None:
            if len(labels) > 1:
                raise ValueError(f"there are several labels, {labels}: name one by label=")
            return table
        if self.label not in labels:
            raise ValueError(f"label={self.label!r} is not among {labels}")
        return table[table["label"] == self.label]

    def _make_axes(self, plt, wanted):
        """Matrix and controls on top, curves below them, examples at the bottom."""
        bands = [
            [name for name in band if name in wanted] for band in (("matrix", "controls"), ("dilation", "embedding"))
        ]
        bands = [band for band in bands if band]
        n_tests = len(self._matrix_names()[1])
        heights = [max(3.2, 0.95 * len(self._matrix_names()[0]) + 1.6) if "matrix" in band else 3.4 for band in bands]
        width = max(4.5, 1.25 * n_tests + 2.2) + (4.2 if any(len(band) == 2 for band in bands) else 0)
        if "examples" in wanted:
            n_shown = len(next(iter(self.examples.values())))
            heights.append(n_shown * min(width / len(self.examples), 2.0) + 0.5)
        figure = plt.figure(figsize=(width, sum(heights)), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
        parts = np.atleast_1d(figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=True))
        axes = {}
        for band, part in zip(bands, parts):
            ratios = [max(4.5, 1.25 * n_tests + 2.2), 4.2] if band == ["matrix", "controls"] else None
            for name, axis in zip(band, np.atleast_1d(part.subplots(1, len(band), width_ratios=ratios))):
                axes[name] = axis
        if "examples" in wanted:
            grid = parts[-1].subplots(len(next(iter(self.examples.values()))), len(self.examples), squeeze=False)
            axes["examples"] = list(grid.ravel())
        return figure, axes

    def _matrix_names(self):
        table = self._cells[self._cells["train"].isin(MASKINGS) & self._cells["test"].isin(MASKINGS)]
        trained, tested = set(table["train"]), set(table["test"])
        return [name for name in MASKINGS if name in trained], [name for name in MASKINGS if name in tested]

    # -- panels ----------------------------------------------------------------------------------------------------
    def _draw_matrix(self, ax):
        trained, tested = self._matrix_names()
        table = self._cells.set_index(["train", "test"])
        values = table["auc"].unstack("test").reindex(index=trained, columns=tested).to_numpy(dtype=float)
        image = ax.imshow(values, cmap="Blues", vmin=0.5, vmax=1.0, aspect="auto")
        for i, train in enumerate(trained):
            for j, test in enumerate(tested):
                cell = table.loc[(train, test)]
                color = "white" if values[i, j] > 0.82 else "black"
                ax.text(j, i - 0.1, f"{cell['auc']:.2f}", ha="center", va="center", color=color, fontsize=12)
                limits = f"{cell['low']:.2f} to {cell['high']:.2f}"
                ax.text(j, i + 0.22, limits, ha="center", va="center", color=color, fontsize=7.5)
        ax.set_xticks(range(len(tested)), [self._title(name) for name in tested], fontsize=9)
        ax.set_yticks(range(len(trained)), [self._title(name) for name in trained], fontsize=9)
        ax.set(xlabel="tested on", ylabel="trained on")
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.set_xticks(np.arange(1, len(tested)) - 0.5, minor=True)
        ax.set_yticks(np.arange(1, len(trained)) - 0.5, minor=True)
        ax.grid(which="minor", color="white", linewidth=2)
        ax.tick_params(which="minor", length=0)
        colorbar = ax.figure.colorbar(image, ax=ax, shrink=0.8, pad=0.02, extend="min")
        colorbar.set_label("mean AUC over folds")
        colorbar.outline.set_visible(False)
        if self.label is not None:
            ax.set_title(str(self.label), fontsize=11)

    def _draw_controls(self, ax):
        """Models that see their own kind of masking only, with the controls below them."""
        table = self._cells[self._cells["train"] == self._cells["test"]].set_index("train")
        names = [name for name in (*MASKINGS, *CONTROLS) if name in table.index]
        for position, name in enumerate(names):
            auc, low, high = (float(table.loc[name, column]) for column in ("auc", "low", "high"))
            color = COLORS[1] if name in CONTROLS else COLORS[0]
            ax.plot([low, high], [position, position], color=color, linewidth=2, solid_capstyle="butt")
            ax.plot(auc, position, "o", color=color, markersize=6)
            ax.annotate(
                f"{auc:.2f}", (auc, position), (0, 6), textcoords="offset points", ha="center", fontsize=8, color=color
            )
        ax.axvline(0.5, color="0.5", linestyle=":", linewidth=1)
        ax.set_yticks(range(len(names)), [self._title(name, 24) for name in names], fontsize=9)
        ax.set(ylim=(len(names) - 0.5, -0.7), xlabel="AUC, trained and tested on the same")
        left = min(0.4, float(table.loc[names, "low"].min()) - 0.02)
        ax.set_xlim(max(left, -0.02), 1.02)
        ax.spines[["top", "right"]].set_visible(False)

    def _draw_dilation(self, ax):
        curve = self._of_label(self.dilation_curve)
        styles = {"all": ("-", 1.8), "positive": ("--", 1.2), "negative": (":", 1.2)}
        for color, (kept, part) in zip(COLORS, curve.groupby("kept", sort=False)):
            for dilated, (style, width) in styles.items():
                line = part[part["dilated"] == dilated].sort_values("margin")
                if line.empty:
                    continue
                name = self._title(kept, 60) if dilated == "all" else None
                ax.plot(line["margin"], line["auc"], style, color=color, linewidth=width, label=name)
                if dilated == "all":
                    ax.fill_between(line["margin"], line["low"], line["high"], color=color, alpha=0.15, linewidth=0)
        for dilated in ("positive", "negative"):
            style, width = styles[dilated]
            if (curve["dilated"] == dilated).any():
                ax.plot([], [], style, color="0.3", linewidth=width, label=f"margin on {dilated} rows only")
        ax.axhline(0.5, color="0.5", linestyle=":", linewidth=1, zorder=0)
        ax.set(xlabel="margin of the region (pixels)", ylabel="AUC, trained on the full image")
        ax.legend(frameon=False, fontsize=8, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        ax.spines[["top", "right"]].set_visible(False)

    def _draw_embedding(self, ax):
        for color, (masking, points) in zip(COLORS, self.embedding_map.groupby("masking", sort=False)):
            name = self._title(masking, 60)
            if self.embedding_similarity is not None and masking != "all":
                corrected = self.embedding_similarity.loc[(masking, "all"), "corrected_cosine"]
                name = f"{name} (corrected cosine {corrected:.2f})"
            ax.scatter(points["x"], points["y"], s=9, color=color, alpha=0.6, linewidth=0, label=name)
        ax.set(xticks=[], yticks=[], xlabel="embedding of the full-image model (t-SNE)")
        ax.legend(frameon=False, fontsize=8, markerscale=1.8, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        ax.spines[:].set_color("0.8")

    def _draw_examples(self, axes):
        columns = list(self.examples.items())
        for position, ax in enumerate(axes):
            row, column = divmod(position, len(columns))
            name, images = columns[column]
            shown = columns[0][1][row]
            if images.ndim == 2:
                ax.plot(images[row], color="black", linewidth=0.7)
            else:
                ax.imshow(images[row], cmap="gray", vmin=float(shown.min()), vmax=float(shown.max()))
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
            if row == 0:
                ax.set_title(self._title(name, 18), fontsize=9)

    def _title(self, name, width=14):
        return "\n".join(textwrap.wrap(masking_title(name, self.region_name), width))
