"""Shapley values of pixels by the explainers of the package shap."""

from numbers import Integral

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from .._random_state import draw_seed, make_random_state
from ._collect import collect_maps
from ._shap_engines import GradientEngine, PartitionEngine
from ._subject import resolve_subject


@validate_params(
    {
        "method": [StrOptions({"partition", "gradient"})],
        "max_evals": [Interval(Integral, 4, None, closed="left")],
    },
    prefer_skip_nested_validation=True,
)
def shap_values(
    estimator,
    X,
    target="predicted",
    *,
    y=None,
    method="partition",
    fill="blur",
    background=None,
    max_evals=500,
    random_state=None,
    batch_size=None,
    precision=None,
    out=None,
):
    """Share the score of each row out among its pixels by Shapley values, with shap's explainers.

    ``"partition"`` hides rectangles, halving them where it matters most, and gives Owen values [1]_: no gradient is
    needed, nothing is sampled, and a row's map adds up to the difference between its score and that of the hidden
    image. ``"gradient"`` averages gradients between the row and background rows (expected gradients [2]_): finer maps,
    which add up only on average.

    Parameters
    ----------
    estimator : fitted estimator or torch.nn.Module
        As in :func:`grad_cam`.
    X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W) or (n, C, T)
        Rows.
    target : object, default="predicted"
        What is explained, as in :func:`grad_cam`.
    y : array-like of shape (n,) or (n, n_labels), default=None
        True classes for ``target="true"``; by default the bunch's field ``target``.
    method : {"partition", "gradient"}, default="partition"
        Explainer.
    fill : {"zero", "mean", "blur"}, float or array-like, default="blur"
        What takes the place of hidden pixels with "partition", as in :func:`occlusion`.
    background : ImageBunch or array-like, default=None
        Rows that "gradient" compares with, as ``X``: one hundred of them at most are drawn. By default ``X`` itself.
    max_evals : int, default=500
        Images that are shown to the network per row, at least 4: how finely "partition" divides, how many gradients
        "gradient" averages.
    random_state : int, RandomState instance or None, default=None
        Decides background rows and samples; what a row gets depends on its number, not on the batch.
    batch_size : int, default=None
        Images per forward pass; by default the estimator's. "partition" has a use for 32 at most.
    precision : {"float32", "bfloat16"}, default=None
        As in :func:`grad_cam`.
    out : ndarray of shape (n, H, W) or (n, T), dtype float32, default=None
        Where to write the maps, for instance a memory map.

    Returns
    -------
    SaliencyMaps of shape (n, H, W) or (n, T)
        Values per pixel in logits, of all channels together; positive ones speak for the target.
        ``details["completeness_gap"]``, of shape (n,), is the sum of a map minus the difference in score that it
        should add up to, ``details["score_difference"]``: that between the row and the hidden image, or the
        mean of the background rows. More ``max_evals`` make the gap of "gradient" smaller.

    Raises
    ------
    ValueError
        If a parameter is none of its values, or ``fill`` or ``background`` does not go with the method.

    See Also
    --------
    region_shapley : Exact values of a few regions.

    Notes
    -----
    Two things of shap are left out. Its image masker can hide pixels by inpainting, for which it truncates images to
    bytes: that takes up to twice the time, and maps miss the score by some hundredths of a logit. ``DeepExplainer``
    fails on residual networks, which compute activations in place and use them several times, and leaves its hooks in
    the network when it does; on one that was rewritten so that it ran, the values missed the difference in score by
    three quarters of it.

    shap draws from NumPy's global generator. It is lent the sequence of ``random_state`` and the global state is put
    back after each row; other threads must not draw from the global generator meanwhile.

    References
    ----------
    .. [1] Owen (1977). Values of games with a priori unions. Mathematical Economics and Game Theory, 76-88.
    .. [2] Erion et al. (2021). Improving performance of deep learning models with axiomatic attribution priors and
       expected gradients. Nature Machine Intelligence 3, 620-631.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from sklearn_shortcuts.explain import shap_values
    >>> class Mean(torch.nn.Module):
    ...     def forward(self, images):
    ...         mean = images.mean((1, 2, 3))
    ...         return torch.stack([-mean, mean], dim=1)
    >>> images = np.random.default_rng(0).random((2, 4, 4), dtype=np.float32)
    >>> maps = shap_values(Mean(), images, target=1, method="gradient", max_evals=100, random_state=0)
    >>> maps.shape
    (2, 4, 4)
    >>> bool(np.all(np.abs(maps.details["completeness_gap"]) < 0.1))
    True
    """
    subject = resolve_subject(estimator, X, batch_size=batch_size, precision=precision)
    generator = np.random.RandomState(draw_seed(make_random_state(random_state)))
    seeds = generator.randint(np.iinfo(np.int32).max, size=subject.n_rows)
    if method == "partition":
        if background is not None:
            raise ValueError('background goes with method="gradient" only; "partition" hides pixels by fill=')
        engine = PartitionEngine(subject, fill, max_evals)
    else:
        if not (isinstance(fill, str) and fill == "blur"):
            raise ValueError('fill goes with method="partition" only; "gradient" compares with the rows of background=')
        rows = subject if background is None else resolve_subject(estimator, background)
        engine = GradientEngine(subject, rows, draw_seed(generator), max_evals)
    details = {"completeness_gap": [], "score_difference": []}

    def explain(batch):
        maps, differences = engine.explain(batch, seeds)
        details["score_difference"].append(differences)
        details["completeness_gap"].append(maps.flatten(1).sum(1) - differences)
        return maps

    return collect_maps(subject, explain, target=target, method="shap_values", y=y, details=details, out=out)
