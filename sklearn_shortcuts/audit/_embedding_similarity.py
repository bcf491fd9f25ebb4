"""How far an embedding moves when a region is masked."""

import numpy as np
import pandas as pd


def find_embedder(estimator):
    """Say whether an estimator can embed rows.

    Parameters
    ----------
    estimator : estimator
        A classifier with ``embed``, a pipeline that ends in one, or a fitted search over either.

    Returns
    -------
    reason : str or None
        Why it cannot; None if it can.
    """
    last = _last(estimator)
    return None if hasattr(last, "embed") else f"{type(last).__name__} has no method 'embed'"


def embed(estimator, X):
    """Give the embedding of rows by a fitted estimator, through the steps of a pipeline.

    Parameters
    ----------
    estimator : fitted estimator
        See :func:`find_embedder`.
    X : rows
        Images.

    Returns
    -------
    ndarray of shape (n, n_features)
        Embedding.
    """
    if hasattr(estimator, "embed"):
        return np.asarray(estimator.embed(X))
    if hasattr(estimator, "best_estimator_"):
        return embed(estimator.best_estimator_, X)
    for _, step in estimator.steps[:-1]:
        if step not in (None, "passthrough"):
            X = step.transform(X)
    return embed(estimator.steps[-1][1], X)


def row_similarity(full, masked):
    """Compare the embeddings of the same rows of one model, as they are and masked.

    Parameters
    ----------
    full, masked : ndarray of shape (n, n_features)
        Embeddings.

    Returns
    -------
    rows : dict of ndarray of shape (n,)
        ``cosine``; ``centered_cosine``, with the mean of the full images taken off both; ``corrected_cosine``, which
        is 0 where a masked image is no closer to its own full image than to another one's, and 1 where they agree.
    whole : dict of float
        ``null_cosine``, the mean cosine of a full and a masked image of different rows; ``linear_cka`` [1]_.

    References
    ----------
    .. [1] Kornblith et al. (2019). Similarity of neural network representations revisited. ICML, equation 4.
    """
    full, masked = np.asarray(full, dtype=np.float64), np.asarray(masked, dtype=np.float64)
    unit_full, unit_masked = _unit(full), _unit(masked)
    cosine = (unit_full * unit_masked).sum(axis=1)
    n = len(full)
    null = (unit_full.sum(axis=0) @ unit_masked.sum(axis=0) - cosine.sum()) / (n * (n - 1)) if n > 1 else np.nan
    center = full.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        corrected = np.where(null < 1, (cosine - null) / (1 - null), np.nan)
    rows = {
        "cosine": cosine,
        "centered_cosine": (_unit(full - center) * _unit(masked - center)).sum(axis=1),
        "corrected_cosine": corrected,
    }
    return rows, {"null_cosine": float(null), "linear_cka": linear_cka(full, masked)}


def linear_cka(one, other):
    """Give the linear centered kernel alignment of two embeddings of the same rows, NaN if one is constant."""
    sizes = [np.linalg.norm(values) for values in (one, other)]
    one, other = one - one.mean(axis=0), other - other.mean(axis=0)
    if any(np.linalg.norm(values) <= 1e-12 * size for values, size in zip((one, other), sizes)):
        return float("nan")  # what is left of a constant is rounding
    if len(one) < one.shape[1]:  # the same number from the smaller matrices
        gram, other_gram = one @ one.T, other @ other.T
        above, below = (gram * other_gram).sum(), np.linalg.norm(gram) * np.linalg.norm(other_gram)
    else:
        above = np.linalg.norm(other.T @ one) ** 2
        below = np.linalg.norm(one.T @ one) * np.linalg.norm(other.T @ other)
    return float(above / below)


def similarity_table(embeddings, target, folds):
    """Sum up how close masked rows stay to their full images, over all rows and per class.

    Parameters
    ----------
    embeddings : list of dict of str to ndarray
        Per fold, the test rows' embeddings by masking; ``"all"`` is among them.
    target : Target
        Labels.
    folds : Folds
        Splits.

    Returns
    -------
    DataFrame
        One row per masking and class: number of rows, mean and standard deviation over rows of the cosines, and the
        null cosine and linear CKA averaged over folds (both belong to all rows together).
    """
    per_row, per_fold = [], []
    for (_, test), by_masking in zip(folds.splits, embeddings):
        for masking, masked in by_masking.items():
            if masking != "all":
                rows, whole = row_similarity(by_masking["all"], masked)
                per_row.append(pd.DataFrame({"masking": masking, "row": test, **rows}))
                per_fold.append({"masking": masking, **whole})
    means = pd.DataFrame(per_fold).groupby("masking").mean()
    records = []
    for masking, block in pd.concat(per_row, ignore_index=True).groupby("masking", sort=False):
        for name, chosen in _subsets(target):
            some = block[chosen[block["row"]]]
            record = {"masking": masking, "rows": name, "n": len(some)}
            for column in ("cosine", "centered_cosine", "corrected_cosine"):
                record[column], record[f"{column}_std"] = some[column].mean(), some[column].std()
            for column in ("null_cosine", "linear_cka"):
                record[column] = means.loc[masking, column] if name == "all" else np.nan
            records.append(record)
    return pd.DataFrame(records).set_index(["masking", "rows"])


def embedding_map(embeddings, test, random_state, max_rows=300):
    """Lay the embeddings of one fold's test rows out in two dimensions by t-SNE.

    Parameters
    ----------
    embeddings : dict of str to ndarray of shape (n, n_features)
        By masking.
    test : ndarray of int of shape (n,)
        Row numbers.
    random_state : int
        Decides the layout and, of many rows, which are shown.
    max_rows : int, default=300
        Rows shown at most.

    Returns
    -------
    DataFrame
        Columns ``row``, ``masking``, ``x`` and ``y``, the last two scaled to [0, 1].
    """
    from sklearn.manifold import TSNE

    shown = np.arange(len(test))
    if len(shown) > max_rows:
        shown = np.sort(np.random.RandomState(random_state).choice(len(test), max_rows, replace=False))
    points = np.concatenate([values[shown] for values in embeddings.values()]).astype(np.float64)
    placed = TSNE(
        perplexity=min(10.0, (len(points) - 1) / 3),
        init="pca" if points.shape[1] > 1 else "random",
        random_state=random_state,
    ).fit_transform(points)
    low, high = placed.min(axis=0), placed.max(axis=0)
    placed = (placed - low) / np.where(high > low, high - low, 1)
    return pd.DataFrame(
        {
            "row": np.tile(test[shown], len(embeddings)),
            "masking": np.repeat(list(embeddings), len(shown)),
            "x": placed[:, 0],
            "y": placed[:, 1],
        }
    )


def _subsets(target):
    yield "all", np.ones(len(target.positive), dtype=bool)
    if target.kind == "binary":
        for code, name in enumerate(target.classes.tolist()):
            yield name, target.codes == code
    else:
        for column, name in enumerate(target.label_names):
            yield name, target.positive[:, column]
        if target.kind == "multilabel":
            yield "none", ~target.positive.any(axis=1)


def _last(estimator):
    while True:
        if hasattr(estimator, "embed"):
            return estimator
        if hasattr(estimator, "steps"):
            estimator = estimator.steps[-1][1]
        elif hasattr(estimator, "estimator"):  # GridSearchCV and its kind
            estimator = estimator.estimator
        else:
            return estimator


def _unit(rows):
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
