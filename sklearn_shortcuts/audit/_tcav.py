"""Does a network's output depend on a concept in one of its layers?"""

from dataclasses import dataclass
from numbers import Integral

import numpy as np
import torch
from sklearn.utils._param_validation import HasMethods, Interval, Options, validate_params

from .._random_state import make_random_state
from ..explain._subject import resolve_subject
from ..explain._taps import tapped
from ..explain._targets import resolve_target, select_scores
from ..neural._channel_axis import has_channels_last

_ROUNDING = 100  # derivatives of so many roundings of their terms are ties


@dataclass(frozen=True, eq=False)
class TCAVScore:
    """How the output of a network changes along a concept.

    ``float(score)`` is its ``value``.

    Attributes
    ----------
    value : float
        Share of the rows whose score grows along the concept, by the derivative averaged over positions, among the
        rows where it changes at all; 0.5 where it changes in none. 0.5 is no consistent influence.
    position_value : float
        The same share among all positions of all rows.
    magnitude : float
        Mean absolute derivative, averaged over positions, in logits per unit of the direction. The share alone can be
        0.5 because large influences cancel.
    relative_magnitude : float
        Mean over the rows of the absolute cosine of the gradient and the direction, over all positions and channels:
        0 is no influence, 1 is that nothing else has any.
    delta : float
        ``abs(value - 0.5)``.
    standard_error : float
        Binomial standard error of ``value``; NaN where no row changes.
    n : int
        Rows where the score changes.
    n_ties : int
        Rows where it does not, to rounding.
    pvalue : float
        Share of random directions with at least this ``delta``; NaN without any.
    magnitude_pvalue : float
        Share of random directions with at least this ``magnitude``; NaN without any.
    derivatives : ndarray of shape (n_rows,)
        Derivative of each row, averaged over positions.
    layer : str
        Name of the layer.
    """

    value: float
    position_value: float
    magnitude: float
    relative_magnitude: float
    delta: float
    standard_error: float
    n: int
    n_ties: int
    pvalue: float
    magnitude_pvalue: float
    derivatives: np.ndarray
    layer: str

    def __float__(self):
        return self.value


