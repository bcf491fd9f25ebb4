"""Transformer from images to the activations of layers, or to their relevance."""

import contextlib
import copy
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context, clone
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import nn

from ..explain._layer_relevance import layer_relevance
from ..explain._relevance import TOLERANCE, check_conservation
from ..explain._subject import resolve_subject
from ..explain._targets import resolve_target
from ..images import ImageBunch
from ..neural._layer_names import resolve_layer
from ..neural._structure import find_head
from ._activations import Activations, over_positions
from ._feature_file import FeatureFile


class LayerFeatures(TransformerMixin, BaseEstimator):
    r"""Turn images into pooled activations of layers of a fitted network, or into the relevance of these for a class.

    The network stays as it is: ``fit`` looks up the layers and does not train, and cloning the transformer keeps the
    fitted network, so that it can stand in pipelines and searches.

    Parameters
    ----------
    estimator : NeuralImageClassifier, Pipeline, meta-estimator or torch.nn.Module
        Fitted. The earlier steps of a pipeline transform the images; of searches and meta-estimators
        ``best_estimator_`` or ``estimator_`` is taken. A bare network gets the images as they are, as float32 (float64
        if its parameters are) and not normalized; only unsigned integers are divided by the largest value of their
        type.
    layers : str or sequence of str, default="last"
        Names as in ``dict(estimator.module_.named_modules())``. "last" means what the network makes its logits from:
        the input of its last linear layer, or of its last convolution if there is none. The outputs of several layers
        come from one pass, side by side.
    kind : {"activation", "relevance"}, default="activation"
        What the layers put out, or how much of it counts for the score of a class, in logits, by ``attribution``.
    pool : {"mean", "max", "mean_max", "sum", "token", "flat"}, default="mean"
        What becomes of the positions of a channel. A layer without positions gives its values with any choice.

        - "mean", "max": mean or maximum over positions, tokens included that stand for no part of the image; of
          relevance set to 0 where it is negative;
        - "mean_max": the means, then the maxima;
        - "sum": sum over positions, with its sign; of relevance the share of the channel in the score;
        - "token": the first token of a transformer, which is that of the class;
        - "flat": every position is a feature of its own.
    attribution : {"gradient_x_activation", "integrated_gradients", "lrp", "zennit"}, default="gradient_x_activation"
        How relevance is found.

        - "gradient_x_activation": derivative of the score by the activation, times the activation;
        - "integrated_gradients": the derivative, averaged over the straight line from the activation of an image of
          zeros (as the network gets it, normalized) to that of the image, times their difference [2]_. It adds up
          to the difference that the layer makes for the score, and takes ``steps`` passes per layer;
        - "lrp": layer-wise relevance propagation by the rules of :func:`~sklearn_shortcuts.explain.relevance`. The
          relevance of a convolution that a normalization follows directly, which becomes part of it, is that of the
          normalization's output;
        - "zennit": the same by the package zennit (``pip install sklearn-shortcuts[lrp]``).
    target : {"true", "predicted"} or class, default="true"
        Whose logit relevance is found for: that of the true class, from the field ``target`` of an ImageBunch; that
        of the predicted class; or that of a given class for all rows (name of a label; position of an output for a
        bare network). Of a binary classifier with one logit the score of the first class is minus the logit.
    normalize : bool, default=False
        Divide the features of a layer by the sum of their absolute values, row by row, so that rows of high and low
        scores compare. Rows of zeros stay as they are.
    steps : int, default=32
        Nodes on the line of ``attribution="integrated_gradients"``.
    channel_axis : {1, -1}, default=None
        Axis of the channels in a layer's output. None means the last for layers that compute on the last axis
        (linear, layer normalization, transformer encoder) and for outputs with three axes of networks on images,
        which are tokens; the second for all others. Swin transformers, whose maps have their channels last, need -1.
    batch_size : int, default=None
        Images per batch; None means the classifier's, 32 for a bare network.
    conservation_tol : float, default=None
        Warn if more relevance than this share of a row's score went astray on its way to the layers. By default no
        check, but 0.05 with "lrp" and "integrated_gradients", of which that is known. ``inf`` never warns.

    Attributes
    ----------
    layers_ : list of str
        Names of the layers; "last" stays "last".
    layer_sizes_ : dict of str to tuple of int
        Channels and positions of each layer.
    n_features_out_ : int
        Number of features.

    See Also
    --------
    ConceptVector : The direction of a concept among such features.
    sklearn_shortcuts.explain.relevance : Relevance of the pixels.
    sklearn_shortcuts.neural.NeuralImageClassifier.embed : The features of ``layers="last"`` without a transformer.

    Notes
    -----
    The network runs in evaluation mode. Of a layer that is used several times in a pass, the last use counts; of one
    that gives several tensors, the first. Features have the precision of the network, float32 or float64; pooling is
    done in it even where the network computes in bfloat16, in which "lrp" and "zennit" never compute.

    The relevances :math:`R` with which [1]_ identifies shortcuts are, of a channel :math:`c` with positions :math:`s`,
    :math:`\sum_s R_{cs} / \sum_{c'} |\sum_s R_{c's}|` (``pool="sum", normalize=True``) and
    :math:`\max(0, \max_s R_{cs})` (``pool="max"``), both by ``attribution="lrp"`` for the true class.

    References
    ----------
    .. [1] Pahde et al. (2025). Ensuring medical AI safety: interpretability-driven detection and mitigation of
       spurious model behavior and associated data. Machine Learning 114.
    .. [2] Sundararajan, Taly and Yan (2017). Axiomatic attribution for deep networks. arXiv:1703.01365, equation 1.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_shortcuts import NeuralImageClassifier, make_chest_phantoms
    >>> from sklearn_shortcuts.latent import LayerFeatures
    >>> from sklearn_shortcuts.neural import SmallCNN
    >>> X, y = make_chest_phantoms(16, random_state=0, return_X_y=True)
    >>> network = NeuralImageClassifier(SmallCNN(width=4), max_epochs=1, random_state=0).fit(X, y)
    >>> features = LayerFeatures(network, ["features.1", "features.2"], pool="max").fit(X)
    >>> features.transform(X).shape
    (16, 24)
    >>> features.get_feature_names_out()[:2].tolist()
    ['features.1:0', 'features.1:1']
    >>> make_pipeline(features, LogisticRegression()).fit(X, y).predict(X).shape
    (16,)
    >>> relevances = LayerFeatures(network, "features.2", kind="relevance", pool="sum", target="predicted")
    >>> relevances.fit_transform(X).shape
    (16, 16)
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods("fit"), nn.Module],
        "layers": [str, "array-like"],
        "kind": [StrOptions({"activation", "relevance"})],
        "pool": [StrOptions({"mean", "max", "mean_max", "sum", "token", "flat"})],
        "attribution": [StrOptions({"gradient_x_activation", "integrated_gradients", "lrp", "zennit"})],
        "target": "no_validation",
        "normalize": ["boolean"],
        "steps": [Interval(Integral, 1, None, closed="left")],
        "channel_axis": [Options(Integral, {1, -1}), None],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None],
        "conservation_tol": [Interval(Real, 0, None, closed="both"), None],
    }

    def __init__(
        self,
        estimator,
        layers="last",
        *,
        kind="activation",
        pool="mean",
        attribution="gradient_x_activation",
        target="true",
        normalize=False,
        steps=32,
        channel_axis=None,
        batch_size=None,
        conservation_tol=None,
    ):
        self.estimator = estimator
        self.layers = layers
        self.kind = kind
        self.pool = pool
        self.attribution = attribution
        self.target = target
        self.normalize = normalize
        self.steps = steps
        self.channel_axis = channel_axis
        self.batch_size = batch_size
        self.conservation_tol = conservation_tol

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Look up the layers and the sizes of their outputs; the network is not trained.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, n_features), (n, H, W), (n, C, T) or (n, C, H, W)
            Images; only the first is read. For the relevance of the true class a bunch with the field ``target``.
        y : Ignored
            Not used, present for API consistency.

        Returns
        -------
        LayerFeatures
            Itself.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If there is no classifier with a network in it.
        ValueError
            If the network has no such layer, or the layer gives no activations.
        """
        X = _as_rows(X)
        if len(X) == 0:
            raise ValueError("X has 0 rows, at least one is needed")
        if np.ndim(self.target) > 0:
            raise ValueError("target must be 'true', 'predicted' or one class, got an array")
        subject, target = self._explained(X.iloc[:1] if hasattr(X, "iloc") else X[:1])
        names = [self.layers] if isinstance(self.layers, str) else list(self.layers)
        if not names:
            raise ValueError("layers: name at least one")
        if len(set(names)) < len(names):
            raise ValueError(f"layers: {names} names a layer twice")
        for name in names:
            if name == "last":
                find_head(subject.module)
            else:
                resolve_layer(subject.module, name)
        self.layers_ = names
        self.layer_sizes_ = {}
        for found, _ in self._passes(subject, target, None):
            for name, (values, tokens) in found.items():
                if self.pool == "token" and not tokens and values.shape[2] > 1:
                    raise ValueError(
                        f"pool='token': layer {name!r} gives no tokens but {tuple(values.shape[1:])} channels and "
                        "positions; choose another pool"
                    )
                self.layer_sizes_[name] = tuple(values.shape[1:])
        self.n_features_out_ = len(self._names())
        return self

    def transform(self, X):
        """Give the features of the layers.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, n_features), (n, H, W), (n, C, T) or (n, C, H, W)
            Images. Those of a lazy bunch are read batch by batch.

        Returns
        -------
        ndarray of shape (n, n_features_out), dtype float32 or float64
            Features.

        Raises
        ------
        ValueError
            If the images do not fit the network, a layer gives another number of features than in ``fit``, or
            relevance is wanted for true classes that the images come without.

        Warns
        -----
        UserWarning
            If relevance went astray, see ``conservation_tol``.
        """
        check_is_fitted(self)
        subject, target = self._explained(_as_rows(X))
        features = np.empty((subject.n_rows, self.n_features_out_), dtype=_dtype(subject))
        start = 0
        with self._conservation() as lost:
            for values in self._features(subject, target, None, lost):
                features[start : start + len(values)] = values
                start += len(values)
        return features

    def store(self, X, path):
        """Write the features of the layers to a file, for sets whose features do not fit into memory.

        If the file exists, it is gone on with where an earlier call was interrupted, or read if it is complete. A few
        of its rows are computed again to see that images and network are still the same.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, n_features), (n, H, W), (n, C, T) or (n, C, H, W)
            Images.
        path : path-like
            File to write, ending in ``.npy``; its folder must exist. A small ``.json`` beside it tells how far it is.

        Returns
        -------
        numpy.memmap of shape (n, n_features_out), dtype float32 or float64
            Features, read from the file where they are needed; cannot be written to.

        Raises
        ------
        ValueError
            If the file holds something else, or features of other images or of another network.

        Warns
        -----
        UserWarning
            If relevance went astray in rows that this call computes, see ``conservation_tol``.
        """
        check_is_fitted(self)
        subject, target = self._explained(_as_rows(X))
        file = FeatureFile(path, self._description(), (subject.n_rows, self.n_features_out_), _dtype(subject))
        again = file.sample()
        if len(again):
            written = file.array[again]
            computed = np.concatenate(list(self._features(subject, target, again, [])))
            # Batches of another size round otherwise.
            rounding = 0.05 if subject.autocast else 1e-3
            differ = np.abs(computed - written).max(axis=1) > rounding * np.abs(written).max()
            if differ.any():
                raise ValueError(
                    f"path: row {again[differ][0]} of {file.path.name!r} holds the features of another image or "
                    "network; remove the file or name another"
                )
        with self._conservation(file.n_done) as lost:
            for values in self._features(subject, target, np.arange(file.n_done, subject.n_rows), lost):
                file.write(values)
        return np.load(file.path, mmap_mode="r")

    def get_feature_names_out(self, input_features=None):
        """Give the names of the features.

        Parameters
        ----------
        input_features : Ignored
            Not used, present for API consistency.

        Returns
        -------
        ndarray of str
            ``"layer:channel"``; where a layer has several positions, ``"layer:mean:channel"`` and
            ``"layer:max:channel"`` with ``pool="mean_max"``, ``"layer:channel:position"`` with ``pool="flat"``.
        """
        check_is_fitted(self)
        return np.asarray(self._names(), dtype=object)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "n_features_out_")

    def __sklearn_clone__(self):
        parameters = self.get_params(deep=False)
        copied = type(self)(
            **{
                name: value if name == "estimator" else clone(value, safe=False)  # a clone of it would be unfitted
                for name, value in parameters.items()
            }
        )
        for name in ("_metadata_request", "_sklearn_output_config"):
            if hasattr(self, name):
                setattr(copied, name, copy.deepcopy(getattr(self, name)))
        return copied

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags

    def _names(self):
        names = []
        for layer, (n_channels, n_positions) in self.layer_sizes_.items():
            if self.pool == "mean_max" and n_positions > 1:
                names += [f"{layer}:{kind}:{channel}" for kind in ("mean", "max") for channel in range(n_channels)]
            elif self.pool == "flat" and n_positions > 1:
                names += [f"{layer}:{channel}:{place}" for channel in range(n_channels) for place in range(n_positions)]
            else:
                names += [f"{layer}:{channel}" for channel in range(n_channels)]
        return names

    def _explained(self, X):
        """Give network and rows, and for relevance the classes whose scores are explained."""
        subject = resolve_subject(self.estimator, X, batch_size=self.batch_size)
        if self.kind == "activation":
            return subject, None
        if isinstance(self.target, str) and self.target == "true" and subject.field("target") is None:
            raise ValueError(
                "target='true' needs an ImageBunch with the field 'target'; add it, or use target='predicted'"
            )
        return subject, resolve_target(subject, self.target)

    def _description(self):
        """What the features are, for the file that they are stored in."""
        description = {
            "layers": self.layers_,
            "kind": self.kind,
            "pool": self.pool,
            "normalize": bool(self.normalize),
            "channel_axis": self.channel_axis,
        }
        if self.kind == "relevance":
            description |= {"attribution": self.attribution, "target": str(self.target)}
            if self.attribution == "integrated_gradients":
                description["steps"] = int(self.steps)
        return description

    @contextlib.contextmanager
    def _conservation(self, n_done=0):
        """Warn at the end of what went astray of the relevances of the rows from ``n_done`` on."""
        lost = []
        yield lost
        if lost:
            tolerance = TOLERANCE if self.conservation_tol is None else self.conservation_tol
            check_conservation(np.concatenate(lost), tolerance, first=n_done, stacklevel=6)

    def _passes(self, subject, target, index):
        """Give what belongs to the layers, batch by batch, and what went astray of it."""
        with contextlib.ExitStack() as stack:
            propagate = None
            for batch in subject.batches(index=index):
                X = batch["X"]
                if self.kind == "activation":
                    yield self._activations(subject, X), None
                    continue
                if propagate is None:
                    propagate = stack.enter_context(
                        layer_relevance(subject, self.layers_, self.attribution, steps=self.steps, example=X[:1])
                    )
                yield self._relevances(subject, propagate, batch, target)

    def _activations(self, subject, X):
        activations = Activations(subject.module, self.layers_, self.channel_axis)
        # Nothing stays changed between two batches, when other code runs.
        with (
            subject.explaining(),
            activations.watch(),
            torch.no_grad(),
            torch.autocast(X.device.type, torch.bfloat16, enabled=subject.autocast),
        ):
            return activations.of(X, _torch_dtype(subject))

    def _relevances(self, subject, propagate, batch, target):
        if not isinstance(target, str):
            target = torch.as_tensor(target[batch["index"].cpu().numpy()]).to(subject.device)
        with subject.explaining():
            result = propagate(batch["X"], target)
        found = {
            name: over_positions(name, layer, values.to(_torch_dtype(subject)), batch["X"], self.channel_axis)
            for name, (layer, values) in result.layers.items()
        }
        lost = result.lost
        return found, None if lost is None else (lost / result.scores).abs().cpu().numpy()

    def _features(self, subject, target, index, lost):
        if index is not None and len(index) == 0:
            return
        for found, error in self._passes(subject, target, index):
            parts = []
            for name in self.layers_:
                values, _ = found[name]
                if self.layer_sizes_[name] != tuple(values.shape[1:]):
                    raise ValueError(
                        f"layer {name!r} gives {tuple(values.shape[1:])} channels and positions, but "
                        f"{self.layer_sizes_[name]} in fit"
                    )
                pooled = _pooled(values, self.pool, self.kind)
                parts.append(_normalized(pooled) if self.normalize else pooled)
            if error is not None:
                lost.append(error)
            yield torch.cat(parts, 1).cpu().numpy()


def _pooled(values, pool, kind):
    if values.shape[2] == 1:
        return values[:, :, 0]
    if pool == "sum":
        return values.sum(2)
    if pool in ("token", "flat"):
        return values[:, :, 0] if pool == "token" else values.flatten(1)
    pooled = torch.cat([{"mean": values.mean, "max": values.amax}[part](2) for part in pool.split("_")], 1)
    return pooled.clamp(min=0) if kind == "relevance" else pooled


def _normalized(values):
    total = values.abs().sum(1, keepdim=True)
    return values / torch.where(total > 0, total, 1)


def _as_rows(X):
    return X if isinstance(X, ImageBunch) or hasattr(X, "shape") else np.asarray(X)


def _torch_dtype(subject):
    numbers = (value.dtype for value in subject.module.parameters() if value.is_floating_point())
    return torch.float64 if next(numbers, None) == torch.float64 else torch.float32


def _dtype(subject):
    return np.float64 if _torch_dtype(subject) == torch.float64 else np.float32
