"""One training of a region audit: fit on one masking of the training rows, score every masking of the test rows."""

from dataclasses import dataclass, field

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from ..metrics._label_scores import label_scores
from ._embedding_similarity import embed


@dataclass
class Training:
    """What one worker needs.

    Attributes
    ----------
    estimator : classifier
        Clone of its own, to be fitted here.
    bunch : ImageBunch
        All rows.
    target : Target
        Labels of all rows.
    train, test : ndarray of int
        Rows.
    fold : int
        For messages.
    masking : str
        Name of what is trained on.
    maskers : dict of str to ROIMasker
        By masking: what is trained on, and everything that is tested on.
    tested : list of str
        Maskings that are tested on.
    embedded : list of str
        Maskings whose test rows are embedded.
    array_shape : tuple of int or None
        Shape of a row if the estimator gets plain arrays; None if it gets bunches.
    fit_parameters : dict of str to ndarray
        Further arguments of ``fit``, one value per row.
    """

    estimator: object
    bunch: object
    target: object
    train: np.ndarray
    test: np.ndarray
    fold: int
    masking: str
    maskers: dict
    tested: list
    embedded: list
    array_shape: tuple | None
    fit_parameters: dict = field(default_factory=dict)


def train_and_test(job):
    """Fit and score.

    Parameters
    ----------
    job : Training
        What to do.

    Returns
    -------
    scores : dict of str to ndarray of shape (n_test, n_labels)
        By test masking.
    embeddings : dict of str to ndarray of shape (n_test, n_features)
        By test masking.
    """
    scores, embeddings = {}, {}
    try:
        masker = job.maskers[job.masking]
        rows = _as_given(masker.fit_transform(job.bunch[job.train]), job)
        options = {name: values[job.train] for name, values in job.fit_parameters.items()}
        job.estimator.fit(rows, job.target.y[job.train], **options)
        for name in job.tested:
            tester = job.maskers[name]
            if name != job.masking:
                tester.fit(job.bunch[job.train])
            rows = _as_given(tester.transform(job.bunch[job.test]), job)
            scores[name] = label_scores(job.estimator, rows, job.target)
            if name in job.embedded:
                embeddings[name] = embed(job.estimator, rows)
    except Exception as error:
        error.add_note(f"(in fold {job.fold} of the audit, trained on the masking {job.masking!r})")
        raise
    for name, values in scores.items():
        wrong = ~np.isfinite(values).all(axis=1)
        if wrong.any():
            raise ValueError(
                f"{type(job.estimator).__name__}, trained on {job.masking!r}, gives scores that are not finite for "
                f"{int(wrong.sum())} test rows of {name!r} in fold {job.fold}, the first of them row "
                f"{int(job.test[np.flatnonzero(wrong)[0]])}; training probably diverged"
            )
    return scores, embeddings


def fit_weights(estimator, bunch, array_shape):
    """Give the bunch's sample weights under the name that ``fit`` takes them by.

    Parameters
    ----------
    estimator : estimator
        A classifier, or a pipeline, whose last step then is asked.
    bunch : ImageBunch
        Rows.
    array_shape : tuple of int or None
        None if the estimator gets bunches: weights then travel inside them, to whatever step reads them there.

    Returns
    -------
    dict of str to ndarray of shape (n,)
        Such as ``{"logisticregression__sample_weight": weights}``; empty if there are none.
    """
    if "sample_weight" not in bunch.fields:
        return {}
    name = _weight_parameter(estimator)
    if name is None and array_shape is not None:
        raise ValueError(f"{type(estimator).__name__} takes no sample_weight in fit; leave sample_weight out")
    return {} if name is None else {name: np.asarray(bunch.get("sample_weight"))}


def seed_where_unset(estimator, seed):
    """Set every ``random_state`` that is None, at whatever depth; what the user has fixed stays.

    Parameters
    ----------
    estimator : estimator
        Changed in place.
    seed : int
        Value.

    Returns
    -------
    estimator
        The same one.
    """
    for name, value in sorted(estimator.get_params(deep=True).items()):
        if value is None and (name == "random_state" or name.endswith("__random_state")):
            estimator.set_params(**{name: seed})
    return estimator


def _as_given(bunch, job):
    """Hand rows over as a bunch or as the kind of array that the audit was given."""
    return bunch if job.array_shape is None else np.asarray(bunch).reshape(len(bunch), *job.array_shape)


def _weight_parameter(estimator):
    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        inner = _weight_parameter(last)
        return None if inner is None else f"{name}__{inner}"
    return "sample_weight" if has_fit_parameter(estimator, "sample_weight") else None
