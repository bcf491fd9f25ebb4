"""What a fitted classifier answers."""

import contextlib
import math
import threading

import numpy as np
import torch
from scipy.special import expit, log_expit, log_softmax, logsumexp, softmax
from sklearn.utils.validation import check_is_fitted

from ._structure import find_head


class PredictionMixin:
    """Prediction and inspection of a classifier with a trained ``net_``."""

    @property
    def module_(self):
        """The trained network, a ``torch.nn.Module``."""
        check_is_fitted(self)
        return self.net_.module_

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
        logits = self._logits(X)
        if self._encoding.kind != "binary":
            return logits
        return logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]

    def predict_proba(self, X):
        """Give the probabilities of the classes or labels.

        Parameters
        ----------
        X : ImageBunch, Tensor or array-like of shape (n, n_features), (n, H, W), (n, C, T) or (n, C, H, W)
            Images.

        Returns
        -------
        ndarray of shape (n, n_classes) or (n, n_labels)
            Probabilities in the order of ``classes_``, or of each label being present in the order of
            ``label_names_``.
        """
        logits = self._logits(X)
        if self._encoding.kind == "multilabel":
            return expit(logits)
        if logits.shape[1] == 1:
            return np.hstack([expit(-logits), expit(logits)])
        return softmax(logits, axis=1)

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
        logits = self._logits(X)
        if self._encoding.kind == "binary" and logits.shape[1] == 1:
            logits = np.hstack([np.zeros_like(logits), logits])
        return self._encoding.decode(logits)

    def embed(self, X):
        """Give the features from which the network's last layer makes its logits.

        Parameters
        ----------
        X : ImageBunch, Tensor or array-like of shape (n, n_features), (n, H, W), (n, C, T) or (n, C, H, W)
            Images.

        Returns
        -------
        ndarray of shape (n, n_embedding), dtype float32
            Input of the last linear layer (of the last convolution if there is none), averaged over positions if it
            has any.

        Raises
        ------
        ValueError
            If the network has neither a linear layer nor a convolution.
        """
        check_is_fitted(self)
        name, head = find_head(self.net_.module_)
        caller = threading.get_ident()
        seen = []

        def keep(layer, inputs):
            if threading.get_ident() == caller:  # others may predict with the same network meanwhile
                seen[:] = inputs[:1]

        def features(images):
            # Compiled code does not see the hook.
            with torch.compiler.set_stance("force_eager") if self.net_.compile else contextlib.nullcontext():
                self.net_.infer(images)
            if not seen:
                raise ValueError(f"embed: the last layer {name!r} of the network does not take part in its output")
            values = seen.pop()
            # Positions lie after the channels for convolutions, before the features for linear layers.
            axes = range(1, values.ndim - 1) if isinstance(head, torch.nn.Linear) else range(2, values.ndim)
            return (values.mean(tuple(axes)) if len(axes) else values).float()

        handle = head.register_forward_pre_hook(keep)
        try:
            return self._outputs(X, features)
        finally:
            handle.remove()

    def iter_batches(self, X, *, fields=(), batch_size=None, index=None):
        """Go through rows as the network sees them: on its device, scaled and normalized.

        Parameters
        ----------
        X : ImageBunch, Tensor or array-like of shape (n, n_features), (n, H, W), (n, C, T) or (n, C, H, W)
            Images.
        fields : sequence of str, default=()
            Fields of the bunch, or ``"has_mask"``, to bring along.
        batch_size : int, default=None
            Rows per batch; by default the estimator's.
        index : ndarray of int, default=None
            Numbers of the rows to go through; by default all of them.

        Yields
        ------
        dict
            ``"X"``, a tensor of shape (n, C, H, W) or (n, C, T) to call :attr:`module_` with, ``"index"``, the row
            numbers, and the fields.

        Raises
        ------
        ValueError
            If a field is missing.
        """
        check_is_fitted(self)
        rows = self._check_images(X)
        yield from map(self.net_.prepare, self.net_.batches(self._reader(rows, fields, index), batch_size))

    def _logits(self, X):
        """Logits, of mean probabilities where rows are drawn several times."""
        if self.n_draws == 1 or not getattr(getattr(X, "images", None), "redraws", False):
            return self._outputs(X, None)
        check_is_fitted(self)
        reader = self._reader(self._check_images(X))
        draws = [self._read_outputs(reader.redrawn(draw), None) for draw in range(self.n_draws)]
        if self._encoding.kind == "multilabel" or draws[0].shape[1] == 1:
            present, absent = (logsumexp([log_expit(sign * z) for z in draws], axis=0) for sign in (1, -1))
            return present - absent
        return logsumexp([log_softmax(logits, axis=1) for logits in draws], axis=0) - math.log(self.n_draws)

    def _outputs(self, X, function):
        check_is_fitted(self)
        return self._read_outputs(self._reader(self._check_images(X)), function)

    def _read_outputs(self, reader, function):
        return torch.cat(list(self.net_.outputs(reader, function))).numpy()
