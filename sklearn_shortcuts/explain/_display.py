"""Figures of saliency maps."""

from collections.abc import Mapping

import numpy as np

from ..images import ImageBunch
from ..images._sources import as_row_indices
from ._display_grid import BAR, BESIDE, TITLE, make_grid, wrapped
from ._explainers import find_explainer
from ._overlay import (
    ColorScale,
    draw_color_bar,
    draw_contour,
    draw_image,
    draw_note,
    draw_overlay,
    draw_signal,
    draw_span,
)
from ._subject import without_tensor

_SCALES = ("map", "column", "all")
_DIFFERENCE = "difference"
_ROWS_SHOWN = 4


class SaliencyDisplay:
    """Show saliency maps over their images, methods or models side by side.

    Images are gray and the maps colored, the more opaque the larger their value: "inferno" from 0 where no value of a
    column is negative, otherwise red for and blue against the class, white at 0. Masks are outlined. Make one with
    :meth:`from_estimator` or, from maps that were computed before, with :meth:`from_maps`.

    Parameters
    ----------
    images : ImageBunch or array-like of shape (n, H, W), (n, C, H, W) or (n, C, T)
        Images or signals; an array of three axes holds signals if the maps have two.
    maps : array-like of shape (n, H, W) or (n, T), or dict of str to array-like
        Maps, by the title of their column.
    masks : array-like of shape (n, H, W) or (n, T), or list with ``None`` entries, default=None
        Regions to outline; by default those of the bunch.
    titles : sequence of str of length n, default=None
        What stands beside each row.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
        The figure, after :meth:`plot`.
    axes_ : ndarray of matplotlib.axes.Axes of shape (n, n_columns)
        Panels, after :meth:`plot`.
    color_bars_ : dict of str to matplotlib.colorbar.Colorbar
        Color bars by the title of the column, after :meth:`plot`; one named "all" with ``scale="all"``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.explain import SaliencyDisplay
    >>> rng = np.random.default_rng(0)
    >>> images, maps = rng.random((2, 16, 16)), rng.random((2, 16, 16))
    >>> masks = np.zeros((2, 16, 16))
    >>> masks[:, 4:9, 4:9] = 1
    >>> display = SaliencyDisplay.from_maps(images, {"before": maps, "after": maps**2}, masks=masks, difference=True)
    >>> display.columns
    ['image', 'before', 'after', 'after minus\\nbefore']
    >>> display.axes_.shape
    (2, 4)
    """

    def __init__(self, images, maps, *, masks=None, titles=None):
        self.images = images
        self.maps = maps
        self.masks = masks
        self.titles = titles

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        method="grad_cam",
        *,
        target="predicted",
        y=None,
        rows=None,
        masks=None,
        scale="map",
        clip=1.0,
        difference=False,
        show_images=True,
        ax=None,
        **options,
    ):
        """Compute maps and draw them.

        Parameters
        ----------
        estimator : fitted estimator, torch.nn.Module, or dict of str to these
            One model, or several by the name to show.
        X : ImageBunch or array-like
            Rows to explain.
        method : str, callable, or list or dict of these, default="grad_cam"
            Names of functions of :mod:`sklearn_shortcuts.explain`, or functions that are called like them, by title
            if a dict.
        target : object, default="predicted"
            What the maps explain, as in :func:`grad_cam`.
        y : array-like of shape (n,), default=None
            Classes, for ``target="true"`` and beside the rows; by default the bunch's field ``target``.
        rows : sequence of int, default=None
            Rows of ``X`` to show; by default the first four.
        masks : array-like of shape (n, H, W) or (n, T), or list with ``None`` entries, default=None
            Regions to outline, one per row of ``X``; by default those of the bunch.
        scale : {"map", "column", "all"}, default="map"
            See :meth:`plot`.
        clip : float, default=1.0
            See :meth:`plot`.
        difference : bool, default=False
            See :meth:`plot`.
        show_images : bool, default=True
            See :meth:`plot`.
        ax : matplotlib.axes.Axes, default=None
            See :meth:`plot`.
        **options
            Passed on to every method.

        Returns
        -------
        SaliencyDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If there is no such method, or maps and images differ in size, as those of a pipeline that resizes do.
        IndexError
            If there is no such row.
        """
        images = X if isinstance(X, ImageBunch) else np.asarray(without_tensor(X))
        rows = as_row_indices(np.arange(min(_ROWS_SHOWN, len(images))) if rows is None else rows, len(images))
        if y is None and isinstance(X, ImageBunch) and "target" in X.fields:
            y = X.get("target")
        shown, some_y, some_masks = images[rows], _take(y, rows), _take(masks, rows)
        target = _take(target, rows) if np.ndim(target) == 1 else target
        models = estimator if isinstance(estimator, Mapping) else {"": estimator}
        known = {} if some_y is None else {"y": some_y}
        maps = {}
        for model, fitted in models.items():
            for title, explain in _named_methods(method, untitled=len(models) > 1).items():
                column = "\n".join(part for part in (model, title) if part)
                maps[column] = explain(fitted, shown, target, **known, **options)
        only = estimator if len(models) == 1 and not isinstance(estimator, Mapping) else None
        display = cls(shown, maps, masks=some_masks, titles=_row_titles(rows, some_y, only, shown))
        return display.plot(scale=scale, clip=clip, difference=difference, show_images=show_images, ax=ax)

    @classmethod
    def from_maps(
        cls,
        images,
        maps,
        *,
        masks=None,
        titles=None,
        scale="map",
        clip=1.0,
        difference=False,
        show_images=True,
        ax=None,
    ):
        """Draw maps that were computed before.

        Parameters
        ----------
        images : ImageBunch or array-like of shape (n, H, W), (n, C, H, W) or (n, C, T)
            Images or signals; an array of three axes holds signals if the maps have two.
        maps : array-like of shape (n, H, W) or (n, T), or dict of str to array-like
            Maps, by the title of their column.
        masks : array-like of shape (n, H, W) or (n, T), or list with ``None`` entries, default=None
            Regions to outline; by default those of the bunch.
        titles : sequence of str of length n, default=None
            What stands beside each row.
        scale : {"map", "column", "all"}, default="map"
            See :meth:`plot`.
        clip : float, default=1.0
            See :meth:`plot`.
        difference : bool, default=False
            See :meth:`plot`.
        show_images : bool, default=True
            See :meth:`plot`.
        ax : matplotlib.axes.Axes, default=None
            See :meth:`plot`.

        Returns
        -------
        SaliencyDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If images, maps, masks and titles do not fit together.
        """
        display = cls(images, maps, masks=masks, titles=titles)
        return display.plot(scale=scale, clip=clip, difference=difference, show_images=show_images, ax=ax)

    @property
    def columns(self):
        """Titles of the columns as drawn last, from left to right."""
        return list(self._columns)

    def plot(self, *, scale="map", clip=1.0, difference=False, show_images=True, ax=None):
        """Draw.

        Parameters
        ----------
        scale : {"map", "column", "all"}, default="map"
            What shares a scale of colors. "map" divides every map by its largest absolute value, because the units
            of most methods mean little; "column" and "all" keep the values and compare them down a column or
            everywhere.
        clip : float, default=1.0
            Quantile, in (0, 1], of the absolute values other than 0 at which the scale ends: 0.99 lets a few extreme
            pixels, which gradients and Shapley values have, share the last color. The color bar then has a pointed
            end.
        difference : bool, default=False
            Add the second column of maps minus the first, as scaled; needs two of them.
        show_images : bool, default=True
            Begin with a column of the images alone.
        ax : matplotlib.axes.Axes, default=None
            Where to draw the map, if there is one row and one column of maps; the image alone is then left out.

        Returns
        -------
        SaliencyDisplay
            This object.

        Raises
        ------
        ValueError
            If images, maps, masks and titles do not fit together, or ``ax`` or ``difference`` is asked for with
            another number of panels.
        """
        if scale not in _SCALES:
            raise ValueError(f"scale={scale!r} is not one of {', '.join(map(repr, _SCALES))}")
        if not 0 < clip <= 1:
            raise ValueError(f"clip={clip} must be a quantile in (0, 1]")
        bunch = self._bunch()
        panels = _scaled(self._checked_maps(bunch), scale, clip)
        if ax is not None and (len(bunch) != 1 or len(panels) != 1):
            raise ValueError(
                f"ax takes one map, but there are {len(bunch)} rows and {len(panels)} columns of maps; leave ax out"
            )
        labels = dict.fromkeys(panels, _label(scale, clip))
        if difference:
            title, panel = _difference(panels, clip)
            panels[title] = panel
            labels[title] = _DIFFERENCE
        alone = "signal" if bunch.signal else "image"
        if alone in panels:
            raise ValueError(f"maps: a column cannot be called {alone!r}, which is what the {alone}s alone are called")
        self._columns = [*([alone] if show_images and ax is None else []), *panels]
        grid = None
        if ax is None:
            grid = make_grid(bunch, self._columns, self._beside(), list(labels.values()))
            self.figure_, self.axes_ = grid.make()
        else:
            self.figure_, self.axes_ = ax.figure, np.array([[ax]], dtype=object)
        drawn = self._draw_panels(bunch, panels, labels, grid)
        self._draw_color_bars(panels, drawn, labels, grid, shared=scale == "all", signal=bunch.signal)
        return self

    # -- inside ----------------------------------------------------------------------------------------------------
    def _bunch(self):
        images = self.images
        if isinstance(images, ImageBunch):
            return images if self.masks is None else images.with_fields(masks=self.masks)
        images = np.asarray(images)
        named = self.maps.values() if isinstance(self.maps, Mapping) else [self.maps]
        return ImageBunch(images, masks=self.masks, signal=images.ndim == 3 and all(np.ndim(m) == 2 for m in named))

    def _checked_maps(self, bunch):
        named = dict(self.maps) if isinstance(self.maps, Mapping) else {"": self.maps}
        if not named or len(bunch) == 0:
            raise ValueError("there is nothing to draw: images and maps need at least one row and one column")
        wanted = (len(bunch), *bunch.image_shape[1:])
        for title, maps in named.items():
            named[title] = maps = np.asarray(maps, dtype=np.float64)
            which = f"maps[{title!r}]" if isinstance(self.maps, Mapping) else "maps"
            if maps.shape != wanted:
                raise ValueError(
                    f"{which} must have one map of the images' size per row, shape {wanted}, got {maps.shape}"
                )
            wrong = ~np.isfinite(maps).reshape(len(maps), -1).all(axis=1)
            if wrong.any():
                raise ValueError(f"{which}: the map of row {np.flatnonzero(wrong)[0]} has values that are not finite")
        if self.titles is not None and len(self.titles) != len(bunch):
            raise ValueError(f"titles has {len(self.titles)} entries for {len(bunch)} rows")
        return named

    def _draw_panels(self, bunch, panels, labels, grid):
        """Draw everything but the color bars; give of each column what a bar can be made of."""
        drawn = {}
        images = np.asarray(bunch).reshape(len(bunch), *bunch.image_shape)
        masks = np.asarray(bunch.get("masks")) if "masks" in bunch.fields else None
        for row, axes in enumerate(self.axes_):
            for title, ax in zip(self._columns, axes):
                if title not in panels:
                    draw_signal(ax, images[row]) if bunch.signal else draw_image(ax, images[row])
                else:
                    values, scale = panels[title]
                    draw = draw_signal if bunch.signal else draw_overlay
                    drawn[title] = draw(ax, images[row], values[row], scale)
                    if not values[row].any():
                        draw_note(ax, "no difference" if labels[title] == _DIFFERENCE else "zero everywhere")
                if masks is not None and bunch.has_mask[row]:
                    (draw_span if bunch.signal else draw_contour)(ax, masks[row])
                if row == 0:
                    ax.set_title(title if grid is None else wrapped(title, grid.panel[0], TITLE), fontsize=TITLE)
        for ax, text in zip(self.axes_[:, 0], self._beside()):
            level = {} if grid is None else {"rotation": 0, "ha": "right", "va": "center"}
            ax.set_ylabel(text, fontsize=BESIDE, **level)
        return drawn

    def _draw_color_bars(self, panels, drawn, labels, grid, *, shared, signal):
        groups = {title: [title] for title in drawn}
        if shared:
            together = [title for title in drawn if labels[title] != _DIFFERENCE]
            groups = {"all": together, **{title: [title] for title in drawn if title not in together}}
        self.color_bars_ = {}
        for name, titles in groups.items():
            columns, first = [self._columns.index(title) for title in titles], titles[0]
            label = labels[first] if grid is None else wrapped(labels[first], grid.panel[0], BAR)
            self.color_bars_[name] = draw_color_bar(
                drawn[first],
                panels[first][1],
                label,
                ax=self.axes_[0, 0] if grid is None else None,
                cax=None if grid is None else grid.make_bar_axes(self.figure_, columns),
                ground="white" if signal else "0.35",
            )

    def _beside(self):
        return [] if self.titles is None else [str(title) for title in self.titles]


