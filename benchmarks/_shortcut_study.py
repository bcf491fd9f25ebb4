"""What a benchmark of mitigations needs of a study: rows with and without the association, masks, a network."""

from dataclasses import dataclass

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
