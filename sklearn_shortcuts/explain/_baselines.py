"""Images that stand for the absence of what is in an image."""

import numpy as np
import torch

from ..images import ImageBunch
from ..images._fill import fill_removed, to_dtype
from ._subject import resolve_subject, without_tensor

_RULES = ("zero", "mean", "blur")
_BLUR_SIGMA = 0.0625  # as ROIMasker has it


def make_baseline(subject, baseline, name):
    """Turn the parameter that describes uninformative images into a function that gives them.

    Parameters
    ----------
    subject : Subject
        Network and rows.
    baseline : {"zero", "mean", "blur"}, float or array-like
        ``"zero"`` or a number: the value of all pixels. ``"mean"``: the mean of each channel of the image. ``"blur"``:
        the image behind a Gaussian blur whose standard deviation is 0.0625 times its longer side. An array: one image
        for all rows, or one per row. Numbers and arrays have the units of the rows.
    name : str
        Of the parameter, for messages.

    Returns
    -------
    callable
        ``function(X, index) -> Tensor`` that can be broadcast to a batch ``X`` of the rows ``index``.

    Raises
    ------
    ValueError
        If it is none of these, or an array has another shape than the rows.
    """
    if isinstance(baseline, str):
        if baseline not in _RULES:
            raise _unknown(baseline, name)
        if baseline == "mean":
            return lambda X, index: X.mean(tuple(range(2, X.ndim)), keepdim=True)
        if baseline == "blur":
            return lambda X, index: _blur(X)
        baseline = 0.0
    baseline = without_tensor(baseline)
    if np.ndim(baseline) == 0:
        baseline = _number(baseline, name)
        some = subject.X if hasattr(subject.X, "dtype") else np.asarray(subject.X[:1])  # of lists and tables
        baseline = np.full(some.shape[1:], to_dtype(baseline, some.dtype))
    return _given(subject, baseline, name)


def _unknown(baseline, name):
    return ValueError(f"{name} must be a finite number, an array or one of {', '.join(_RULES)}, got {baseline!r}")


def _number(baseline, name):
    value = np.asarray(baseline)
    if value.dtype.kind not in "biuf" or not np.isfinite(value):
        raise _unknown(baseline, name)
    return float(value)


def _blur(X):
    planes = X.detach().float() if X.dtype == torch.bfloat16 else X.detach()
    planes = planes.cpu().numpy()
    images = planes.reshape(*planes.shape[:2], -1, planes.shape[-1])  # signals are one pixel high
    blurred = np.empty(images.shape, dtype=images.dtype)
    kept = np.zeros(images.shape[2:], dtype=bool)
    for image, target in zip(np.ascontiguousarray(images), blurred):
        fill_removed(image, kept, target, "blur", blur_sigma=_BLUR_SIGMA, seed=())
    return torch.from_numpy(blurred.reshape(planes.shape)).to(X)


def _given(subject, baseline, name):
    baseline, row_shape = np.asarray(baseline), tuple(np.shape(subject.X))[1:]
    if _matches(baseline.shape, row_shape):
        image = _as_network_sees(subject, baseline.reshape(1, *row_shape))
        return lambda X, index: image.to(X)
    if len(baseline) == subject.n_rows and _matches(baseline.shape[1:], row_shape):
        rows = baseline.reshape(subject.n_rows, *row_shape)
        return lambda X, index: _as_network_sees(subject, rows[index.cpu().numpy()]).to(X)
    raise ValueError(
        f"{name} has shape {baseline.shape}; one image for all rows has {row_shape}, one per row "
        f"{(subject.n_rows, *row_shape)}"
    )


def _matches(shape, row_shape):
    """Whether two shapes are the same but for the axis of a single channel."""
    return row_shape in (shape, (1, *shape)) or shape == (1, *row_shape)


def _as_network_sees(subject, rows):
    if subject.estimator is None:
        rows = ImageBunch(rows, signal=len(subject.spatial) == 1)
    network = subject.module if subject.estimator is None else subject.estimator
    return torch.cat([batch["X"] for batch in resolve_subject(network, rows).batches()])