@validate_params(
    {
        "concept": [HasMethods("decision_function"), "array-like", None],
        "layer": [str, None],
        "channel_axis": [Options(Integral, {1, -1}), None],
        "n_random": [Interval(Integral, 0, None, closed="left")],
        "random_state": ["random_state"],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None],
    },
    prefer_skip_nested_validation=True,
)
def tcav_score(
    estimator,
    X,
    concept=None,
    target="predicted",
    *,
    y=None,
    X_without=None,
    layer=None,
    channel_axis=None,
    n_random=0,
    random_state=None,
    batch_size=None,
):
    r"""Measure by TCAV how consistently a concept in a layer changes the score of a class.

    Of each row the derivative :math:`g \cdot v` of the score along the concept is taken at what the layer gives, before
    any change that is made to it there: of a network whose layer is edited by a hook, as by a projection, the
    derivative is that through the edit.

    Parameters
    ----------
    estimator : NeuralImageClassifier, Pipeline, meta-estimator or torch.nn.Module
        Fitted classifier, something fitted that contains one, or a network.
    X : ImageBunch, Tensor or array-like of shape (n, H, W), (n, C, H, W) or (n, C, T)
        Images, usually those with the concept.
    concept : ConceptVector, ConceptSubspace or array-like of shape (n_channels,), default=None
        Fitted, of one concept; of a subspace the first vector counts. Not needed with ``X_without``.
    target : {"predicted", "true", "sum_log_prob"}, class, or array-like of shape (n,), default="predicted"
        Whose score is differentiated: the logit of the predicted or the true class, of a given class or label (by
        name; by the position of the output for a bare network), of one per row, or the sum of all log-probabilities. Of
        a binary classifier with one logit the score of the first class is minus the logit.
    y : array-like of shape (n,) or (n, n_labels), default=None
        True classes for ``target="true"``; by default the bunch's field ``target``.
    X_without : ImageBunch, Tensor or array-like like X, default=None
        The same images without the concept. Each row's own difference of activations, position by position, then takes
        the place of :math:`v` [2]_: what the concept truly changes there.
    layer : str, default=None
        Name of the layer, or "last" for what the logits are made from. None means the one that the concept names.
    channel_axis : {1, -1}, default=None
        Axis of the channels in the layer's output, as in :class:`~sklearn_shortcuts.latent.LayerFeatures`.
    n_random : int, default=0
        Random directions, uniform among all, that the concept is compared with. Of networks whose gradient is the same
        for all rows, such as a linear head at ``layer="last"``, every direction has a ``delta`` of 0.5; there only
        ``magnitude_pvalue`` tells.
    random_state : int, RandomState instance or None, default=None
        Decides the random directions.
    batch_size : int, default=None
        Rows per pass; by default the classifier's, 32 for a bare network.

    Returns
    -------
    TCAVScore
        Shares, magnitudes and uncertainty.

    Raises
    ------
    ValueError
        If layer, concept, target or rows do not fit, or ``X_without`` changes nothing in the layer.

    See Also
    --------
    concept_decodability : Whether the layer still tells the concept.

    Notes
    -----
    Derivatives smaller than 100 roundings of the terms that they are the sum of are ties and count for no side. A
    concept that is projected out thus has no influence, where the signs of rounding errors would be a coin's.

    References
    ----------
    .. [1] Kim et al. (2018). Interpretability beyond feature attribution: quantitative testing with concept activation
       vectors (TCAV). ICML, equation 2.
    .. [2] Pahde et al. (2022). Navigating Neural Space: Revisiting Concept Activation Vectors to Overcome Directional
       Divergence. arXiv:2202.03482.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from sklearn_shortcuts.audit import tcav_score
    >>> with torch.random.fork_rng(devices=[]):
    ...     network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
    >>> _ = network[1].weight.data.copy_(torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, 0.0, -1.0, 0.0]]))
    >>> X = np.random.default_rng(0).normal(size=(20, 2, 2))
    >>> score = tcav_score(network, X, [1.0, 0.0, 0.0, 0.0], target=1, layer="0")
    >>> score.value, score.magnitude
    (1.0, 1.0)
    >>> tcav_score(network, X, [0.0, 1.0, 0.0, 0.0], target=1, layer="0").n
    0
    """
    layer = _layer_name(layer, concept)
    direction = None if X_without is not None else _direction(concept)
    if X_without is not None and n_random:
        raise ValueError("n_random: random directions are compared with a concept; leave X_without out")
    subject = resolve_subject(estimator, X, batch_size=batch_size)
    chosen = resolve_target(subject, target, y)
    twins = None
    if X_without is not None:
        other = resolve_subject(estimator, X_without, batch_size=batch_size)
        if other.n_rows != subject.n_rows:
            raise ValueError(f"X_without has {other.n_rows} rows, but X has {subject.n_rows}; give pairs of rows")
        twins = other.batches()
    parts = []
    for batch in subject.batches():
        rows = batch["index"].cpu().numpy()
        wanted = chosen if isinstance(chosen, str) else torch.as_tensor(chosen[rows]).to(subject.device)
        with subject.explaining():
            gradient, values = _gradient(subject, layer, batch["X"], wanted, channel_axis)
            if twins is not None:
                without = next(twins)["X"]
                along = values - _values(subject, layer, without, channel_axis)
            else:
                if len(direction) != gradient.shape[1]:
                    raise ValueError(
                        f"concept: its vector has {len(direction)} features, but layer {layer!r} has "
                        f"{gradient.shape[1]} channels; give the layer that it was fitted on"
                    )
                along = torch.as_tensor(direction, dtype=gradient.dtype, device=gradient.device)[None, :, None]
        parts.append(_Derivatives(gradient, along.expand_as(gradient)))
    if twins is not None and not any(part.moved.any() for part in parts):
        raise ValueError(f"X_without: layer {layer!r} gives the same for all rows with and without the concept")
    along = np.concatenate([part.mean for part in parts])
    signs = np.concatenate([part.sign for part in parts])
    value, n = _share(signs)
    pvalues = np.nan, np.nan
    if n_random:
        gradients = np.concatenate([part.mean_gradient for part in parts])
        scales = np.concatenate([part.scale for part in parts])
        length = np.linalg.norm(direction)
        pvalues = _pvalues(abs(value - 0.5), np.abs(along).mean() / length, gradients, scales, n_random, random_state)
    return TCAVScore(
        value=value,
        position_value=_share(np.concatenate([part.position_sign.ravel() for part in parts]))[0],
        magnitude=float(np.abs(along).mean()),
        relative_magnitude=float(np.concatenate([part.cosine for part in parts]).mean()),
        delta=abs(value - 0.5),
        standard_error=float(np.sqrt(value * (1 - value) / n)) if n else np.nan,
        n=n,
        n_ties=len(signs) - n,
        pvalue=pvalues[0],
        magnitude_pvalue=pvalues[1],
        derivatives=along,
        layer=layer,
    )


