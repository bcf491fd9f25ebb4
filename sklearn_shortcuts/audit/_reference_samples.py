"""The rows that show what a channel of a layer stands for."""

from dataclasses import dataclass, field
from numbers import Integral

import numpy as np
import torch
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval, Options, StrOptions, validate_params

from ..explain._subject import resolve_subject
from ..explain._targets import resolve_target
from ._layer_maps import LayerMaps


@dataclass(frozen=True)
class ReferenceSamples:
    """Of every channel the rows with the largest values, made by :func:`top_reference_samples`.

    Attributes
    ----------
    rows : ndarray of int of shape (C, k)
        Row numbers, the largest value first; of equal ones the first row first.
    values : ndarray of shape (C, k)
        Activations, or relevances as a share of the row's. A channel whose values are all 0 is dead, and its rows
        mean nothing.
    positions : ndarray of int of shape (C, k, n_axes) or None
        Cell of the layer's map where the value is largest: row and column, or time step. None for layers without
        positions, and for features.
    boxes : ndarray of int of shape (C, k, 2 * n_axes) or None
        Pixels that this cell sees: ``(top, left, bottom, right)``, of signals ``(start, stop)``; the last ones are
        not part of it. The whole image for layers without positions, None for features.
    layer : str or None
        Name of the layer; None for features.
    by : {"activation", "relevance"}
        What the values are.

    Examples
    --------
    >>> from sklearn_shortcuts.audit import ReferenceSamples
    >>> ReferenceSamples.from_features([[0.1, 2.0], [0.9, 1.0], [0.5, 2.0]], k=2).rows.tolist()
    [[1, 2], [0, 2]]
    """

    rows: np.ndarray = field(repr=False)
    values: np.ndarray = field(repr=False)
    positions: np.ndarray | None = field(default=None, repr=False)
    boxes: np.ndarray | None = field(default=None, repr=False)
    layer: str | None = None
    by: str = "activation"

    @classmethod
    def from_features(cls, features, k=8, *, by="activation"):
        """Choose the rows from features that are at hand.

        Parameters
        ----------
        features : array-like of shape (n, C)
            Pooled activations or relevances.
        k : int, default=8
            Rows per channel, at least 1 and at most n.
        by : {"activation", "relevance"}, default="activation"
            What they are. Relevances of a row are divided by the sum of their absolute values.

        Returns
        -------
        ReferenceSamples
            Without positions and boxes.

        Raises
        ------
        ValueError
            If there are fewer rows than ``k``.
        """
        values = check_array(features, dtype=(np.float64, np.float32), input_name="features")
        if by not in ("activation", "relevance"):
            raise ValueError(f"by must be 'activation' or 'relevance', got {by!r}")
        _check_k(k, len(values))
        if by == "relevance":
            values = _shares(values)
        rows = np.argsort(-values, axis=0, kind="stable")[:k]
        return cls(rows.T, np.take_along_axis(values, rows, axis=0).T, by=by)


