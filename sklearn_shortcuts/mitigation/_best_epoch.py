"""Which epoch of a training is kept, without knowing any subgroups."""

import copy
import warnings

import numpy as np
from skorch.callbacks import Callback

from ..metrics import class_difference, worst_class_accuracy
from ..neural._net import interruptible

MONITORS = ("worst_class", "class_difference")


class KeepBestEpoch(Callback):
    """Score the network on held-out rows after every epoch and go back to the best one; not public.

    An epoch whose score is NaN is never the best; if all are, the last one stays, with a warning.

    Parameters
    ----------
    score : callable
        ``score(net) -> float``, greater is better.
    """

    def __init__(self, score):
        self.score = score

    def __deepcopy__(self, memo):
        return KeepBestEpoch(self.score)  # nothing is kept before training, and the rows need not be copied

    def on_train_begin(self, net, **kwargs):
        self.best_, self.state_, self.n_scored_ = -np.inf, None, 0

    def on_epoch_end(self, net, **kwargs):
        with interruptible():
            value = self.score(net)
        try:
            value = float(value)
        except (TypeError, ValueError):
            raise ValueError(
                f"monitor must give one number per epoch, but gave {value!r} in epoch {len(net.history)}"
            ) from None
        net.history.record("monitor", value)
        self.n_scored_ += 1
        if value > self.best_:
            self.best_, self.state_ = value, copy.deepcopy(net.module_.state_dict())

    def on_train_end(self, net, **kwargs):
        if self.state_ is not None:
            net.module_.load_state_dict(self.state_)
        elif self.n_scored_:
            warnings.warn(
                f"monitor gave no number that can be compared after any of {self.n_scored_} epochs; the network of "
                f"the last one is kept",
                UserWarning,
                stacklevel=2,
            )
        self.state_ = None


def make_monitor(monitor, stage_one, X, y):
    """Make the score that epochs are compared by.

    Parameters
    ----------
    monitor : {"worst_class", "class_difference"} or callable
        What is scored; a callable as ``monitor(estimator, X, y)``.
    stage_one : NeuralImageClassifier
        Trained network that training goes on from, or that is trained anew.
    X : ImageBunch
        Held-out rows.
    y : ndarray of shape (n,) or (n, n_labels)
        Their labels.

    Returns
    -------
    callable
        ``score(classifier) -> float``, greater is better.
    """
    if callable(monitor):
        return lambda classifier: monitor(classifier, X, y)
    labels, decided = flatten_labels(y), lambda classifier: flatten_labels(classifier.predict(X))
    if monitor == "worst_class":
        return lambda classifier: worst_class_accuracy(labels, decided(classifier))
    # Equal accuracies are also those of a network that guesses: what is worse than half-way to chance does not count.
    n_classes = len(np.unique(labels))
    chance = 0.5 if np.ndim(y) == 2 else 1 / n_classes
    floor = (chance + _balanced_accuracy(labels, decided(stage_one))) / 2

    def score(classifier):
        predicted = decided(classifier)
        difference = class_difference(labels, predicted)
        return -difference if _balanced_accuracy(labels, predicted) >= floor else -difference - n_classes**2

    return score


def flatten_labels(y):
    """Write labels as one class per decision, so that presence and absence of every label are classes of their own."""
    y = np.asarray(y)
    if y.ndim == 1:
        return y
    return (2 * np.arange(y.shape[1]) + (y > 0)).reshape(-1)


def _balanced_accuracy(labels, predicted):
    return float(np.mean([(predicted[labels == label] == label).mean() for label in np.unique(labels)]))
