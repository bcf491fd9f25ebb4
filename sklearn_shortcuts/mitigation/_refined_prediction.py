"""What a refined classifier answers."""

from sklearn.utils.validation import check_is_fitted

from ..images import ImageBunch
from ._penalty_names import resolve_penalty
from ._steps import split_steps
from ._suggest_exemplars import suggest_exemplars


class RefinedPredictionMixin:
    """Prediction and inspection of a meta-estimator with ``estimator_``."""

    def predict(self, X):
        """Predict classes or labels.

        Parameters
        ----------
        X : ImageBunch, Tensor or array-like of shape (n, n_features), (n, H, W), (n, C, T) or (n, C, H, W)
            Images; masks are not needed.

        Returns
        -------
        ndarray of shape (n,) or (n, n_labels)
            The most probable class, or 1 for every label whose probability exceeds one half.
        """
        check_is_fitted(self)
        return self.estimator_.predict(X)

    def predict_proba(self, X):
        """Give the probabilities of the classes or labels.

        Parameters
        ----------
        X : ImageBunch, Tensor or array-like of shape (n, n_features), (n, H, W), (n, C, T) or (n, C, H, W)
            Images; masks are not needed.

        Returns
        -------
        ndarray of shape (n, n_classes) or (n, n_labels)
            Probabilities in the order of ``classes_`` or ``label_names_``.
        """
        check_is_fitted(self)
        return self.estimator_.predict_proba(X)

    def decision_function(self, X):
        """Give the logits.

        Parameters
        ----------
        X : ImageBunch, Tensor or array-like of shape (n, n_features), (n, H, W), (n, C, T) or (n, C, H, W)
            Images; masks are not needed.

        Returns
        -------
        ndarray of shape (n,), (n, n_classes) or (n, n_labels)
            Logit of the second of two classes against the first, or one logit per class or label.
        """
        check_is_fitted(self)
        return self.estimator_.decision_function(X)

    def embed(self, X):
        """Give the features from which the network's last layer makes its logits.

        Parameters
        ----------
        X : ImageBunch, Tensor or array-like of shape (n, n_features), (n, H, W), (n, C, T) or (n, C, H, W)
            Images; masks are not needed.

        Returns
        -------
        ndarray of shape (n, n_embedding), dtype float32
            Input of the last layer.
        """
        check_is_fitted(self)
        before, classifier = split_steps(self.estimator_)
        return classifier.embed(X if before is None else before.transform(X))

    def suggest_exemplars(self, X, y=None, k=5, *, masks=None):
        """Find rows whose explanations, as the network before the penalty gives them, are good and bad.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W) or (n, C, T)
            Rows to choose from.
        y : array-like of shape (n,) or (n, n_labels), default=None
            True classes; by default the bunch's field ``target``.
        k : int, default=5
            Number of pairs.
        masks : array-like of shape (n, H, W) or (n, T), or list with ``None`` entries, default=None
            Masks; by default the bunch's field that ``mask_field`` names.

        Returns
        -------
        SuggestedExemplars
            Row numbers ``good`` and ``bad``, which a further fit takes as ``exemplars``, and the ``scores`` of all
            rows; see :func:`suggest_exemplars`.
        """
        check_is_fitted(self)
        before, classifier = split_steps(getattr(self, "unrefined_", self.estimator_))
        X = X if before is None else before.transform(X)
        if masks is None and self.mask_field != "masks" and isinstance(X, ImageBunch):
            masks = X.get(self.mask_field)
        penalty = resolve_penalty(self.penalty)
        penalty = penalty if getattr(penalty, "needs_exemplars", False) else None
        return suggest_exemplars(classifier, X, y, k, masks=masks, penalty=penalty, mask_role=self.mask_role)
