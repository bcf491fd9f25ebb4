"""A table of paths to a bunch, as the first step of a pipeline."""

import os
from numbers import Integral, Real

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_array, validate_data

from ._bunch import ImageBunch
from ._decode import DTYPES
from ._frame import FIELDS, bunch_from_frame
from ._resize import RESIZE_MODES


class ImageLoader(TransformerMixin, BaseEstimator):
    """Turn a table of paths into a lazy bunch of images, as the first step of a pipeline.

    Splitters and searches of scikit-learn then cut the table; what travels to worker processes is text, and images
    are decoded batch by batch where they are used. A bunch or an array of images is passed on as it is, so that the
    whole pipeline can be asked about images that were loaded before.

    Parameters
    ----------
    image : str or list of str, default="image"
        Column of the image paths; several columns make the channels.
    masks : str or list of str, default=None
        Column of the masks; those of several columns are united. A missing cell means that the row has no mask.
    artifact : str, default=None
        Column that tells whether the row carries the artifact.
    artifact_masks : str or list of str, default=None
        Column of the masks of the artifact.
    target : str or list of str, default=None
        Column of the classes, or columns of 0/1 labels, to be carried along; estimators are fitted to ``y``.
    groups : str, default=None
        Column of the patients.
    sample_weight : str, default=None
        Column of the weights.
    metadata : list of str, default=None
        Columns to keep as metadata; by default all that serve no other purpose.
    root : str or path-like, default=None
        Folder that relative image paths start from; by default the current one.
    mask_root : str or path-like, default=None
        The same for masks; by default ``root``.
    size : int or tuple of int, default=None
        ``(height, width)`` of all images; by default that of the first file.
    channels : {1, 3}, default=None
        Gray or color; by default as in the first file.
    dtype : {"float32", "float64", "float16", "uint8", "uint16"}, default="float32"
        Floating-point images lie in [0, 1].
    resize : {"letterbox", "stretch", "crop"}, default="letterbox"
        How images and their masks come to ``size``.
    pad : float, default=0.0
        Value of the margins of a letterbox, from 0 (black) to 1 (white).
    window : {"auto", "full"}, tuple (center, width), list of tuples or None, default="auto"
        Intensity window of DICOM files.
    mask_options, artifact_mask_options : dict, default=None
        Options of :class:`MaskFiles` that say how masks are given, such as ``{"threshold": 200}``.
    n_threads : int, default=None
        Threads that decode; by default one per processor, at most 8.
    check : bool, default=True
        Look at once whether every file exists.
    on_error : {"raise", "warn"}, default="raise"
        What a file does that cannot be decoded, see :class:`ImageFiles`.

    Attributes
    ----------
    feature_names_in_ : ndarray of str of shape (n_columns,)
        Columns of the table, if ``fit`` saw one.
    n_features_in_ : int
        Their number; for an array, the length of its second axis.

    See Also
    --------
    bunch_from_frame : The same as a function.

    Notes
    -----
    The shape of images without ``size`` or ``channels`` is that of the first file of each table: give both where
    files differ.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np, pandas as pd
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import FunctionTransformer
    >>> from sklearn_shortcuts.images import ImageLoader
    >>> folder = tempfile.mkdtemp()
    >>> for row in range(4):
    ...     np.save(os.path.join(folder, f"{row}.npy"), np.full((8, 8), 60 * row, dtype=np.uint8))
    >>> frame = pd.DataFrame({"image": [f"{row}.npy" for row in range(4)]})
    >>> mean = FunctionTransformer(lambda images: np.asarray(images).mean(axis=(1, 2))[:, None])
    >>> pipe = make_pipeline(ImageLoader(root=folder), mean, LogisticRegression(C=1e3))
    >>> pipe.fit(frame, [0, 0, 1, 1]).predict(frame)
    array([0, 0, 1, 1])
    """

    _parameter_constraints: dict = {
        "image": [str, list],
        "masks": [str, list, None],
        "artifact": [str, None],
        "artifact_masks": [str, list, None],
        "target": [str, list, None],
        "groups": [str, None],
        "sample_weight": [str, None],
        "metadata": [list, None],
        "root": [str, os.PathLike, None],
        "mask_root": [str, os.PathLike, None],
        "size": [Interval(Integral, 1, None, closed="left"), tuple, list, None],
        "channels": [Interval(Integral, 1, 3, closed="both"), None],
        "dtype": [StrOptions(set(DTYPES)), type],
        "resize": [StrOptions(set(RESIZE_MODES))],
        "pad": [Real],
        "window": [StrOptions({"auto", "full"}), tuple, list, None],
        "mask_options": [dict, None],
        "artifact_mask_options": [dict, None],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
        "check": ["boolean"],
        "on_error": [StrOptions({"raise", "warn"})],
    }

    def __init__(
        self,
        image="image",
        *,
        masks=None,
        artifact=None,
        artifact_masks=None,
        target=None,
        groups=None,
        sample_weight=None,
        metadata=None,
        root=None,
        mask_root=None,
        size=None,
        channels=None,
        dtype="float32",
        resize="letterbox",
        pad=0.0,
        window="auto",
        mask_options=None,
        artifact_mask_options=None,
        n_threads=None,
        check=True,
        on_error="raise",
    ):
        self.image = image
        self.masks = masks
        self.artifact = artifact
        self.artifact_masks = artifact_masks
        self.target = target
        self.groups = groups
        self.sample_weight = sample_weight
        self.metadata = metadata
        self.root = root
        self.mask_root = mask_root
        self.size = size
        self.channels = channels
        self.dtype = dtype
        self.resize = resize
        self.pad = pad
        self.window = window
        self.mask_options = mask_options
        self.artifact_mask_options = artifact_mask_options
        self.n_threads = n_threads
        self.check = check
        self.on_error = on_error

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Look whether the table has all columns and, with ``check``, whether its files exist.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns), ImageBunch or array-like of shape (n, ...)
            One row per image.
        y : None
            Ignored.

        Returns
        -------
        ImageLoader
            This object.
        """
        self._fit(X)
        return self

    def transform(self, X):
        """Make the bunch of a table.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns), ImageBunch or array-like of shape (n, ...)
            One row per image. The columns of target, artifact, artifact masks, weights and groups may be absent: they
            are not known of new images.

        Returns
        -------
        ImageBunch or ndarray
            Lazy rows of images with what belongs to them; rows that are loaded already are passed on.
        """
        options = self.get_params(deep=False)
        if not isinstance(X, pd.DataFrame):
            return self._pass_on(X, reset=False)
        for name in (*FIELDS, "artifact_masks"):
            names = options[name] if isinstance(options[name], list) else [options[name]]
            if not set(names) <= set(X.columns):
                options[name] = None
        return bunch_from_frame(X, **options)

    @_fit_context(prefer_skip_nested_validation=True)
    def fit_transform(self, X, y=None):
        """Fit, and make the bunch of the same table, looking at its files once.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns), ImageBunch or array-like of shape (n, ...)
            One row per image.
        y : None
            Ignored.

        Returns
        -------
        ImageBunch or ndarray
            As from :meth:`transform`.
        """
        return self._fit(X)

    def _fit(self, X):
        for name in ("feature_names_in_", "n_features_in_"):
            self.__dict__.pop(name, None)
        if not isinstance(X, pd.DataFrame):
            return self._pass_on(X, reset=True)
        bunch = bunch_from_frame(X, **self.get_params(deep=False))
        self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        self.n_features_in_ = X.shape[1]
        return bunch

    def _pass_on(self, X, reset):
        """Let through what is loaded already: explanations change pixels and ask the whole pipeline again."""
        if isinstance(X, ImageBunch):
            return X
        if hasattr(self, "feature_names_in_"):  # columns were counted then, not pixels
            return check_array(X, allow_nd=True)
        return validate_data(self, X, reset=reset, allow_nd=True)

    def __sklearn_is_fitted__(self):
        return True  # nothing is learned

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        tags.input_tags.three_d_array = True
        return tags
