"""Rows as pictures for a page: images as PNG, signals as traces, both without file or name."""

import base64
import io

import numpy as np
from PIL import Image

_LONGEST_SIDE = 512  # pixels; larger images are shrunk
_WIDTH, _TRACE_HEIGHT = 600, 36  # of the drawing of a signal, in its own units


def picture(row, *, signal, value_range=None):
    """Draw one row as an element of a page.

    Parameters
    ----------
    row : ndarray of shape (H, W), (C, H, W) or (C, T)
        Three channels are shown as colors, of any other number their mean; channels of signals below each other.
    signal : bool
        Whether the row is a signal.
    value_range : tuple of float, default=None
        What is black and what is white, or how high a trace goes; by default the range of the row itself.

    Returns
    -------
    str
        HTML.
    """
    row = np.asarray(row, dtype=np.float64)
    if signal:
        return _traces(row, value_range)
    image = row[None] if row.ndim == 2 else row
    gray = image if len(image) == 3 else image.mean(axis=0, keepdims=True)
    low, high = _limits(gray) if value_range is None else value_range
    shown = np.nan_to_num((gray - low) / ((high - low) or 1), nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1)
    pixels = np.rint(255 * shown).astype(np.uint8)
    drawing = Image.fromarray(np.moveaxis(pixels, 0, -1) if len(pixels) == 3 else pixels[0])
    drawing.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    file = io.BytesIO()
    drawing.save(file, format="PNG")
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode("ascii")}">'


def _traces(signal, value_range):
    if value_range is None:
        limits = np.array([_limits(channel) for channel in signal])
        extent = float((limits[:, 1] - limits[:, 0]).max()) or 1.0  # one scale for all channels
        middles = limits.mean(axis=1)
    else:
        extent, middles = value_range[1] - value_range[0], np.full(len(signal), sum(value_range) / 2)
    lines = []
    for place, (channel, middle) in enumerate(zip(signal, middles)):
        times, values = _thinned(channel)
        heights = (place + 0.5 - 0.9 * ((values - middle) / extent).clip(-0.5, 0.5)) * _TRACE_HEIGHT
        across = times * (_WIDTH / max(len(channel) - 1, 1))
        known = np.isfinite(heights)
        # There may be gaps, which are not drawn.
        pieces = np.split(np.arange(len(values)), np.flatnonzero(np.diff(known)) + 1)
        for piece in pieces:
            if known[piece[0]]:
                points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across[piece], heights[piece]))
                lines.append(f'<polyline points="{points}"/>')
    return f'<svg viewBox="0 0 {_WIDTH} {len(signal) * _TRACE_HEIGHT}" role="img">{"".join(lines)}</svg>'


def _thinned(channel):
    """Lowest and highest sample of each piece, so that no spike is lost, where there are more samples than columns."""
    n_pieces = _WIDTH
    if len(channel) <= 2 * n_pieces:
        return np.arange(len(channel)), channel
    kept = []
    for piece in np.array_split(np.arange(len(channel)), n_pieces):
        values = channel[piece]
        if np.isfinite(values).any():
            kept += sorted({int(piece[np.nanargmin(values)]), int(piece[np.nanargmax(values)])})
        else:
            kept.append(int(piece[0]))
    return np.array(kept), channel[kept]


def _limits(values):
    known = values[np.isfinite(values)]
    return (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
