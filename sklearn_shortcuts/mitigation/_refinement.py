"""Training with a penalty, from scratch or from a trained network on."""

import numpy as np
from skorch.callbacks import GradientNormClipping

from ..neural._training import weight_fields
from ._balance import BalanceStrength

_RATIO = 1000.0  # what the weighted penalty is at first, in units of the loss, where no strength was given


def training_weights(weights, class_weight, encoding, y):
    """Weigh rows as the training loss does.

    Parameters
    ----------
    weights : Weights
        Given weights of the rows.
    class_weight : dict, "balanced" or None
        The classifier's.
    encoding : TargetEncoding
        Classes.
    y : ndarray of shape (n,) or (n, n_labels)
        Labels; those of rows without weight may be anything.

    Returns
    -------
    ndarray of shape (n,)
        Weights.
    """
    codes = encoding.encode_rows(y, weights.used)
    fields = weight_fields(weights, class_weight, encoding, codes, weights.used)
    return fields.get("sample_weight", np.ones(len(y)))


def train_with_penalty(model, penalty, rows, *, gradient_clip, epochs, lr, balance=None):
    """Train a classifier with a penalty; afterwards its parameters are those it had before.

    Parameters
    ----------
    model : NeuralImageClassifier
        Fitted, to be trained on, or not.
    penalty : Regularization
        Penalty; its ``first_epoch`` is 0 for training from scratch.
    rows : tuple of ImageBunch, array-like and dict
        Images, labels and further arguments of ``fit``.
    gradient_clip : float or None
        Largest norm of the gradient.
    epochs : int or None
        Epochs of training on; None takes the classifier's.
    lr : float or None
        Learning rate of training on; None takes the classifier's.
    balance : skorch.callbacks.Callback, default=None
        What sets the strength of a penalty that has none; by default :class:`BalanceStrength`.

    Returns
    -------
    RegularizationTerm
        The penalty as it was trained with.
    """
    refining = penalty.first_epoch > 0
    own = model.get_params(deep=False)
    callbacks = list(model.callbacks or [])
    if gradient_clip is not None:
        callbacks.append(("explanation_gradient_clip", GradientNormClipping(gradient_clip)))
    callbacks.append(("explanation_strength", BalanceStrength(_RATIO) if balance is None else balance))
    # The held-out loss knows nothing of the shortcut: the best epoch would be the last one without penalty.
    model.set_params(penalty=penalty, callbacks=callbacks, warm_start=refining, early_stopping=False)
    if refining:
        model.set_params(max_epochs=epochs or model.max_epochs, lr=lr or model.lr)
    images, y, options = rows
    model.fit(images, y, **options)
    term, model.net_.penalty_ = model.net_.penalty_, None
    model.set_params(**own)
    return term


def history_table(model, term):
    """Give the epochs of a classifier that was trained by :func:`train_with_penalty`.

    Parameters
    ----------
    model : NeuralImageClassifier
        Fitted classifier.
    term : RegularizationTerm
        What that gave.

    Returns
    -------
    DataFrame
        Its history with the columns ``phase`` and ``strength`` added.
    """
    history = model.history_.copy()
    n_before = term.spec.first_epoch
    penalized = history["epoch"] > n_before
    history.insert(1, "phase", np.where(penalized, "refined" if n_before else "regularized", "unrefined"))
    place = history.columns.get_loc("train_loss") + 1
    for name in ("train_penalty", "train_criterion"):
        if name not in history:  # the first epoch with penalty was interrupted
            history.insert(place, name, np.nan)
    # Without a penalty all of the loss is the criterion's.
    history["train_criterion"] = np.where(penalized, history["train_criterion"], history["train_loss"])
    history["train_penalty"] = np.where(penalized, history["train_penalty"], 0.0)
    strengths = [term.strength_in(epoch) for epoch in history["epoch"]]
    history.insert(history.columns.get_loc("train_penalty") + 1, "strength", strengths)
    return history