def _scaled(maps, scale, clip):
    """Give the values to draw and their colors by title."""
    if scale == "all":
        together = ColorScale.of(np.concatenate([part.ravel() for part in maps.values()]), clip=clip)
        return {title: (part, together) for title, part in maps.items()}
    if scale == "column":
        return {title: (part, ColorScale.of(part, clip=clip)) for title, part in maps.items()}
    panels = {}
    for title, part in maps.items():
        ends = np.array([ColorScale.of(values, clip=clip).limit for values in part])
        part = part / ends.reshape(-1, *[1] * (part.ndim - 1))
        panels[title] = part, ColorScale(1.0, bool((part < 0).any()), bool(np.abs(part).max() > 1))
    return panels


def _label(scale, clip):
    if scale != "map":
        return "relevance"
    return "share of the map's maximum" if clip == 1 else f"share of the map's {clip:g} quantile"


def _difference(panels, clip):
    if len(panels) != 2:
        raise ValueError(f"difference=True needs two columns of maps, but there are {len(panels)}: {list(panels)}")
    (first, (before, _)), (second, (after, _)) = panels.items()
    names = [title.replace("\n", " ") for title in (second, first)]
    return " minus\n".join(names), (after - before, ColorScale.of(after - before, clip=clip, signed=True))


def _named_methods(method, *, untitled):
    """Functions by title; a single one needs no title beside those of several models."""
    if isinstance(method, Mapping):
        named = dict(method)
    else:
        methods = method if isinstance(method, (list, tuple)) else [method]
        named = {part if isinstance(part, str) else getattr(part, "__name__", repr(part)): part for part in methods}
        if len(named) == 1 and untitled:
            named = {"": next(iter(named.values()))}
    if not named:
        raise ValueError("method names no method")
    return {title.replace("_", " "): find_explainer(part, "method") for title, part in named.items()}


def _take(values, rows):
    """Some rows of what may be an array, a table, a list with None, or nothing."""
    if values is None:
        return None
    if hasattr(values, "iloc"):
        return values.iloc[rows]
    return [values[row] for row in rows] if isinstance(values, (list, tuple)) else np.asarray(values)[rows]


def _row_titles(rows, y, estimator, shown):
    """What is known of every row: its number, its class and, of a single classifier, the predicted class."""
    titles = [f"row {row}" for row in rows]
    known = {"true": y, "predicted": estimator.predict(shown) if hasattr(estimator, "predict") else None}
    for what, classes in known.items():
        if classes is not None and np.ndim(classes) == 1:
            titles = [f"{title}\n{what}: {value}" for title, value in zip(titles, np.asarray(classes))]
    return titles
