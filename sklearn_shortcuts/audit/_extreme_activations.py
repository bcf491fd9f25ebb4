"""What the channels of a layer respond to each other's strongest signals."""

from numbers import Integral

import numpy as np
import pandas as pd
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval, Options, StrOptions, validate_params

from ..latent import LayerFeatures


@validate_params(
    {
        "features": ["array-like"],
        "n_references": [Interval(Integral, 1, None, closed="left")],
        "strengths": ["array-like", None],
    },
    prefer_skip_nested_validation=True,
)
def extreme_activations(features, n_references=5, *, strengths=None):
    """Average the activations of all channels over the rows that excite each channel most.

    Parameters
    ----------
    features : array-like of shape (n, C)
        Activations of the channels, pooled over positions.
    n_references : int, default=5
        Rows per channel.
    strengths : array-like of shape (n, C), default=None
        What the rows of each channel are chosen by, such as relevances; by default the activations themselves.

    Returns
    -------
    ndarray of shape (C, C)
        Entry (i, j): mean activation of channel j over the rows that are strongest in channel i. Of equal rows the
        first count.

    Raises
    ------
    ValueError
        If there are fewer rows than ``n_references``, or ``strengths`` has another shape.

    See Also
    --------
    extreme_activation_matrix : The same from a network and its images.

    References
    ----------
    Bykov et al. (2023). DORA: Exploring Outlier Representations in Deep Neural Networks. TMLR (natural signals in
    place of synthetic ones).

    Examples
    --------
    >>> from sklearn_shortcuts.audit import extreme_activations
    >>> extreme_activations([[1.0, 0.0], [3.0, 0.5], [0.0, 2.0]], n_references=1).tolist()
    [[3.0, 0.5], [0.0, 2.0]]
    """
    features = check_array(features, dtype=np.float64, input_name="features")
    strengths = features if strengths is None else check_array(strengths, dtype=np.float64, input_name="strengths")
    if strengths.shape != features.shape:
        raise ValueError(f"strengths has shape {strengths.shape}, but features {features.shape}; give one per feature")
    if n_references > len(features):
        raise ValueError(f"n_references={n_references}, but there are {len(features)} rows; ask for fewer")
    rows = np.argsort(-strengths, axis=0, kind="stable")[:n_references]
    return np.mean([features[of_channels] for of_channels in rows], axis=0)


@validate_params(
    {
        "estimator": "no_validation",
        "X": "no_validation",
        "layer": [str],
        "n_references": [Interval(Integral, 1, None, closed="left")],
        "pool": [StrOptions({"mean", "max", "token"})],
        "channel_axis": [Options(Integral, {1, -1}), None],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None],
    },
    prefer_skip_nested_validation=True,
)
def extreme_activation_matrix(
    estimator, X, layer="last", *, n_references=5, pool="mean", channel_axis=None, batch_size=None
):
    """Average what all channels of a layer respond to the images that excite each channel most, in one pass.

    Parameters
    ----------
    estimator : NeuralImageClassifier, Pipeline or meta-estimator
        Fitted.
    X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W) or (n, C, T)
        Images.
    layer : str, default="last"
        Name of the layer as in ``dict(estimator.module_.named_modules())``; "last" means what the network makes its
        logits from.
    n_references : int, default=5
        Images per channel.
    pool : {"mean", "max", "token"}, default="mean"
        What becomes of the positions of a channel, see :class:`~sklearn_shortcuts.latent.LayerFeatures`.
    channel_axis : {1, -1}, default=None
        Axis of the channels in the layer's output, see :class:`~sklearn_shortcuts.latent.LayerFeatures`.
    batch_size : int, default=None
        Images per batch; None means the classifier's.

    Returns
    -------
    DataFrame of shape (C, C)
        Entry (i, j): mean response of channel j to the strongest images of channel i, float64. Rows and columns are
        named ``"layer:channel"``.

    Raises
    ------
    ValueError
        If there are fewer images than ``n_references``, or the network has no such layer.

    See Also
    --------
    extreme_activations : The same from features that are at hand, or by relevance.
    NeuronOutlierDetector : Finds the channels that are unlike the others.

    References
    ----------
    Bykov et al. (2023). DORA: Exploring Outlier Representations in Deep Neural Networks. TMLR (natural signals in
    place of synthetic ones).

    Examples
    --------
    >>> from sklearn_shortcuts import NeuralImageClassifier, make_chest_phantoms
    >>> from sklearn_shortcuts.audit import NeuronOutlierDetector, extreme_activation_matrix
    >>> from sklearn_shortcuts.neural import SmallCNN
    >>> X, y = make_chest_phantoms(16, random_state=0, return_X_y=True)
    >>> network = NeuralImageClassifier(SmallCNN(width=4), max_epochs=1, random_state=0).fit(X, y)
    >>> responses = extreme_activation_matrix(network, X, "features.2")
    >>> responses.shape
    (16, 16)
    >>> len(NeuronOutlierDetector("extreme_activation").fit(responses).outlier_scores_)
    16
    """
    layers = LayerFeatures(estimator, layer, pool=pool, channel_axis=channel_axis, batch_size=batch_size)
    features = layers.fit(X).transform(X)
    names = layers.get_feature_names_out()
    return pd.DataFrame(extreme_activations(features, n_references), index=names, columns=names)
