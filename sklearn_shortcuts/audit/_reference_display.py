"""Figure of the images that show what channels stand for."""

from numbers import Integral

import numpy as np

from ..explain._overlay import draw_image, draw_signal
from ..explain._subject import resolve_subject
from ..images import ImageBunch
from ._reference_samples import top_reference_samples

_CHANNELS_SHOWN = 6


class ReferenceSamplesDisplay:
    """Show channels by the parts of images that they respond to most: a row of crops for each channel.

    Make one with :meth:`from_estimator` or, from samples that were found before, with :meth:`from_samples`.

    Parameters
    ----------
    samples : ReferenceSamples
        As :func:`top_reference_samples` gives.
    X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W) or (n, C, T)
        The images they were found in, as the network gets them.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
        The figure, after :meth:`plot`.
    axes_ : ndarray of matplotlib.axes.Axes of shape (n_channels, n_samples)
        Panels, after :meth:`plot`.
    channels_ : list of int
        Channels from the top, after :meth:`plot`.

    See Also
    --------
    NeuronOutlierDetector : Its ``ranking_`` tells which channels to look at.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.audit import ReferenceSamples, ReferenceSamplesDisplay
    >>> rng = np.random.default_rng(0)
    >>> samples = ReferenceSamples.from_features(rng.random((10, 4)), k=3)
    >>> display = ReferenceSamplesDisplay.from_samples(samples, rng.random((10, 8, 8)), channels=[2, 0])
    >>> display.axes_.shape
    (2, 3)
    """

    def __init__(self, samples, X):
        self.samples = samples
        self.X = X

    @classmethod
    def from_estimator(cls, estimator, X, layer="last", *, channels=None, k=6, crop=True, ax=None, **options):
        """Find the samples and draw them.

        Parameters
        ----------
        estimator : NeuralImageClassifier, Pipeline, meta-estimator or torch.nn.Module
            Fitted classifier, something fitted that ends in one, or a network.
        X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W) or (n, C, T)
            Images.
        layer : str, default="last"
            Layer whose channels are shown.
        channels : sequence of int, default=None
            See :meth:`plot`.
        k : int, default=6
            Samples per channel.
        crop : bool, default=True
            See :meth:`plot`.
        ax : array of matplotlib.axes.Axes, default=None
            See :meth:`plot`.
        **options
            Passed on to :func:`top_reference_samples`.

        Returns
        -------
        ReferenceSamplesDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            As of :func:`top_reference_samples` and :meth:`plot`.
        """
        samples = top_reference_samples(estimator, X, layer, k=k, **options)
        subject = resolve_subject(estimator, X)  # images as the earlier steps of a pipeline leave them
        return cls(samples, subject.X).plot(channels=channels, crop=crop, ax=ax)

    @classmethod
    def from_samples(cls, samples, X, *, channels=None, crop=True, ax=None):
        """Draw samples.

        Parameters
        ----------
        samples : ReferenceSamples
            As :func:`top_reference_samples` gives.
        X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W) or (n, C, T)
            The images they were found in, as the network gets them. Arrays of shape (n, C, T) are taken for signals if
            the samples are intervals.
        channels : sequence of int, default=None
            See :meth:`plot`.
        crop : bool, default=True
            See :meth:`plot`.
        ax : array of matplotlib.axes.Axes, default=None
            See :meth:`plot`.

        Returns
        -------
        ReferenceSamplesDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            As of :meth:`plot`.
        """
        return cls(samples, X).plot(channels=channels, crop=crop, ax=ax)

    def plot(self, *, channels=None, crop=True, ax=None):
        """Draw one row of panels per channel.

        Parameters
        ----------
        channels : sequence of int, default=None
            Channels to show, such as the first of ``ranking_`` of a detector; by default the six with the largest
            value.
        crop : bool, default=True
            Show the part of an image that the channel sees where its value is largest; False shows the whole image
            with a frame around that part.
        ax : array of matplotlib.axes.Axes, default=None
            Where to draw: as many as there are channels and samples. By default in a new figure.

        Returns
        -------
        ReferenceSamplesDisplay
            The display itself.

        Raises
        ------
        ValueError
            If there is no such channel or row, or ``ax`` has another number of axes.
        """
        bunch = self._bunch()
        channels = self._chosen(channels)
        n_samples = self.samples.rows.shape[1]
        if self.samples.rows.max() >= len(bunch):
            raise ValueError(f"samples name row {self.samples.rows.max()}, but X has {len(bunch)} rows")
        if ax is not None and np.size(ax) != len(channels) * n_samples:
            raise ValueError(
                f"ax must hold {len(channels) * n_samples} axes, one per channel and sample, got {np.size(ax)}"
            )
        import matplotlib.pyplot as plt

        if ax is None:
            size = (2.0, 1.2) if bunch.signal else (1.3, 1.4)
            figsize = (0.6 + size[0] * n_samples, 0.2 + size[1] * len(channels))
            _, ax = plt.subplots(len(channels), n_samples, figsize=figsize, squeeze=False, layout="constrained")
        axes = np.reshape(np.asarray(ax, dtype=object), (len(channels), n_samples))
        for channel, row_of_axes in zip(channels, axes):
            for place, panel in enumerate(row_of_axes):
                self._draw(panel, bunch, channel, place, crop)
            dead = "" if self.samples.values[channel].any() else "\n(dead)"
            row_of_axes[0].set_ylabel(f"channel {channel}{dead}", fontsize=8)
        self.axes_, self.figure_, self.channels_ = axes, axes[0, 0].figure, channels
        return self

    # -- inside ----------------------------------------------------------------------------------------------------
    def _bunch(self):
        if isinstance(self.X, ImageBunch):
            return self.X
        images = np.asarray(self.X)
        intervals = self.samples.boxes is not None and self.samples.boxes.shape[-1] == 2
        return ImageBunch(images, signal=intervals and images.ndim == 3)

    def _chosen(self, channels):
        n_channels = len(self.samples.rows)
        if channels is None:
            strongest = np.argsort(-self.samples.values[:, 0], kind="stable")
            return strongest[:_CHANNELS_SHOWN].tolist()
        channels = list(channels)
        for channel in channels:
            if not isinstance(channel, Integral) or not 0 <= channel < n_channels:
                raise ValueError(f"channels: {channel!r} is not from 0 to {n_channels - 1}")
        if not channels:
            raise ValueError("channels: name at least one")
        return [int(channel) for channel in channels]

    def _draw(self, ax, bunch, channel, place, crop):
        row = int(self.samples.rows[channel, place])
        image = np.asarray(bunch[[row]]).reshape(bunch.image_shape)
        box = None if self.samples.boxes is None else self.samples.boxes[channel, place].tolist()
        if box is not None and crop:
            image = image[:, box[0] : box[1]] if bunch.signal else image[:, box[0] : box[2], box[1] : box[3]]
        (draw_signal if bunch.signal else draw_image)(ax, image)
        if box is not None and not crop:
            if bunch.signal:
                ax.axvspan(box[0] - 0.5, box[1] - 0.5, facecolor="none", edgecolor="#D55E00", linewidth=1.2)
            else:
                from matplotlib.patches import Rectangle

                corner, height, width = (box[1] - 0.5, box[0] - 0.5), box[2] - box[0], box[3] - box[1]
                ax.add_patch(Rectangle(corner, width, height, fill=False, edgecolor="#D55E00", linewidth=1.2))
        ax.set_title(f"row {row}: {self.samples.values[channel, place]:.2g}", fontsize=7)
