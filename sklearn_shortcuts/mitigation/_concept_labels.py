"""Labels of an artifact, and the directions of a concept that is fitted to them."""

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted, has_fit_parameter


def check_artifact(artifact, n_rows):
    """Check labels of an artifact.

    Parameters
    ----------
    artifact : array-like of shape (n,) or (n, n_artifacts), or None
        1 with the artifact, 0 without it, a degree in between, or -1 where it is unknown.
    n_rows : int
        Number of rows.

    Returns
    -------
    labels : ndarray of shape (n,) or (n, n_artifacts), dtype float64, or None
        The same.
    known : ndarray of bool of shape (n,) or None
        Rows of which all labels are known.

    Raises
    ------
    ValueError
        If a label is something else, or there are not as many as rows.
    """
    if artifact is None:
        return None, None
    given = np.asarray(artifact)
    if given.ndim not in (1, 2) or len(given) != n_rows:
        raise ValueError(f"artifact has the shape {given.shape}, but must have one label for each of {n_rows} rows")
    try:
        labels = given.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError("artifact must hold numbers: 1 with it, 0 without it, -1 where it is unknown") from error
    per_row = labels.reshape(len(labels), -1)
    wrong = ~((per_row == -1) | ((per_row >= 0) & (per_row <= 1)))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(
            f"artifact: row {row} has {per_row[row, column]:g}, but labels are 1 with the artifact, 0 without it, a "
            f"degree in between, or -1 where it is unknown"
        )
    return labels, (per_row >= 0).all(axis=1)


def is_fitted(concept):
    """Whether a concept can be used as it is."""
    if concept is None:
        return False
    try:
        check_is_fitted(concept)
    except NotFittedError:
        return False
    return True


def fit_concept(concept, features, artifact, *, y, sample_weight):
    """Give a concept, fitted to the rows whose labels are known if it is not fitted yet.

    Parameters
    ----------
    concept : estimator
        With ``components_`` or ``coef_`` once it is fitted; a copy of one that is not fitted is.
    features : callable
        Called as ``features(rows)`` with the numbers of rows; gives their features, shape (n, n_features).
    artifact : ndarray of shape (n,) or (n, n_artifacts), or None
        Checked labels. A concept that learns without any, such as a principal component, needs none.
    y : ndarray of shape (n,) or (n, n_labels)
        Classes of the diagnosis, for a concept with a ``scope``.
    sample_weight : ndarray of shape (n,) or None
        Weights; rows of weight 0 are left out.

    Returns
    -------
    estimator
        Fitted.

    Raises
    ------
    ValueError
        If labels are needed and not given.
    """
    if is_fitted(concept):
        return concept.estimator if isinstance(concept, FrozenEstimator) else concept
    concept = clone(concept)
    weighted = sample_weight is not None and has_fit_parameter(concept, "sample_weight")
    used = np.arange(len(y)) if sample_weight is None else np.flatnonzero(sample_weight > 0)
    if artifact is None:
        tags = get_tags(concept)
        if tags.target_tags.required or tags.estimator_type is not None:
            raise ValueError(
                f"artifact: {type(concept).__name__} needs to know which rows have the artifact: give "
                f"fit(..., artifact=...) or an ImageBunch with the field, or a concept that is already fitted"
            )
        return concept.fit(features(used), **({"sample_weight": sample_weight[used]} if weighted else {}))
    used = used[(artifact[used].reshape(len(used), -1) >= 0).all(axis=1)]
    if len(used) == 0:
        raise ValueError("artifact: it is unknown for all rows, so that no concept can be fitted to it")
    options = {}
    if getattr(concept, "scope", None) is not None:
        options["target"] = y[used]
    if weighted:
        options["sample_weight"] = sample_weight[used]
    labels = artifact[used]
    # Soft labels are floats; classes need not be.
    labels = labels.astype(int) if np.isin(labels, (0, 1)).all() else labels
    return concept.fit(features(used), labels, **options)


def directions(concept, n_features):
    """Give the directions of a fitted concept.

    Parameters
    ----------
    concept : estimator
        With ``components_``, or ``coef_``.
    n_features : int
        Number of features that the directions are used with.

    Returns
    -------
    ndarray of shape (n_directions, n_features)
        Orthonormal rows, as they are if they are that already.

    Raises
    ------
    ValueError
        If it has none, or they are of other features.
    """
    found = getattr(concept, "components_", None)
    found = getattr(concept, "coef_", None) if found is None else found
    if found is None:
        raise ValueError(f"concept: {type(concept).__name__} has neither components_ nor coef_, thus no direction")
    found = np.atleast_2d(np.asarray(found, dtype=np.float64))
    if found.shape[1] != n_features:
        raise ValueError(
            f"concept: its directions are of {found.shape[1]} features, but there are {n_features}; fit it on the "
            f"features of the same layer"
        )
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    if not lengths.all():
        raise ValueError("concept: one of its directions is 0")
    found = found / lengths
    if np.allclose(found @ found.T, np.eye(len(found)), rtol=0, atol=1e-10):
        return found
    _, sizes, rows = np.linalg.svd(found, full_matrices=False)
    return rows[sizes > 1e-10 * sizes[0]]


def artifact_levels(concept, basis, project, artifact, used):
    """Give the mean projections of rows with the artifact.

    Parameters
    ----------
    concept : estimator
        Fitted; its ``artifact_levels_`` are taken if it has them for the same directions.
    basis : ndarray of shape (n_directions, n_features)
        Orthonormal directions.
    project : callable
        Gives the projections of rows on them, shape (n, n_directions).
    artifact : ndarray of shape (n,) or (n, n_artifacts), or None
        Checked labels.
    used : ndarray of int
        Rows with a positive weight.

    Returns
    -------
    ndarray of shape (n_directions,)
        Means.

    Raises
    ------
    ValueError
        If nothing tells them.
    """
    levels = getattr(concept, "artifact_levels_", None)
    own = getattr(concept, "components_", None)
    if levels is not None and own is not None and np.shape(own) == basis.shape and np.allclose(own, basis):
        return np.asarray(levels, dtype=np.float64)
    if artifact is None:
        raise ValueError(
            f"level='artifact': {type(concept).__name__} does not know at which level rows with the artifact are: give "
            f"fit(..., artifact=...), or choose level='random'"
        )
    degrees = artifact[used].reshape(len(used), -1).max(axis=1)
    rows = used[degrees > 0]
    if len(rows) == 0:
        raise ValueError("level='artifact': no row has the artifact")
    return np.average(project(rows), axis=0, weights=degrees[degrees > 0])
