"""What happens to a score when parts of the image are covered."""

from numbers import Integral

import torch
from sklearn.utils._param_validation import validate_params

from ..neural._net import ordered
from ._baselines import make_baseline
from ._collect import collect_maps
from ._gradients import POSITIVE_INTEGER, predict_target, repeat_target, variant_parts
from ._subject import resolve_subject
from ._targets import select_scores


@validate_params(
    {"window": [POSITIVE_INTEGER, tuple, list, None], "stride": [POSITIVE_INTEGER, tuple, list, None]},
    prefer_skip_nested_validation=True,
)
def occlusion(
    estimator,
    X,
    target="predicted",
    *,
    y=None,
    window=None,
    stride=None,
    fill="mean",
    batch_size=None,
    precision=None,
    out=None,
):
    """Measure how much the score of a class falls when a window slides over the image and covers it.

    The one explanation that needs no gradient and asks what everybody understands [1]_. Each pixel receives the mean
    fall in score over the windows that cover it. It takes one forward pass per window and row.

    Parameters
    ----------
    estimator : NeuralImageClassifier, Pipeline, meta-estimator or torch.nn.Module
        Fitted classifier, something fitted that ends in one, or a network.
    X : ImageBunch, Tensor or array-like of shape (n, H, W), (n, C, H, W) or (n, C, T)
        Images or signals.
    target : {"predicted", "true", "sum_log_prob"}, class, or array-like of shape (n,), default="predicted"
        Whose score is explained: the logit of the predicted or the true class, of a given class (name of a label;
        position of an output for a bare network), of one class per row, or the sum of all log-probabilities. What is
        predicted for the image itself is the target of the covered images too.
    y : array-like of shape (n,) or (n, n_labels), default=None
        True classes for ``target="true"``; by default the bunch's field ``target``.
    window : int or tuple of int, default=None
        Pixels or samples that are covered at once, per axis; by default an eighth of each axis. All channels are
        covered together. The last window may reach over the border.
    stride : int or tuple of int, default=None
        Steps of the window, at most its size; by default half its size.
    fill : {"zero", "mean", "blur"}, float or array-like, default="mean"
        What the window shows: ``"zero"`` or a number is the value of all its pixels, in units of the images;
        ``"mean"`` the mean of each channel of the image; ``"blur"`` the image behind a Gaussian
        blur whose standard deviation is 0.0625 times the longer side; an array is one image for all rows, or one per
        row, in the form of the rows (of a pipeline those that its classifier gets). A window that shows what images
        never show tells less about the image than about the network's surprise.
    batch_size : int, default=None
        Rows per pass; by default the estimator's, 32 for a bare network. Windows times rows are split into parts of
        this size.
    precision : {"float32", "bfloat16"}, default=None
        Numbers that the network computes with; by default the estimator's.
    out : ndarray of shape (n, H, W) or (n, T), dtype float32, default=None
        Where to write the maps, for instance a memory map.

    Returns
    -------
    SaliencyMaps of shape (n, H, W) or (n, T)
        Fall of the score, in logits; negative where the score rises.

    Raises
    ------
    ValueError
        If rows, target, window or another parameter do not fit.

    See Also
    --------
    region_shapley : The same question about given regions.

    References
    ----------
    .. [1] Zeiler and Fergus (2014). Visualizing and understanding convolutional networks. arXiv:1311.2901,
       section 4.2.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from sklearn_shortcuts.explain import occlusion
    >>> class Sum(torch.nn.Module):
    ...     def forward(self, images):
    ...         total = images.sum((1, 2, 3))
    ...         return torch.stack([-total, total], dim=1)
    >>> image = np.zeros((1, 4, 4))
    >>> image[0, 0, 3] = 5.0
    >>> occlusion(Sum(), image, target=1, window=2, stride=2, fill="zero")[0]
    SaliencyMaps([[0., 0., 5., 5.],
                  [0., 0., 5., 5.],
                  [0., 0., 0., 0.],
                  [0., 0., 0., 0.]], dtype=float32)
    """
    subject = resolve_subject(estimator, X, batch_size=batch_size, precision=precision)
    windows = _windows(subject.spatial, window, stride)
    replacement = make_baseline(subject, fill, "fill")

    def explain(batch):
        images = batch["X"]
        wanted, scores = predict_target(subject, images, batch["target"])
        shown = replacement(images, batch["index"])
        bounds = windows.to(images.device)
        total = scores.new_zeros(len(images), *subject.spatial)
        n_covering = scores.new_zeros(subject.spatial)
        for part in variant_parts(subject, len(bounds), len(images)):
            covered = _covered(bounds[part], subject.spatial)
            variants = torch.where(covered[:, None, None], shown, images).flatten(0, 1)
            with torch.no_grad():
                logits = subject.infer(ordered(variants, torch.channels_last))
            part_scores = select_scores(logits, repeat_target(wanted, len(covered)), subject.kind)
            fall = scores - part_scores.unflatten(0, (-1, len(images)))
            total += torch.tensordot(fall, covered.to(fall.dtype), dims=([0], [0]))
            n_covering += covered.sum(0)
        return total / n_covering

    return collect_maps(subject, explain, target=target, method="occlusion", y=y, out=out)


def _windows(spatial, window, stride):
    """First position of all windows and the one after the last, int64 of shape (n_windows, n_axes, 2)."""
    window = [-(-size // 8) for size in spatial] if window is None else _per_axis(window, spatial, "window")
    stride = [-(-size // 2) for size in window] if stride is None else _per_axis(stride, spatial, "stride")
    for size, extent, step in zip(spatial, window, stride):
        if extent > size:
            raise ValueError(f"window={tuple(window)} is larger than the images, {tuple(spatial)}")
        if step > extent:
            raise ValueError(f"stride={tuple(stride)} leaves gaps between windows of size {tuple(window)}")
    starts = [
        torch.arange(-(-(size - extent) // step) + 1) * step for size, extent, step in zip(spatial, window, stride)
    ]
    first = torch.cartesian_prod(*starts).reshape(-1, len(spatial))
    return torch.stack([first, first + torch.tensor(window)], dim=-1)


def _per_axis(value, spatial, name):
    values = [value] * len(spatial) if isinstance(value, Integral) else list(value)
    if len(values) != len(spatial) or not all(isinstance(entry, Integral) and entry > 0 for entry in values):
        raise ValueError(f"{name} must be a positive integer or one per axis of {tuple(spatial)}, got {value!r}")
    return [int(entry) for entry in values]


def _covered(bounds, spatial):
    """Which positions lie in which window, bool of shape (n_windows, *spatial)."""
    covered = torch.ones(len(bounds), *[1] * len(spatial), dtype=torch.bool, device=bounds.device)
    for axis, size in enumerate(spatial):
        place = torch.arange(size, device=bounds.device)
        inside = (place >= bounds[:, axis, :1]) & (place < bounds[:, axis, 1:])
        covered = covered & inside.reshape(-1, *[size if other == axis else 1 for other in range(len(spatial))])
    return covered
