"""What a benchmark of mitigations needs of a study: rows with and without the association, masks, a network."""

from dataclasses import dataclass

import numpy as np

from sklearn_shortcuts.images import ImageBunch
from sklearn_shortcuts.neural import NeuralImageClassifier


@dataclass(frozen=True)
class ShortcutStudy:
    """Rows to train and test on, made for one seed.

    All bunches have the fields ``target``, ``masks`` (what the annotators marked) and ``roi`` (bool, where the true
    sign can be: for scores of maps, and for :class:`~sklearn_shortcuts.preprocessing.ROIMasker`).

    Attributes
    ----------
    train : ImageBunch
        Rows in which the shortcut goes with the class.
    correlated : ImageBunch
        Test rows in which it does so too.
    decorrelated : ImageBunch
        Test rows in which it does not.
    clean_train, clean_test : ImageBunch
        Rows to train and test a network that never met the association.
    network : NeuralImageClassifier
        What is trained.
    mask_role : {"avoid", "attend"}
        Whether ``masks`` are where not to look or where to look.
    refine_lr : float
        Learning rate of whatever goes on from the trained network.
    refine_epochs : int
        Epochs of the same.
    exchange : {"place", "region"}
        How regions are exchanged between rows, see :func:`~sklearn_shortcuts.metrics.swap_regions`.
    """

    train: ImageBunch
    correlated: ImageBunch
    decorrelated: ImageBunch
    clean_train: ImageBunch
    clean_test: ImageBunch
    network: NeuralImageClassifier
    mask_role: str
    refine_lr: float
    refine_epochs: int
    exchange: str

    def exchangeable(self, bunch):
        """Give the rows with a mask in each, so that artifacts can be exchanged with their absence.

        Rows without an artifact get the mask of a row, drawn at random, that has one.
        """
        masks = np.array(bunch.masks)
        empty = ~masks.any(axis=(1, 2))
        donors = np.random.default_rng(0).choice(np.flatnonzero(~empty), size=int(empty.sum()))
        masks[empty] = masks[donors]
        return bunch.with_fields(masks=masks)