class _Derivatives:
    """Derivatives of the rows of a batch along their directions, both of shape (n, n_channels, n_positions)."""

    def __init__(self, gradient, along):
        tolerance = _ROUNDING * torch.finfo(gradient.dtype).eps
        gradient, along = gradient.double(), along.double()
        products = (gradient * along).sum(1)
        lengths = torch.linalg.vector_norm(gradient, dim=1) * torch.linalg.vector_norm(along, dim=1)
        self.mean = products.mean(1).cpu().numpy()
        self.sign = _signs(products.mean(1), tolerance * lengths.mean(1))
        self.position_sign = _signs(products, tolerance * lengths)
        whole = torch.linalg.vector_norm(gradient.flatten(1), dim=1) * torch.linalg.vector_norm(along.flatten(1), dim=1)
        self.cosine = (products.sum(1).abs() / torch.where(whole > 0, whole, torch.ones_like(whole))).cpu().numpy()
        self.moved = (along != 0).flatten(1).any(1).cpu().numpy()
        self.mean_gradient = gradient.mean(2).cpu().numpy()
        self.scale = (tolerance * torch.linalg.vector_norm(gradient, dim=1).mean(1)).cpu().numpy()


def _signs(values, tolerance):
    return torch.where(values.abs() > tolerance, values.sign(), torch.zeros_like(values)).cpu().numpy()


def _share(signs):
    """Share of positive signs among those that are not 0, and the number of these."""
    n = int(np.count_nonzero(signs))
    return (float((signs > 0).sum() / n) if n else 0.5), n


def _pvalues(delta, magnitude, gradients, scales, n_random, random_state):
    directions = make_random_state(random_state).normal(size=(n_random, gradients.shape[1]))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    derivatives = gradients @ directions.T
    signs = np.where(np.abs(derivatives) > scales[:, None], np.sign(derivatives), 0)
    deltas = np.array([abs(_share(column)[0] - 0.5) for column in signs.T])
    magnitudes = np.abs(derivatives).mean(axis=0)
    # The concept is one of the directions: no p-value is 0. Equal shares count whatever their rounding.
    at_least = (deltas >= delta - 1e-12).sum(), (magnitudes >= magnitude * (1 - 1e-12)).sum()
    return tuple(float((1 + count) / (1 + n_random)) for count in at_least)


def _layer_name(layer, concept):
    layer = getattr(concept, "layer_", None) if layer is None else layer
    if layer is None:
        raise ValueError("layer: the concept names none; give the layer whose activations it is a direction of")
    return layer


def _direction(concept):
    if concept is None:
        raise ValueError("concept: give a concept, or X_without, the same images without it")
    if hasattr(concept, "decision_function"):
        vectors = concept.coef_
        if len(vectors) > 1:
            raise ValueError(f"concept: it holds {len(vectors)} concepts; give one that was fitted on one")
        return vectors[0]
    direction = np.asarray(concept, dtype=np.float64)
    if direction.ndim != 1 or not np.isfinite(direction).all() or not direction.any():
        raise ValueError(f"concept must be a vector of finite numbers, not all 0, got shape {direction.shape}")
    return direction


def _gradient(subject, layer, X, target, channel_axis):
    """Gradient of the scores with respect to a layer's own output, and that output, as channels over positions."""
    found = {}

    def start(name, part, values):
        found["part"], found["values"] = part, values.detach().clone().requires_grad_()
        return found["values"].clone()  # which others may overwrite

    with torch.enable_grad(), tapped(subject.module, [layer], start, first=True):
        scores = select_scores(subject.infer(X.clone()), target, subject.kind)
    if not found:
        raise ValueError(f"layer: {layer!r} took no part in the forward pass; name another layer")
    gradient = None
    if scores.requires_grad:
        (gradient,) = torch.autograd.grad(scores.sum(), found["values"], allow_unused=True)
    if gradient is None:
        raise ValueError(f"layer: the score does not depend on {layer!r}; name another layer")
    return tuple(
        _by_channel(found["part"], values, X.ndim, channel_axis) for values in (gradient, found["values"].detach())
    )


def _values(subject, layer, X, channel_axis):
    found = {}

    def keep(name, part, values):
        found["part"], found["values"] = part, values.detach().clone()

    with torch.no_grad(), tapped(subject.module, [layer], keep, first=True):
        subject.infer(X.clone())
    return _by_channel(found["part"], found["values"], X.ndim, channel_axis)


def _by_channel(part, values, image_ndim, channel_axis):
    values = values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
    if has_channels_last(part, values, image_ndim, channel_axis):
        values = values.movedim(-1, 1)
    return values.flatten(2) if values.ndim > 2 else values[:, :, None]
