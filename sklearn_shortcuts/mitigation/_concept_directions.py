"""The concept that an edit removes: taken as it is, or fitted; its directions and the levels along them."""

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import _is_fitted

from ..latent import ConceptVector

_ORTHONORMAL = 1e-8


def is_fitted_concept(concept):
    """Whether a concept is to be used as it is: in a FrozenEstimator, or fitted by itself."""
    if concept is None:
        return False
    return isinstance(concept, FrozenEstimator) or not isinstance(concept, BaseEstimator) or _is_fitted(concept)


def fit_concept(concept, rows, *, default, layer=None):
    """Fit a copy of a concept, or give a fitted one.

    Parameters
    ----------
    concept : estimator, FrozenEstimator or None
        What was given.
    rows : ConceptRows or None
        Rows to fit to; not needed by a fitted one.
    default : str
        Kind of the ConceptVector that takes the place of None.
    layer : str, default=None
        Name of the layer, for concepts that can tell it.

    Returns
    -------
    estimator
        Fitted.
    """
    if is_fitted_concept(concept):
        return concept.estimator if isinstance(concept, FrozenEstimator) else concept
    return rows.fit(prepare_concept(concept, default, layer))


def prepare_concept(concept, default, layer=None):
    """Copy an unfitted concept or detector and tell it the layer, if it does not know it."""
    concept = ConceptVector(default) if concept is None else clone(concept)
    if layer is not None and concept.get_params(deep=False).get("layer", layer) is None:
        concept.set_params(layer=layer)
    return concept


def concept_directions(concept, level="clean"):
    """Give orthonormal directions of a fitted concept, and the levels along them.

    Parameters
    ----------
    concept : estimator
        Fitted, with ``components_`` or ``coef_``, and the levels.
    level : {"clean", "artifact", "zero"}, default="clean"
        Mean of the rows without the concept, of those with it, or 0.

    Returns
    -------
    vectors : ndarray of shape (k, n_features)
        Directions.
    levels : ndarray of shape (k,)
        Levels.

    Raises
    ------
    ValueError
        If the concept has no directions or levels, or the directions depend on each other.
    """
    name = type(concept).__name__
    vectors = getattr(concept, "components_", None)
    vectors = getattr(concept, "coef_", None) if vectors is None else vectors
    if vectors is None:
        raise ValueError(f"concept: {name} has neither components_ nor coef_; give a ConceptVector or a subspace")
    vectors = np.atleast_2d(np.asarray(vectors, dtype=np.float64))
    if level == "zero":
        levels = np.zeros(len(vectors))
    else:
        given = getattr(concept, f"{level}_levels_", None)
        given = getattr(concept, f"mean_{level}_", None) if given is None else given
        if given is None:
            raise ValueError(
                f"concept: {name} has neither {level}_levels_ nor mean_{level}_, the level to bring rows to"
            )
        levels = np.atleast_1d(np.asarray(given, dtype=np.float64))
    if vectors.ndim != 2 or levels.shape != (len(vectors),):
        raise ValueError(f"concept: {name} has directions of shape {vectors.shape}, but levels of {levels.shape}")
    if not (np.isfinite(vectors).all() and np.isfinite(levels).all()):
        raise ValueError(f"concept: {name} has directions or levels that are not finite")
    if np.abs(vectors @ vectors.T - np.eye(len(vectors))).max() > _ORTHONORMAL:
        if np.linalg.matrix_rank(vectors) < len(vectors):
            raise ValueError(f"concept: the {len(vectors)} directions of {name} depend on each other; leave some out")
        orthogonal, triangle = np.linalg.qr(vectors.T)
        # Rows at the old levels along the old directions are at these along the new ones.
        levels = np.linalg.solve(triangle.T, levels)
        vectors = orthogonal.T
    return vectors, levels
