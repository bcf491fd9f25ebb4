"""Transformer from images to the activations of layers."""

import copy
from numbers import Integral

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context, clone
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import nn

from ..images import ImageBunch
from ..neural._layer_names import resolve_layer
from ..neural._modes import explaining
from ..neural._structure import find_head
from ..neural._unwrap import unwrap
from ._activations import Activations
from ._feature_file import FeatureFile


class LayerFeatures(TransformerMixin, BaseEstimator):
    """Turn images into the pooled activations of layers of a fitted network.

    The network stays as it is: ``fit`` looks up the layers and does not train, and cloning the transformer keeps the
    fitted network, so that it can stand in pipelines and searches.

    Parameters
    ----------
    estimator : NeuralImageClassifier, Pipeline or meta-estimator
        Fitted. The earlier steps of a pipeline transform the images; of searches and meta-estimators
        ``best_estimator_`` or ``estimator_`` is taken.
    layers : str or sequence of str, default="last"
        Names as in ``dict(estimator.module_.named_modules())``. "last" means what the network makes its logits from:
        the input of its last linear layer, or of its last convolution if there is none. The outputs of several layers
        come from one pass, side by side.
    pool : {"mean", "max", "mean_max", "token", "flat"}, default="mean"
        What becomes of the positions of a channel. A layer without positions gives its values with any choice.

        - "mean", "max": mean or maximum over positions, tokens included that stand for no part of the image;
        - "mean_max": the means, then the maxima;
        - "token": the first token of a transformer, which is that of the class;
        - "flat": every position is a feature of its own.
    channel_axis : {1, -1}, default=None
        Axis of the channels in a layer's output. None means the last for layers that compute on the last axis
        (linear, layer normalization, transformer encoder) and for outputs with three axes of networks on images,
        which are tokens; the second for all others. Swin transformers, whose maps have their channels last, need -1.
    batch_size : int, default=None
        Images per batch; None means the classifier's.

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
    sklearn_shortcuts.neural.NeuralImageClassifier.embed : The features of ``layers="last"`` without a transformer.

    Notes
    -----
    The network runs in evaluation mode. Of a layer that is used several times in a pass, the last use counts; of one
    that gives several tensors, the first. Features have the precision of the network, float32 or float64; pooling is
    done in it even where the network computes in bfloat16.

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
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods("fit")],
        "layers": [str, "array-like"],
        "pool": [StrOptions({"mean", "max", "mean_max", "token", "flat"})],
        "channel_axis": [Options(Integral, {1, -1}), None],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(self, estimator, layers="last", *, pool="mean", channel_axis=None, batch_size=None):
        self.estimator = estimator
        self.layers = layers
        self.pool = pool
        self.channel_axis = channel_axis
        self.batch_size = batch_size

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Look up the layers and the sizes of their outputs; the network is not trained.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, n_features), (n, H, W), (n, C, T) or (n, C, H, W)
            Images; only the first is read.
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
        classifier, first = self._unwrap(X.iloc[:1] if hasattr(X, "iloc") else X[:1])
        names = [self.layers] if isinstance(self.layers, str) else list(self.layers)
        if not names:
            raise ValueError("layers: name at least one")
        if len(set(names)) < len(names):
            raise ValueError(f"layers: {names} names a layer twice")
        for name in names:
            if name == "last":
                find_head(classifier.module_)
            else:
                resolve_layer(classifier.module_, name)
        self.layers_ = names
        self.layer_sizes_ = {}
        for found in self._passes(classifier, first, None):
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
        """Give the activations of the layers.

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
            If the images do not fit the network, or a layer gives another number of features than in ``fit``.
        """
        check_is_fitted(self)
        classifier, X = self._unwrap(_as_rows(X))
        features = np.empty((len(X), self.n_features_out_), dtype=_dtype(classifier))
        start = 0
        for values in self._features(classifier, X, None):
            features[start : start + len(values)] = values
            start += len(values)
        return features

    def store(self, X, path):
        """Write the activations of the layers to a file, for sets whose features do not fit into memory.

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
        """
        check_is_fitted(self)
        classifier, X = self._unwrap(_as_rows(X))
        description = {"layers": self.layers_, "pool": self.pool, "channel_axis": self.channel_axis}
        file = FeatureFile(path, description, (len(X), self.n_features_out_), _dtype(classifier))
        again = file.sample()
        if len(again):
            written = file.array[again]
            computed = np.concatenate(list(self._features(classifier, X, again)))
            # Batches of another size round otherwise.
            rounding = 0.05 if classifier.net_.autocast else 1e-3
            differ = np.abs(computed - written).max(axis=1) > rounding * np.abs(written).max()
            if differ.any():
                raise ValueError(
                    f"path: row {again[differ][0]} of {file.path.name!r} holds the features of another image or "
                    "network; remove the file or name another"
                )
        for values in self._features(classifier, X, np.arange(file.n_done, len(X))):
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

    def _unwrap(self, X):
        classifier, X = unwrap(self.estimator, X)
        if isinstance(classifier, nn.Module):
            raise TypeError(
                "estimator holds a bare torch.nn.Module; give a fitted NeuralImageClassifier, which knows how images "
                "are scaled and normalized for it"
            )
        check_is_fitted(classifier)
        return classifier, X

    def _passes(self, classifier, X, index):
        """Give what the layers put out, batch by batch."""
        module = classifier.module_
        net = classifier.net_
        activations = Activations(module, self.layers_, self.channel_axis)
        for batch in classifier.iter_batches(X, batch_size=self.batch_size, index=index):
            # Nothing stays changed between two batches, when other code runs.
            with (
                explaining(module),
                activations.watch(),
                torch.no_grad(),
                torch.autocast(batch["X"].device.type, torch.bfloat16, enabled=net.autocast),
            ):
                yielded = activations.of(batch["X"], net.dtype)
            yield yielded

    def _features(self, classifier, X, index):
        if index is not None and len(index) == 0:
            return
        for found in self._passes(classifier, X, index):
            parts = []
            for name, (values, _) in found.items():
                if self.layer_sizes_[name] != tuple(values.shape[1:]):
                    raise ValueError(
                        f"layer {name!r} gives {tuple(values.shape[1:])} channels and positions, but "
                        f"{self.layer_sizes_[name]} in fit"
                    )
                parts.append(_pooled(values, self.pool))
            yield torch.cat(parts, 1).cpu().numpy()


def _pooled(values, pool):
    if values.shape[2] == 1:
        return values[:, :, 0]
    if pool == "mean":
        return values.mean(2)
    if pool == "max":
        return values.amax(2)
    if pool == "mean_max":
        return torch.cat([values.mean(2), values.amax(2)], 1)
    return values[:, :, 0] if pool == "token" else values.flatten(1)


def _as_rows(X):
    return X if isinstance(X, ImageBunch) or hasattr(X, "shape") else np.asarray(X)


def _dtype(classifier):
    return np.float64 if classifier.net_.dtype == torch.float64 else np.float32
