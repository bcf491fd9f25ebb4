"""Where the panels, titles and color bars of a figure of saliency maps are, in inches."""

import textwrap
from dataclasses import dataclass

import numpy as np

LONGER_SIDE = 2.1  # of a panel
TITLE, BESIDE, BAR = 9, 8, 7.5  # font sizes in points
_GAP = 0.06
_MARGIN = 0.08
_BAR_HEIGHT, _TICK_LABELS = 0.1, 0.2


def character(size):
    """Width of a character of a font size, on average."""
    return 0.0086 * size


def line(size):
    """Height of a line of a font size."""
    return 0.0185 * size


def wrapped(text, width, size):
    """Break the lines of a text so that they fit into a width."""
    n_characters = max(6, int(width / character(size)))
    return "\n".join("\n".join(textwrap.wrap(part, n_characters)) for part in text.split("\n"))


def n_lines(texts):
    """Largest number of lines of some texts."""
    return max(text.count("\n") + 1 for text in texts)


@dataclass(frozen=True)
class Grid:
    """A grid of panels of one size, with room for text beside and above it and for color bars below.

    Attributes
    ----------
    n_rows, n_columns : int
        Panels.
    panel : tuple of float
        Width and height of one.
    left, top, bottom : float
        Room beside, above and below the panels.
    """

    n_rows: int
    n_columns: int
    panel: tuple
    left: float
    top: float
    bottom: float

    @property
    def size(self):
        """Width and height of the figure."""
        width, height = self.panel
        return (
            self.left + self.n_columns * (width + _GAP) - _GAP + _MARGIN,
            self.bottom + self.n_rows * (height + _GAP) - _GAP + self.top,
        )

    def make(self):
        """Make the figure.

        Returns
        -------
        figure : matplotlib.figure.Figure
            Figure.
        axes : ndarray of matplotlib.axes.Axes of shape (n_rows, n_columns)
            Panels.
        """
        import matplotlib.pyplot as plt

        figure = plt.figure(figsize=self.size)
        width, height = self.panel
        axes = np.empty((self.n_rows, self.n_columns), dtype=object)
        for row in range(self.n_rows):
            for column in range(self.n_columns):
                x = self.left + column * (width + _GAP)
                y = self.bottom + (self.n_rows - 1 - row) * (height + _GAP)
                axes[row, column] = self._add(figure, x, y, width, height)
        return figure, axes

    def make_bar_axes(self, figure, columns):
        """Make axes for the color bar of some neighboring columns, at most as wide as two.

        Parameters
        ----------
        figure : matplotlib.figure.Figure
            What :meth:`make` gave.
        columns : sequence of int
            Numbers of the columns.

        Returns
        -------
        matplotlib.axes.Axes
            Axes.
        """
        width = self.panel[0]
        x = self.left + columns[0] * (width + _GAP)
        whole = len(columns) * (width + _GAP) - _GAP
        bar = 0.92 * min(whole, 2 * width)
        return self._add(figure, x + (whole - bar) / 2, self.bottom - _MARGIN - _BAR_HEIGHT, bar, _BAR_HEIGHT)

    def _add(self, figure, x, y, width, height):
        total = self.size
        return figure.add_axes((x / total[0], y / total[1], width / total[0], height / total[1]))


def make_grid(bunch, columns, beside, bar_labels):
    """Choose the grid for some rows.

    Parameters
    ----------
    bunch : ImageBunch
        Rows.
    columns : list of str
        Titles of the columns.
    beside : list of str
        What stands beside the rows.
    bar_labels : list of str
        What stands below the color bars.

    Returns
    -------
    Grid
        The grid.
    """
    if bunch.signal:  # channels stand below each other
        panel = (1.4 * LONGER_SIDE, 0.45 + 0.12 * min(bunch.image_shape[0], 12))
    else:
        height, width = bunch.image_shape[1:]
        longer = max(height, width)
        panel = (LONGER_SIDE * max(width / longer, 0.5), LONGER_SIDE * max(height / longer, 0.3))
    longest = max((len(part) for text in beside for part in text.split("\n")), default=0)
    return Grid(
        n_rows=len(bunch),
        n_columns=len(columns),
        panel=panel,
        left=_MARGIN + longest * character(BESIDE) + (_MARGIN if longest else 0),
        top=_MARGIN + 0.06 + n_lines([wrapped(title, panel[0], TITLE) for title in columns]) * line(TITLE),
        bottom=2 * _MARGIN
        + _BAR_HEIGHT
        + _TICK_LABELS
        + n_lines([wrapped(label, panel[0], BAR) for label in bar_labels]) * line(BAR),
    )
