"""What a meta-estimator answers through the classifier that it fitted."""

from sklearn.utils.validation import check_is_fitted

from ._steps import split_steps


class DelegatedPredictionMixin:
    """Prediction of a meta-estimator with ``estimator_``, a classifier or a pipeline that ends in one."""

    def predict(self, X):
        """Predict classes or labels.

        Parameters
        ----------
        X : ImageBunch, Tensor or array-like of shape (n, n_features), (n, H, W), (n, C, T) or (n, C, H, W)
            Images.

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
            Images.

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
            Images.

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
            Images.

        Returns
        -------
        ndarray of shape (n, n_embedding), dtype float32
            Input of the last layer.
        """
        check_is_fitted(self)
        before, classifier = split_steps(self.estimator_)
        return classifier.embed(X if before is None else before.transform(X))