@validate_params(
    {
        "estimator": "no_validation",
        "X": "no_validation",
        "layer": [str],
        "k": [Interval(Integral, 1, None, closed="left")],
        "by": [StrOptions({"activation", "relevance"})],
        "pool": [StrOptions({"mean", "max"}), None],
        "target": "no_validation",
        "y": "no_validation",
        "channel_axis": [Options(Integral, {1, -1}), None],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None],
    },
    prefer_skip_nested_validation=True,
)
def top_reference_samples(
    estimator,
    X,
    layer="last",
    *,
    k=8,
    by="activation",
    pool=None,
    target="predicted",
    y=None,
    channel_axis=None,
    batch_size=None,
):
    """Find the images, and the places in them, that activate each channel most or for which it is most relevant.

    By activation, the images show what a channel detects; by relevance, what it is used for [1]_. Only the best rows
    of every channel are kept while the batches go through the network, once.

    Parameters
    ----------
    estimator : NeuralImageClassifier, Pipeline, meta-estimator or torch.nn.Module
        Fitted classifier, something fitted that ends in one, or a network.
    X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W) or (n, C, T)
        Images or signals.
    layer : str, default="last"
        Name of the layer as in ``dict(module.named_modules())``; "last" means what the network makes its logits from.
    k : int, default=8
        Rows per channel, at most n.
    by : {"activation", "relevance"}, default="activation"
        What is looked for: large activations, or a large part of the score. Relevance is gradient times activation
        of the score of ``target``, divided by the sum over the channels of absolute values, so that every row
        counts the same; on networks whose upper layers are linear layers and ReLU it is that of the basic rule LRP-0.
    pool : {"mean", "max"}, default=None
        What becomes of the positions of a channel. None means "max" for activations and "mean" for relevances, whose
        sum is a share of the score.
    target : object, default="predicted"
        Whose score is explained, as in :func:`~sklearn_shortcuts.explain.relevance`. Only with ``by="relevance"``.
    y : array-like of shape (n,), default=None
        True classes for ``target="true"``; by default the bunch's field ``target``.
    channel_axis : {1, -1}, default=None
        Axis of the channels in the layer's output, see :class:`~sklearn_shortcuts.latent.LayerFeatures`.
    batch_size : int, default=None
        Images per batch; None means the classifier's, 32 for a bare network.

    Returns
    -------
    ReferenceSamples
        Rows, values, positions and boxes of every channel. Of a pipeline, positions and boxes are those of the images
        as its last step gets them.

    Raises
    ------
    ValueError
        If there are fewer images than ``k``, the network has no such layer, or the score does not depend on it.

    See Also
    --------
    ReferenceSamplesDisplay : Shows them.
    NeuronOutlierDetector : Tells which channels to look at.

    Notes
    -----
    A box is the receptive field of the cell as far as convolutions, poolings and padding go, cut at the image's edge;
    attention and normalization look further. Of a transformer's tokens those of the class and of registers, which
    stand for no part of the image, are left out.

    References
    ----------
    .. [1] Achtibat et al. (2023). From attribution maps to human-understandable explanations through Concept Relevance
       Propagation. Nature Machine Intelligence 5, 1006-1019 (Relevance Maximization).

    Examples
    --------
    >>> from sklearn_shortcuts import NeuralImageClassifier, make_chest_phantoms
    >>> from sklearn_shortcuts.audit import top_reference_samples
    >>> from sklearn_shortcuts.neural import SmallCNN
    >>> X, y = make_chest_phantoms(16, random_state=0, return_X_y=True)
    >>> network = NeuralImageClassifier(SmallCNN(width=4), max_epochs=1, random_state=0).fit(X, y)
    >>> samples = top_reference_samples(network, X, "features.1", k=3)
    >>> samples.rows.shape, samples.boxes.shape
    ((8, 3), (8, 3, 4))
    """
    subject = resolve_subject(estimator, X, batch_size=batch_size)
    _check_k(k, subject.n_rows)
    relevant = by == "relevance"
    target = resolve_target(subject, target, y) if relevant else None
    pool = pool or ("mean" if relevant else "max")
    maps = LayerMaps(subject, layer, channel_axis)
    best = None
    with subject.explaining():
        for batch in subject.batches():
            index = batch["index"].cpu().numpy()
            if relevant:
                given = target if isinstance(target, str) else torch.as_tensor(target[index]).to(subject.device)
                found = maps.relevances({**batch, "target": given})
            else:
                found = maps.activations(batch)
            largest, cells = (values.cpu().numpy() for values in found.max(dim=2))
            values = largest if pool == "max" else found.mean(2).cpu().numpy()
            finite = np.isfinite(values).all(axis=1)
            if not finite.all():
                raise ValueError(f"row {index[~finite][0]}: the layer {layer!r} gives values that are not finite")
            if relevant:
                values = _shares(values)
            rows = np.broadcast_to(index[:, None], values.shape)
            new = [values.T, rows.T, cells.T]
            best = _best(new if best is None else [np.hstack(pair) for pair in zip(best, new)], k)
    values, rows, cells = best
    positions, boxes = _places(cells, maps, subject.spatial)
    return ReferenceSamples(rows, values, positions, boxes, layer=maps.layer, by=by)


def _check_k(k, n_rows):
    if not isinstance(k, Integral) or k < 1:
        raise ValueError(f"k must be a positive integer, got {k!r}")
    if k > n_rows:
        raise ValueError(f"k={k} rows per channel, but there are {n_rows} rows; ask for fewer")


def _shares(values):
    totals = np.abs(values).sum(axis=1, keepdims=True)
    return np.divide(values, totals, out=np.zeros_like(values), where=totals > 0)


def _best(candidates, k):
    """The k largest of every channel; candidates stand in the order of their rows."""
    order = np.argsort(-candidates[0], axis=1, kind="stable")[:, :k]
    # Among equals the first row stays first, since later batches stand behind.
    return [np.take_along_axis(values, order, axis=1) for values in candidates]


def _places(cells, maps, spatial):
    if maps.map_size is None:
        whole = [0] * len(spatial) + list(spatial)
        return None, np.broadcast_to(whole, (*cells.shape, len(whole))).copy()
    positions = np.stack(np.unravel_index(cells, maps.map_size), axis=-1)
    first = [np.floor(window.start + positions[..., axis] * window.stride) for axis, window in enumerate(maps.windows)]
    last = [
        np.ceil(window.start + positions[..., axis] * window.stride + window.size)
        for axis, window in enumerate(maps.windows)
    ]
    edges = [np.clip(edge, 0, size) for edges in (first, last) for edge, size in zip(edges, spatial)]
    return positions, np.stack(edges, axis=-1).astype(np.intp)
