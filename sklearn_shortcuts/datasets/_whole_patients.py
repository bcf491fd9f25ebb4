"""Which part of a study each patient goes to: greedy placement, then moves and exchanges."""

import numpy as np

_MOST_KINDS = 150  # of patients for which exchanges are tried: their number grows with the square
_MOST_STEPS = 2000


def assign_patients(counts, shares, rng):
    """Place patients such that parts have their shares of rows and strata.

    Parameters
    ----------
    counts : ndarray of shape (n_patients, n_strata + 1)
        Rows of every patient in every stratum; the last column counts all its rows.
    shares : ndarray of shape (n_parts,)
        Shares of the rows, with sum 1.
    rng : numpy.random.Generator
        Decides among equals.

    Returns
    -------
    ndarray of int of shape (n_patients,)
        Part of every patient. The rows of a part differ from its share by at most those of the largest patient.

    Raises
    ------
    ValueError
        If a part stays without a patient.
    """
    if len(counts) < len(shares):
        raise ValueError(f"there are {len(counts)} patients for {len(shares)} parts; give fewer fractions")
    totals = counts.sum(axis=0)
    counts, totals = counts[:, totals > 0], totals[totals > 0]
    weights = 1 / np.outer(shares, totals)
    largest = counts[:, -1].max()
    deficits = np.outer(shares, totals)  # rows that a part still lacks, by stratum
    parts = np.empty(len(counts), dtype=np.intp)
    order = rng.permutation(len(counts))
    order = order[np.lexsort((-counts[order].std(axis=1), -counts[order, -1]))]
    ties = rng.random((len(counts), len(shares)))
    for patient in order:
        rows = counts[patient]
        # Filling only parts that lack rows, and first those that lack more than the largest patient has, keeps every
        # part within the largest patient of its share, whatever is chosen among them: the deficits sum to what is
        # left, so none can stay above that number while others overflow.
        lacking = deficits[:, -1]
        allowed = lacking > largest if (lacking > largest + 1e-9).any() else lacking > 1e-9
        change = ((rows**2 - 2 * deficits * rows) * weights).sum(axis=1)
        change = np.where(allowed, change + 1e-12 * ties[patient], np.inf)
        parts[patient] = np.argmin(change)
        deficits[parts[patient]] -= rows
    _fill_empty(parts, counts, deficits, largest, rng)
    _improve(parts, counts, deficits, weights, largest, rng)
    return parts


def _fill_empty(parts, counts, deficits, largest, rng):
    """Give every part a patient."""
    for part in range(len(deficits)):
        if (parts == part).any():
            continue
        # The fullest part that has several gives its smallest, if that leaves it within bounds.
        givers = [giver for giver in np.argsort(deficits[:, -1]) if np.count_nonzero(parts == giver) > 1]
        patients = rng.permutation(np.flatnonzero(parts == givers[0])) if givers else []
        patient = patients[np.argmin(counts[patients, -1])] if givers else None
        if not givers or deficits[givers[0], -1] + counts[patient, -1] > largest + 1e-9:
            raise ValueError(
                f"part {part} would have no patient: the largest patients have more rows than that fraction; give "
                "larger fractions"
            )
        deficits[givers[0]] += counts[patient]
        deficits[part] -= counts[patient]
        parts[patient] = part


def _improve(parts, counts, deficits, weights, largest, rng):
    """Move and exchange patients as long as the deviation falls; sizes stay within bounds.

    Patients with the same rows are alike, so that only kinds of patients are compared.
    """
    kinds, kind = np.unique(counts, axis=0, return_inverse=True)
    kind = kind.reshape(-1)
    nobody = np.zeros((1, counts.shape[1]))
    order = rng.permutation(len(parts))
    pairs = [(a, b) for a in range(len(deficits)) for b in range(len(deficits)) if a != b]
    for _ in range(_MOST_STEPS):
        present = [np.unique(kind[parts == part]) for part in range(len(deficits))]
        best_change, best = -1e-9, None
        for a, b in pairs:
            is_small = max(len(present[a]), len(present[b])) <= _MOST_KINDS
            back = np.vstack([nobody, kinds[present[b]]]) if is_small else nobody
            moved = kinds[present[a]][:, None] - back[None]  # net rows that go from a to b
            linear = 2 * (deficits[a] * weights[a] - deficits[b] * weights[b])
            change = (moved * (moved * (weights[a] + weights[b]) + linear)).sum(axis=2)
            size_a, size_b = deficits[a, -1] + moved[..., -1], deficits[b, -1] - moved[..., -1]
            change[np.maximum(np.abs(size_a), np.abs(size_b)) > largest + 1e-9] = np.inf
            if np.count_nonzero(parts == a) == 1:
                change[:, 0] = np.inf  # the last patient may only be exchanged
            i, j = np.unravel_index(np.argmin(change), change.shape)
            if change[i, j] < best_change:
                returned = present[b][j - 1] if j else None
                best_change, best = change[i, j], (a, b, present[a][i], returned, moved[i, j])
        if best is None:
            return
        a, b, gone, returned, net = best
        patients = [order[(parts[order] == a) & (kind[order] == gone)][0]]
        if returned is not None:
            patients.append(order[(parts[order] == b) & (kind[order] == returned)][0])
        parts[patients] = (b, a)[: len(patients)]
        deficits[a] += net
        deficits[b] -= net
