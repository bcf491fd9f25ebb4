"""What a refined classifier answers."""

from sklearn.utils.validation import check_is_fitted

from ..images import ImageBunch
from ._delegated_prediction import DelegatedPredictionMixin
from ._penalty_names import resolve_penalty
from ._steps import split_steps
from ._suggest_exemplars import suggest_exemplars


class RefinedPredictionMixin(DelegatedPredictionMixin):
    """Prediction and inspection of a meta-estimator with ``estimator_``; no masks are needed."""

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
