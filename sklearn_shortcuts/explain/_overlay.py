"""One panel of a figure of saliency maps: the map over its image or signal, with a scale of colors and the mask."""

from dataclasses import dataclass

import numpy as np

from ._display_grid import BAR, character

_SEQUENTIAL, _DIVERGING = "inferno", "RdBu_r"  # lightness grows evenly with the value, or with its distance from 0
_MOST_OPAQUE = 0.85  # of the largest value; the image stays visible below it
_MOST_OPAQUE_SIGNAL = 0.6  # black traces must stay visible on top
_GROWTH = 0.7  # exponent below 1: weak values can be seen, though their color says that they are weak


@dataclass(frozen=True)
class ColorScale:
    """Colors of one or more maps.

    Attributes
    ----------
    limit : float
        Value, or absolute value if ``signed``, that gets the last color.
    signed : bool
        Whether there are negative values: the scale then goes from ``-limit`` to ``limit``.
    clipped : bool
        Whether some values lie beyond.
    """

    limit: float
    signed: bool
    clipped: bool = False

    @classmethod
    def of(cls, maps, *, clip=1.0, signed=None):
        """Choose the scale of some maps.

        Parameters
        ----------
        maps : ndarray
            Values of all that is drawn with this scale.
        clip : float, default=1.0
            Quantile, in (0, 1], of the absolute values other than 0 where the scale ends.
        signed : bool, default=None
            Whether the scale goes through 0; by default where a value is negative.

        Returns
        -------
        ColorScale
            The scale; of maps that are all zero it ends at 1.
        """
        sizes = np.abs(maps[maps != 0])
        signed = bool((maps < 0).any()) if signed is None else signed
        if len(sizes) == 0:
            return cls(1.0, signed)
        limit = float(np.quantile(sizes, clip))
        return cls(limit, signed, bool(sizes.max() > limit))

    @property
    def limits(self):
        """Smallest and largest value of the scale."""
        return (-self.limit if self.signed else 0.0), self.limit

    @property
    def extend(self):
        """Ends of the color bar that stand for values beyond it."""
        return ("both" if self.signed else "max") if self.clipped else "neither"

    def colormap(self, most_opaque=_MOST_OPAQUE):
        """Colors that are the more opaque the further a value is from 0."""
        import matplotlib as mpl

        colormap = mpl.colormaps[_DIVERGING if self.signed else _SEQUENTIAL]
        positions = np.linspace(0, 1, 512)
        colors = colormap(positions)
        strength = np.abs(2 * positions - 1) if self.signed else positions
        colors[:, 3] = most_opaque * strength**_GROWTH
        return mpl.colors.ListedColormap(colors)


def draw_image(ax, image):
    """Draw one image as it is.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    image : ndarray of shape (C, H, W)
        Three channels are shown as colors, of any other number their mean.
    """
    if len(image) == 3:
        known = image[np.isfinite(image)]
        low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
        ax.imshow(np.moveaxis((image - low) / (high - low or 1), 0, -1))
    else:
        _draw_gray(ax, image)
    _bare(ax)


def draw_overlay(ax, image, values, scale):
    """Draw a map over its image, which is gray.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    image : ndarray of shape (C, H, W)
        What the map is of.
    values : ndarray of shape (H, W)
        Map.
    scale : ColorScale
        Its colors.

    Returns
    -------
    matplotlib.cm.ScalarMappable
        What a color bar can be made of.
    """
    _draw_gray(ax, image)
    low, high = scale.limits
    drawn = ax.imshow(values, cmap=scale.colormap(), vmin=low, vmax=high, interpolation="nearest")
    _bare(ax)
    return drawn


def draw_contour(ax, mask):
    """Draw the outline of a mask of shape (H, W), in white between dark lines, which shows on any picture."""
    from matplotlib import patheffects

    # A frame of background closes the outline where the region touches the edge of the image.
    framed = np.pad(np.asarray(mask, dtype=float), 1)
    if framed.max() < 0.5:
        return
    rows, columns = (np.arange(-1, size + 1) for size in mask.shape)
    lines = ax.contour(columns, rows, framed, levels=[0.5], colors="white", linewidths=1.1)
    lines.set(path_effects=[patheffects.withStroke(linewidth=2.6, foreground="black")])
    ax.set(xlim=(-0.5, mask.shape[1] - 0.5), ylim=(mask.shape[0] - 0.5, -0.5))


