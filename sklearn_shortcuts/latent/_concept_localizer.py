"""Transformer from images to where in them a concept is."""

import copy
from numbers import Integral, Real

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context, clone
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..explain._formulas import upsample
from ..images import ImageBunch
from ..images._fields import as_masks
from ..neural._unwrap import unwrap
from ._concept_maps import POOLS, concept_maps
from ._folds import folds_of
from ._layer_features import LayerFeatures
from ._otsu import otsu_thresholds


class ConceptLocalizer(TransformerMixin, BaseEstimator):
    """Show where in images a concept is, such as an artifact, and outline it.

    The concept is a direction among the features of a layer. What a layer holds along it is traced back to the pixels;
    smoothed and divided in two, the heat map gives a mask, for :class:`~sklearn_shortcuts.preprocessing.ROIMasker` or
    for training with penalties. Rows that do not have the concept as a whole get an empty one.

    Parameters
    ----------
    estimator : NeuralImageClassifier, Pipeline, meta-estimator or torch.nn.Module
        Fitted; not trained, and kept by cloning.
    concept : ConceptVector or ConceptSubspace
        Of one concept. A fitted one is used as it is; one that is not is fitted on the features of the layer by the
        labels ``artifact`` of ``fit``. Of a subspace the first vector counts.
    layer : str or sequence of str, default=None
        Name of the layer. Of several that one is taken whose masks agree best with those given to ``fit``. None means
        the one that a fitted concept names. The best layer often is an earlier one than for repairs [1]_.
    method : {"activation", "gradient", "lrp"}, default="activation"
        How the direction :math:`v` is traced back:

        - "activation": activations above zero times :math:`v`, summed over channels and interpolated linearly to the
          size of the image. As coarse as the layer, on any network;
        - "gradient": gradient of the projection on :math:`v` of the pooled activations, times the image as the network
          gets it;
        - "lrp": relevance propagated to the pixels from activations above zero times :math:`v` [1]_, by the rules of
          :func:`~sklearn_shortcuts.explain.relevance`.
    pool : {"max", "mean"}, default="max"
        Pooling of the features that the concept is fitted on; of a fitted one it must be that of its features. It
        decides about the gate, and about "gradient". The maximum notices what is small.
    smooth : float, default=0.009
        Standard deviation of the Gaussian that smooths the maps, as a share of the longer side. The published one
        (7 pixels wide, of deviation 8, at 224 pixels) has a deviation of 2 pixels. 0 does not smooth.
    threshold : "otsu" or float, default="otsu"
        What a mask begins above: the threshold of Otsu of each map, or this quantile of it, in (0, 1); 0 in any case.
    gate : bool or float, default=True
        Whether rows whose decision function lies below zero, or below this number, get an empty mask. Without it every
        row gets one, with the concept or not.
    cv : int, splitter or iterable, default=3
        Folds for the choice among layers: a mask is compared with one from a vector that was fitted without its row.
    channel_axis : {1, -1}, default=None
        Axis of the channels in the layer's output, as in :class:`LayerFeatures`.
    batch_size : int, default=None
        Images per batch; None means the classifier's.

    Attributes
    ----------
    concept_ : ConceptVector or ConceptSubspace
        Fitted concept.
    layer_ : str
        Layer.
    layer_scores_ : DataFrame or None
        Where there was a choice, one row per layer: "mean_iou" and "std_iou" of intersection over union, not gated, and
        "n_rows" that had a mask.

    See Also
    --------
    ConceptVector : The direction.
    sklearn_shortcuts.preprocessing.ROIMasker : Removes what the masks show.

    References
    ----------
    .. [1] Pahde et al. (2025). Ensuring medical AI safety: interpretability-driven detection and mitigation of spurious
       model behavior and associated data. Machine Learning 114, 206.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts import NeuralImageClassifier, make_chest_phantoms
    >>> from sklearn_shortcuts.latent import ConceptLocalizer, ConceptVector
    >>> from sklearn_shortcuts.neural import SmallCNN
    >>> X, y = make_chest_phantoms(48, size=32, shortcut="patch", random_state=0, return_X_y=True)
    >>> network = NeuralImageClassifier(SmallCNN(width=4), max_epochs=2, random_state=0).fit(X, y)
    >>> localizer = ConceptLocalizer(network, ConceptVector(), layer="features.1").fit(X)
    >>> localizer.transform(X).shape
    (48, 32, 32)
    >>> localizer.annotate(X).masks.dtype
    dtype('bool')
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods("fit"), callable],
        "concept": [HasMethods(["fit", "decision_function"])],
        "layer": [str, "array-like", None],
        "method": [StrOptions({"activation", "gradient", "lrp"})],
        "pool": [StrOptions(set(POOLS))],
        "smooth": [Interval(Real, 0, 1, closed="left")],
        "threshold": [StrOptions({"otsu"}), Interval(Real, 0, 1, closed="neither")],
        "gate": ["boolean", Interval(Real, None, None, closed="neither")],
        "cv": ["cv_object"],
        "channel_axis": [Options(Integral, {1, -1}), None],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self,
        estimator,
        concept,
        *,
        layer=None,
        method="activation",
        pool="max",
        smooth=0.009,
        threshold="otsu",
        gate=True,
        cv=3,
        channel_axis=None,
        batch_size=None,
    ):
        self.estimator = estimator
        self.concept = concept
        self.layer = layer
        self.method = method
        self.pool = pool
        self.smooth = smooth
        self.threshold = threshold
        self.gate = gate
        self.cv = cv
        self.channel_axis = channel_axis
        self.batch_size = batch_size

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, *, artifact=None, masks=None, groups=None):
        """Find the concept and the layer, where they are not given; the network is not trained.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, H, W), (n, C, T) or (n, C, H, W)
            Images.
        y : array-like of shape (n,), default=None
            Classes of the diagnosis; needed if the concept has a ``scope``.
        artifact : array-like of shape (n,), default=None
            Whether rows have the concept, as :class:`ConceptVector` takes it; -1 where that is unknown. By default the
            bunch's field. Not needed with a fitted concept.
        masks : array-like of shape (n, H, W) or (n, T), or list with ``None`` entries, default=None
            Where the concept is, 1 inside; None, NaN or nothing inside where that is unknown. By default the bunch's
            field ``artifact_masks``. Only needed for the choice among layers.
        groups : array-like of shape (n,), default=None
            Patients, who then stand on one side of each split; by default the bunch's field.

        Returns
        -------
        ConceptLocalizer
            Itself.

        Raises
        ------
        ValueError
            If a layer is unknown or does not fit the concept, or labels or masks are missing that are needed.
        """
        X = _as_rows(X)
        candidates = self._candidates()
        self.layer_scores_ = None
        if _is_fitted(self.concept):
            if len(candidates) > 1:
                raise ValueError("layer: a fitted concept belongs to one layer; name that, or give an unfitted concept")
            self.concept_, self.layer_ = self.concept, candidates[0]
            self._direction(self.concept_)
            self._trace(X[:1], self.layer_, self.concept_)
            return self
        labels = _given(X, "artifact", artifact)
        if labels is None:
            raise ValueError(
                "artifact: the concept is not fitted and needs labels; give artifact=..., an ImageBunch with the field "
                "'artifact', or a fitted concept"
            )
        labels = column_or_1d(labels)
        groups = _given(X, "groups", groups)
        check_consistent_length(X, labels, groups, y)
        rows = np.flatnonzero(labels != -1) if labels.dtype.kind in "iuf" else np.arange(len(labels))
        aligned = {"target": None if y is None else np.asarray(y), "groups": None if groups is None else groups}
        fields = {name: None if value is None else np.asarray(value)[rows] for name, value in aligned.items()}
        layers = LayerFeatures(
            self.estimator,
            candidates,
            pool=self.pool,
            channel_axis=self.channel_axis,
            batch_size=self.batch_size,
        ).fit(X)
        values = layers.transform(X)[rows]
        ends = np.cumsum([0, *(size[0] for size in layers.layer_sizes_.values())])
        features = {name: values[:, start:end] for name, start, end in zip(candidates, ends, ends[1:])}
        if len(candidates) > 1:
            self.layer_scores_ = self._compare(X, rows, features, labels[rows], fields, masks)
            self.layer_ = self.layer_scores_["mean_iou"].idxmax()
        else:
            self.layer_ = candidates[0]
        self.concept_ = self._fitted_concept(self.layer_, features[self.layer_], labels[rows], fields)
        self._direction(self.concept_)
        return self

    def transform(self, X):
        """Give heat maps of the concept.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, H, W), (n, C, T) or (n, C, H, W)
            Images.

        Returns
        -------
        ndarray of shape (n, H, W) or (n, T), dtype float32
            Smoothed evidence for the concept, at least 0, in the size of the images. Of all rows, whatever the gate.
        """
        check_is_fitted(self)
        return self._trace(_as_rows(X), self.layer_, self.concept_)[0]

    def predict(self, X):
        """Give masks of the concept.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, H, W), (n, C, T) or (n, C, H, W)
            Images.

        Returns
        -------
        ndarray of bool of shape (n, H, W) or (n, T)
            True where the map lies above the threshold; nowhere in rows that the gate holds back.
        """
        check_is_fitted(self)
        maps, features = self._trace(_as_rows(X), self.layer_, self.concept_)
        masks = self._divided(maps)
        if self.gate is not False:
            level = 0.0 if self.gate is True else self.gate
            masks[self.concept_.decision_function(features) < level] = False
        return masks

    def annotate(self, X, field="masks"):
        """Give the images with the masks of the concept beside them.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, H, W), (n, C, T) or (n, C, H, W)
            Images.
        field : str, default="masks"
            Field to set, or to replace: "masks", of which ``ROIMasker(keep="background", on_missing="keep")`` and
            penalties with ``mask_role="avoid"`` learn what to leave out, or "artifact_masks".

        Returns
        -------
        ImageBunch
            The same rows with the masks of :meth:`predict`.
        """
        X = _as_rows(X)
        masks = self.predict(X)
        bunch = X if isinstance(X, ImageBunch) else ImageBunch(np.asarray(X), signal=masks.ndim == 2)
        return bunch.with_fields(**{field: masks})

    def score(self, X, y=None, masks=None):
        """Compare masks of the concept with true ones.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, H, W), (n, C, T) or (n, C, H, W)
            Images.
        y : Ignored
            Not used, present for API consistency.
        masks : array-like of shape (n, H, W) or (n, T), or list with ``None`` entries, default=None
            Where the concept is, 1 inside; by default the bunch's field ``artifact_masks``. Rows with nothing inside
            do not count.

        Returns
        -------
        float
            Mean intersection over union, in [0, 1].

        Raises
        ------
        ValueError
            If no row has a mask.
        """
        check_is_fitted(self)
        X = _as_rows(X)
        predicted = self.predict(X)
        true, rows = _true_masks(X, masks, predicted.shape[1:])
        return float(_overlaps(predicted[rows], true[rows]).mean())

    def __sklearn_is_fitted__(self):
        return hasattr(self, "concept_")

    def __sklearn_clone__(self):
        # Clones of what is fitted would not be.
        kept = {"estimator"} | ({"concept"} if _is_fitted(self.concept) else set())
        parameters = self.get_params(deep=False)
        copied = type(self)(
            **{name: value if name in kept else clone(value, safe=False) for name, value in parameters.items()}
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

    def _candidates(self):
        layer = getattr(self.concept, "layer_", None) if self.layer is None else self.layer
        if layer is None:
            raise ValueError("layer: the concept names none; give the layer that it is looked for in")
        candidates = [layer] if isinstance(layer, str) else list(layer)
        if not candidates or len(set(candidates)) < len(candidates):
            raise ValueError(f"layer: {candidates} must name layers, each once")
        return candidates

    def _fitted_concept(self, layer, features, labels, fields, part=slice(None)):
        concept = clone(self.concept).set_params(layer=layer)
        given = {name: None if value is None else value[part] for name, value in fields.items()}
        return concept.fit(features[part], labels[part], **given)

    def _compare(self, X, rows, features, labels, fields, masks):
        """Agreement of the masks from each layer with true ones, by vectors that were fitted on other rows."""
        spatial = _spatial_shape(self.estimator, X)
        true, known = _true_masks(X, masks, spatial)
        masked = np.flatnonzero(np.isin(rows, known))  # positions among the rows with labels
        if len(masked) == 0:
            raise ValueError("masks: no row with a label has a mask, of which the choice among layers needs some")
        kinds = labels >= 0.5 if labels.dtype.kind == "f" else labels
        folds = folds_of(self.cv, rows, kinds, fields["groups"])
        records = {}
        for layer, values in features.items():
            overlaps = []
            for train, test in folds:
                inside = np.intersect1d(test, masked)
                if len(inside) == 0:
                    continue
                concept = self._fitted_concept(layer, values, labels, fields, train)
                maps, _ = self._trace(X[rows[inside]], layer, concept)
                overlaps.append(_overlaps(self._divided(maps), true[rows[inside]]))
            overlaps = np.concatenate(overlaps)
            spread = overlaps.std(ddof=1) if len(overlaps) > 1 else np.nan
            records[layer] = {"mean_iou": overlaps.mean(), "std_iou": spread, "n_rows": len(overlaps)}
        return pd.DataFrame.from_dict(records, orient="index").rename_axis("layer")

    def _trace(self, X, layer, concept):
        """Smoothed maps in the size of the rows as they were given, and pooled features."""
        maps, features = concept_maps(
            self.estimator,
            X,
            layer,
            self._direction(concept),
            method=self.method,
            pool=self.pool,
            channel_axis=self.channel_axis,
            batch_size=self.batch_size,
        )
        given = _spatial_shape(self.estimator, X)
        if maps.shape[1:] != given:  # a pipeline has resized the images
            import torch

            maps = upsample(torch.from_numpy(maps), given).numpy()
        if self.smooth > 0:
            sigma = self.smooth * max(maps.shape[1:])
            maps = gaussian_filter(maps, (0, *[sigma] * (maps.ndim - 1)), mode="nearest")
        return maps, features

    def _divided(self, maps):
        flat = maps.reshape(len(maps), -1)
        levels = otsu_thresholds(flat) if self.threshold == "otsu" else np.quantile(flat, self.threshold, axis=1)
        return maps > np.maximum(levels, 0).reshape(-1, *[1] * (maps.ndim - 1))

    @staticmethod
    def _direction(concept):
        coef = concept.coef_
        if len(coef) > 1:
            raise ValueError(f"concept: it holds {len(coef)} concepts; give one that was fitted on one")
        return coef[0]


def _is_fitted(concept):
    return hasattr(concept, "coef_")


def _as_rows(X):
    return X if isinstance(X, ImageBunch) or hasattr(X, "shape") else np.asarray(X)


def _given(X, name, value):
    if value is None and isinstance(X, ImageBunch) and name in X.fields:
        return X.get(name)
    return value


def _spatial_shape(estimator, X):
    """Size of the images as they are given."""
    if isinstance(X, ImageBunch):
        return X.image_shape[1:]
    if len(X.shape) == 3:
        # Three axes are gray images, or signals of a network on signals.
        classifier, _ = unwrap(estimator, X[:1])
        image_shape = getattr(classifier, "image_shape_", None)
        return tuple(X.shape[2:]) if image_shape is not None and len(image_shape) == 2 else tuple(X.shape[1:])
    return tuple(X.shape[2:])


def _true_masks(X, masks, spatial):
    """True masks of all rows, and the rows that have something inside."""
    masks = _given(X, "artifact_masks", masks)
    if masks is None:
        raise ValueError(
            "masks: give masks of some rows, or an ImageBunch with the field 'artifact_masks', to compare with"
        )
    source, present = as_masks(masks, spatial, "masks")
    if len(source) != len(X):
        raise ValueError(f"masks has {len(source)} rows, but X has {len(X)}")
    true = np.asarray(source) >= 0.5
    rows = np.flatnonzero(present & true.reshape(len(true), -1).any(axis=1))
    if len(rows) == 0:
        raise ValueError("masks: no row has a mask with anything inside")
    return true, rows


def _overlaps(predicted, true):
    """Intersection over union of each row."""
    predicted, true = (masks.reshape(len(masks), -1) for masks in (predicted, true))
    return (predicted & true).sum(axis=1) / (predicted | true).sum(axis=1)
