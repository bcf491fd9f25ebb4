"""Gradients averaged over noisy copies of the image."""

import numpy as np
import torch
from sklearn.utils._param_validation import StrOptions, validate_params

from .._random_state import draw_seed, make_random_state
from ._collect import collect_maps
from ._gradients import (
    NON_NEGATIVE,
    POSITIVE_INTEGER,
    REDUCTION_CONSTRAINT,
    predict_target,
    reduce_channels,
    repeat_target,
    score_gradients,
    variant_parts,
)
from ._subject import resolve_subject


@validate_params(
    {
        "n_samples": [POSITIVE_INTEGER],
        "noise": [NON_NEGATIVE],
        "aggregate": [StrOptions({"mean", "mean_square", "variance"})],
        **REDUCTION_CONSTRAINT,
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def smooth_grad(
    estimator,
    X,
    target="predicted",
    *,
    y=None,
    n_samples=32,
    noise=0.15,
    aggregate="mean",
    reduction="sum",
    random_state=None,
    batch_size=None,
    precision=None,
    out=None,
):
    """Average the gradient of a score over noisy copies of each image.

    Gradients of deep networks fluctuate from one image to an almost identical one; their mean over a neighborhood
    shows what they have in common [1]_. It takes ``n_samples`` forward and backward passes per row.

    Parameters
    ----------
    estimator : NeuralImageClassifier, Pipeline, meta-estimator or torch.nn.Module
        Fitted classifier, something fitted that ends in one, or a network.
    X : ImageBunch, Tensor or array-like of shape (n, H, W), (n, C, H, W) or (n, C, T)
        Images or signals.
    target : {"predicted", "true", "sum_log_prob"}, class, or array-like of shape (n,), default="predicted"
        Whose score is explained: the logit of the predicted or the true class, of a given class (name of a label;
        position of an output for a bare network), of one class per row, or the sum of all log-probabilities. What is
        predicted for the image itself is the target of its noisy copies too.
    y : array-like of shape (n,) or (n, n_labels), default=None
        True classes for ``target="true"``; by default the bunch's field ``target``.
    n_samples : int, default=32
        Noisy copies per image, at least 1.
    noise : float, default=0.15
        Standard deviation of the normal noise as a share of the range of the image, its largest minus its smallest
        value as the network gets it. At least 0.
    aggregate : {"mean", "mean_square", "variance"}, default="mean"
        What is taken over the copies: the mean of the gradients (SmoothGrad), the mean of their squares
        (SmoothGrad-Squared [2]_), or their variance (VarGrad [3]_).
    reduction : {"sum", "abs_sum", "abs_max", "l2"}, default="sum"
        How the channels of a pixel are combined, after that: sum, sum or maximum of absolute values, or Euclidean norm.
    random_state : int, RandomState instance or None, default=None
        Decides the noise. What a row receives depends on it and on the row's number, not on the batch.
    batch_size : int, default=None
        Rows per pass; by default the estimator's, 32 for a bare network. Copies times rows are split into parts of
        this size.
    precision : {"float32", "bfloat16"}, default=None
        Numbers that the network computes with; by default the estimator's.
    out : ndarray of shape (n, H, W) or (n, T), dtype float32, default=None
        Where to write the maps, for instance a memory map.

    Returns
    -------
    SaliencyMaps of shape (n, H, W) or (n, T)
        Logits per unit of the images as the network gets them; the square of that unless ``aggregate="mean"``.

    Raises
    ------
    ValueError
        If rows, target or another parameter do not fit.

    See Also
    --------
    input_gradients : Without noise.

    References
    ----------
    .. [1] Smilkov et al. (2017). SmoothGrad: removing noise by adding noise. arXiv:1706.03825, section 3.
    .. [2] Hooker et al. (2019). A benchmark for interpretability methods in deep neural networks. arXiv:1806.10758.
    .. [3] Adebayo et al. (2018). Sanity checks for saliency maps. arXiv:1810.03292.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.explain import smooth_grad
    >>> from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN
    >>> rng = np.random.default_rng(0)
    >>> images, y = rng.random((16, 8, 8)), np.arange(16) % 2
    >>> model = NeuralImageClassifier(SmallCNN(width=4), max_epochs=1, random_state=0).fit(images, y)
    >>> maps = smooth_grad(model, images, n_samples=4, random_state=0)
    >>> maps.shape, maps.method
    ((16, 8, 8), 'smooth_grad')
    """
    subject = resolve_subject(estimator, X, batch_size=batch_size, precision=precision)
    seed = draw_seed(make_random_state(random_state))

    def explain(batch):
        images = batch["X"]
        wanted = batch["target"]
        if isinstance(wanted, str) and wanted == "predicted":
            wanted, _ = predict_target(subject, images, wanted)
        generators = [_generator(seed, row, images.device) for row in batch["index"].tolist()]
        values = images.flatten(1)
        scale = (noise * (values.amax(1) - values.amin(1))).reshape(-1, *[1] * (images.ndim - 1))
        sums = torch.promote_types(images.dtype, torch.float32)  # they need more digits than bfloat16 has
        mean, squares = torch.zeros_like(images, dtype=sums), torch.zeros_like(images, dtype=sums)
        n_seen = 0
        for part in variant_parts(subject, n_samples, len(images)):
            n_copies = part.stop - part.start
            copies = images + scale * _draw(generators, n_copies, images)
            _, gradients = score_gradients(subject, copies.flatten(0, 1), repeat_target(wanted, n_copies))
            gradients = gradients.to(sums).unflatten(0, (n_copies, len(images)))
            # Chan's update of mean and sum of squared deviations: sums of squares would lose all digits.
            part_mean = gradients.mean(0)
            change = part_mean - mean
            squares += (gradients - part_mean).square().sum(0) + change.square() * (n_seen * n_copies / part.stop)
            mean += change * (n_copies / part.stop)
            n_seen = part.stop
        variance = squares / n_samples
        result = {"mean": mean, "mean_square": variance + mean.square(), "variance": variance}[aggregate]
        return reduce_channels(result, reduction)

    return collect_maps(subject, explain, target=target, method="smooth_grad", y=y, out=out)


def _generator(seed, row, device):
    (row_seed,) = np.random.SeedSequence((seed, row)).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(row_seed >> np.uint64(1)))  # torch takes 63 bits


def _draw(generators, n_copies, images):
    """Noise of shape (n_copies, *images.shape), one copy after the other from each row's own generator."""
    noise = torch.empty(n_copies, *images.shape, dtype=images.dtype, device=images.device)
    for copy in noise:
        for generator, image in zip(generators, copy):
            image.normal_(generator=generator)
    return noise
