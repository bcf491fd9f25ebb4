"""Transformer from volumes to images whose channels are slices."""

from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .._random_state import draw_seed, make_random_state
from ..images import ImageBunch
from ..images._resize import RESIZE_MODES, as_size
from ..images._window import check_output, check_windows
from ._sampled_slices import SampledSlices, SliceSettings, volumes_of


class SliceSampler(TransformerMixin, BaseEstimator):
    """Take a few slices of every volume as the channels of one image, windowed and resized.

    Prepares head CT as in [1]_: three axial slices, gray-level window of center 40 and width 400 HU, scaled to
    ``[-1, 1]``, 256 x 256 pixels; other slices in each epoch of training. Values become
    ``2 clip((HU - (c - w / 2)) / w, 0, 1) - 1``.

    Parameters
    ----------
    n_slices : int, default=3
        Slices per volume, without repetition and in anatomical order.
    how : {"uniform", "center", "random"}, default="uniform"
        Which slices, wherever they are not drawn anew, as at predict time: the middle of each of as many parts of
        equal numbers of slices; neighbors around the middle of the volume; or drawn at random, once for every volume.
    redraw : bool, default=True
        Let :class:`~sklearn_shortcuts.neural.NeuralImageClassifier` draw other slices of its training rows at random
        in every epoch and, with its ``n_draws``, average over several draws at predict time. Whatever else reads the
        rows gets those of ``how``.
    window : tuple (center, width) or None, default=(40, 400)
        Gray-level window in the units of the volumes, see :func:`~sklearn_shortcuts.images.apply_window`; None keeps
        the values.
    output_range : tuple of two float, default=(-1, 1)
        What the ends of the window become.
    size : int, tuple of int or None, default=256
        ``(height, width)`` of the result, one number for a square. None keeps the size of the first volume.
    resize : {"letterbox", "stretch", "crop"}, default="letterbox"
        How slices come to that size: proportions kept, between margins; given up; or kept, cutting off what does not
        fit. Margins get the low end of the window or, without, the lowest value of the slice.
    random_state : int, RandomState instance or None, default=None
        Decides ``how="random"``, once per ``fit``. What a volume gets depends on it and on the volume alone: for
        :class:`~sklearn_shortcuts.images.SeriesFiles` on its row number there, otherwise on its pixels. Draws during
        training are decided by the network's ``random_state``.

    Attributes
    ----------
    image_shape_ : tuple of int
        ``(n_slices, H, W)`` of the result.
    seed_ : int
        Drawn from ``random_state``.

    See Also
    --------
    sklearn_shortcuts.images.SeriesFiles : Volumes on disk.
    sklearn_shortcuts.neural.ManufacturerCNN : The network of the study.

    Notes
    -----
    The result is float32: a lazy bunch for a bunch, whose slices are decoded when they are read, an array for an array.
    Draws do not depend on batches and threads. :func:`~sklearn_shortcuts.images.cache_bunch` keeps one draw for good.

    References
    ----------
    .. [1] Biondetti, Gauriau, Bridge, Lu & Andriole (2020). "Name that manufacturer". Relating image acquisition bias
       with task complexity when training deep learning models: experiments on head CT. arXiv:2008.08525.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.preprocessing import SliceSampler
    >>> volumes = np.full((2, 20, 64, 64), 140.0)  # in Hounsfield units
    >>> images = SliceSampler(size=32).fit_transform(volumes)
    >>> images.shape, float(images.max())
    ((2, 3, 32, 32), 0.5)
    """

    _parameter_constraints: dict = {
        "n_slices": [Interval(Integral, 1, None, closed="left")],
        "how": [StrOptions({"uniform", "center", "random"})],
        "redraw": ["boolean"],
        "window": [tuple, list, None],
        "output_range": [tuple, list],
        "size": [Interval(Integral, 1, None, closed="left"), tuple, list, None],
        "resize": [StrOptions(set(RESIZE_MODES))],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_slices=3,
        *,
        how="uniform",
        redraw=True,
        window=(40, 400),
        output_range=(-1, 1),
        size=256,
        resize="letterbox",
        random_state=None,
    ):
        self.n_slices = n_slices
        self.how = how
        self.redraw = redraw
        self.window = window
        self.output_range = output_range
        self.size = size
        self.resize = resize
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Check the volumes and draw the seed; nothing is learned from the pixels.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, n_slices, H, W)
            Volumes; of a bunch of :class:`~sklearn_shortcuts.images.SeriesFiles` the numbers of slices may differ.
        y : Ignored
            Not used, present for API consistency.

        Returns
        -------
        SliceSampler
            Itself.

        Raises
        ------
        ValueError
            If ``X`` holds no volumes, or window, range or size are none.
        """
        if self.window is not None and (len(self.window) != 2 or np.ndim(self.window) != 1):
            raise ValueError(f"window must be (center, width) or None, got {self.window!r}")
        if self.window is not None:
            check_windows(*self.window)
        check_output(self.output_range, np.float32)
        volumes = volumes_of(self._read(X).images)
        size = volumes.slice_shape(0) if self.size is None else as_size(self.size)
        self.image_shape_ = (int(self.n_slices), *size)
        self.seed_ = draw_seed(make_random_state(self.random_state))
        return self

    def transform(self, X):
        """Take the slices.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, n_slices, H, W)
            Volumes; not changed.

        Returns
        -------
        ImageBunch or ndarray of shape (n, n_slices, H, W), dtype float32
            Lazy bunch with the fields of the volumes for a bunch, array for an array.

        Raises
        ------
        ValueError
            If a volume in an array has too few slices; on disk that is reported when the row is read.
        """
        check_is_fitted(self)
        bunch = self._read(X)
        window = None if self.window is None else tuple(map(float, self.window))
        settings = SliceSettings(
            n_slices=self.image_shape_[0],
            how=self.how,
            redraw=bool(self.redraw),
            window=window,
            output_range=tuple(map(float, self.output_range)),
            size=self.image_shape_[1:],
            resize=self.resize,
            seed=self.seed_,
        )
        sampled = SampledSlices(volumes_of(bunch.images), settings)
        return bunch.with_images(sampled) if isinstance(X, ImageBunch) else np.asarray(sampled)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags

    @staticmethod
    def _read(X):
        bunch = X if isinstance(X, ImageBunch) else ImageBunch(X)
        if bunch.ndim != 4 or bunch.signal:
            raise ValueError(
                f"X must hold volumes (n, n_slices, H, W), or be an ImageBunch of SeriesFiles, got shape {bunch.shape}"
            )
        if len(bunch) == 0:
            raise ValueError("X has 0 rows, at least one is needed")
        return bunch
