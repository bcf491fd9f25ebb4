"""A neural classifier and the transformers before it."""

from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from ..images import ImageBunch
from ..neural import NeuralImageClassifier
from ..neural._inputs import check_images


def unwrap(estimator):
    """Give the classifier or pipeline inside a fitted FrozenEstimator or meta-estimator, or what it is itself."""
    if isinstance(estimator, FrozenEstimator):
        estimator = estimator.estimator
    return getattr(estimator, "estimator_", estimator)


def split_steps(estimator, name="estimator"):
    """Separate the classifier from what stands before it.

    Parameters
    ----------
    estimator : NeuralImageClassifier or Pipeline
        What was given.
    name : str, default="estimator"
        Name of the argument, for messages.

    Returns
    -------
    before : Pipeline or None
        Transformers.
    classifier : NeuralImageClassifier
        Classifier.

    Raises
    ------
    ValueError
        If there is no neural classifier at the end.
    """
    before = None
    if isinstance(estimator, Pipeline):
        before, estimator = estimator[:-1] if len(estimator) > 1 else None, estimator[-1]
    if not isinstance(estimator, NeuralImageClassifier):
        raise ValueError(
            f"{name} must be a NeuralImageClassifier or a Pipeline that ends in one, but the classifier is a "
            f"{type(estimator).__name__}"
        )
    return before, estimator


def join_steps(template, before, classifier):
    """Put a fitted classifier behind its fitted transformers.

    Parameters
    ----------
    template : NeuralImageClassifier or Pipeline
        Whose form and names of steps the result gets.
    before : Pipeline or None
        Fitted transformers.
    classifier : NeuralImageClassifier
        Fitted classifier.

    Returns
    -------
    NeuralImageClassifier or Pipeline
        Fitted estimator.
    """
    if not isinstance(template, Pipeline):
        return classifier
    steps = [] if before is None else before.steps
    return Pipeline([*steps, (template.steps[-1][0], classifier)])


def as_bunch(recorder, classifier, X):
    """Check images and give them as a bunch, as the classifier will see them.

    Parameters
    ----------
    recorder : estimator
        Gets ``n_features_in_`` and ``feature_names_in_``.
    classifier : NeuralImageClassifier
        Says how images are read.
    X : ImageBunch, Tensor or array-like
        Images.

    Returns
    -------
    ImageBunch
        Rows.
    """
    rows = check_images(recorder, X, image_shape=classifier.image_shape, precision=classifier.precision, reset=True)
    if rows.bunch is not None:
        return rows.bunch
    return ImageBunch(rows.images.reshape(len(rows), *rows.image_shape), signal=len(rows.image_shape) == 2)