def draw_signal(ax, signal, values=None, scale=None):
    """Draw the channels of a signal below each other, over a map of the samples.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    signal : ndarray of shape (C, T)
        Channels.
    values : ndarray of shape (T,), default=None
        Map.
    scale : ColorScale, default=None
        Its colors.

    Returns
    -------
    matplotlib.cm.ScalarMappable or None
        What a color bar can be made of, if there is a map.
    """
    signal = np.asarray(signal, dtype=float)
    known = [channel[np.isfinite(channel)] for channel in signal]  # there may be gaps, which are not drawn
    lowest, highest = np.array([(part.min(), part.max()) if len(part) else (0.0, 0.0) for part in known]).T
    height = 1.1 * float((highest - lowest).max()) or 1.0
    centers = (highest + lowest) / 2
    traces = signal - (centers + height * np.arange(len(signal)))[:, None]
    bottom, top = -(len(signal) - 0.5) * height, 0.5 * height
    drawn = None
    if values is not None:
        low, high = scale.limits
        extent = (-0.5, len(values) - 0.5, bottom, top)
        drawn = ax.imshow(
            values[None],
            cmap=scale.colormap(_MOST_OPAQUE_SIGNAL),
            vmin=low,
            vmax=high,
            extent=extent,
            aspect="auto",
            origin="lower",
        )
    ax.plot(traces.T, color="black", linewidth=0.7)
    _bare(ax)
    ax.set(xlim=(-0.5, signal.shape[1] - 0.5), ylim=(bottom, top))
    return drawn


def draw_span(ax, mask):
    """Frame the samples inside a mask of shape (T,)."""
    edges = np.flatnonzero(np.diff(np.pad(np.asarray(mask) >= 0.5, 1).astype(int)))
    for first, last in zip(edges[::2], edges[1::2]):
        ax.axvspan(first - 0.5, last - 0.5, facecolor="none", edgecolor="black", linewidth=1.2, linestyle="--")


def draw_note(ax, text):
    """Write a remark at the lower edge of a panel."""
    ax.text(
        0.5, 0.03, text, transform=ax.transAxes, ha="center", va="bottom", fontsize=8, color="white",
        bbox={"facecolor": "black", "alpha": 0.65, "linewidth": 0, "pad": 2},
    )  # fmt: skip


def draw_color_bar(drawn, scale, label, *, ax=None, cax=None, ground="0.35"):
    """Draw a color bar.

    Parameters
    ----------
    drawn : matplotlib.cm.ScalarMappable
        What :func:`draw_overlay` or :func:`draw_signal` gave.
    scale : ColorScale
        Colors of the map.
    label : str
        What stands below the bar.
    ax : matplotlib.axes.Axes, default=None
        Where to take the room for the bar from.
    cax : matplotlib.axes.Axes, default=None
        Where to draw the bar.
    ground : color, default="0.35"
        What the bar is drawn on, as the map is on an image.

    Returns
    -------
    matplotlib.colorbar.Colorbar
        The bar.
    """
    figure = (cax or ax).figure
    place = {"cax": cax} if ax is None else {"ax": ax, "fraction": 0.05, "pad": 0.03}
    bar = figure.colorbar(drawn, orientation="horizontal", extend=scale.extend, **place)
    bar.ax.set_facecolor(ground)
    low, high = scale.limits
    names = [f"{value:.2g}" for value in (low, (low + high) / 2, high)]
    # Labels at the ends keep within the bar, so that those of neighboring bars stay apart.
    width = bar.ax.get_position().width * figure.get_figwidth()
    if sum(len(name) + 2 for name in names) * character(BAR) > width:
        names[1] = ""
    bar.set_ticks([low, (low + high) / 2, high], labels=names)
    for text, side in zip(bar.ax.get_xticklabels(), ("left", "center", "right")):
        text.set_horizontalalignment(side)
    bar.ax.tick_params(labelsize=BAR, length=2)
    bar.set_label(label, fontsize=BAR)
    bar.outline.set_visible(False)
    return bar


def _draw_gray(ax, image):
    ax.imshow(np.asarray(image, dtype=float).mean(axis=0), cmap="gray")


def _bare(ax):
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
