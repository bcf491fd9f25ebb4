"""Chest radiographs with shortcuts: generated ones, and real ones with a planted patch or with their own confounder."""

import numpy as np
from sklearn.model_selection import GroupShuffleSplit

from sklearn_shortcuts.datasets import ArtifactInjector, load_study, make_chest_phantoms
from sklearn_shortcuts.images import ImageBunch
from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN

from ._shortcut_study import ShortcutStudy

_SIZE = 64
_PHANTOM_SIZE = 48


def phantom_study(seed, *, shortcut, n_train=400, n_test=500, max_epochs=15):
    """Generated radiographs in which a tube or a text goes with the sign in 95 % of the rows.

    Parameters
    ----------
    seed : int
        Decides everything.
    shortcut : str or dict
        What is planted, see :func:`~sklearn_shortcuts.datasets.make_chest_phantoms`.
    n_train, n_test : int
        Rows.
    max_epochs : int
        Epochs.

    Returns
    -------
    ShortcutStudy
        The study; masks are where the artifact is, empty where there is none.
    """

    def draw(n, part, prevalence, shortcut=shortcut):
        study = make_chest_phantoms(
            n,
            size=_PHANTOM_SIZE,
            sign_contrast=0.3,
            shortcut=shortcut,
            prevalence=prevalence,
            random_state=3 * seed + part,
        )
        return ImageBunch(
            np.asarray(study), target=study.target, masks=study.artifact_masks, roi=study.masks, groups=study.groups
        )

    return ShortcutStudy(
        train=draw(n_train, 0, 0.95),
        correlated=draw(n_test, 1, 0.95),
        decorrelated=draw(n_test, 2, 0.5),
        clean_train=draw(n_train, 0, 0.5, shortcut=None),
        clean_test=draw(n_test, 2, 0.5, shortcut=None),
        network=_network(seed, max_epochs),
        mask_role="avoid",
        refine_lr=1e-3,
        refine_epochs=max_epochs,
    )


def patch_study(seed, folder, *, n_train=None, max_epochs=15):
    """Children with and without pneumonia; a white square goes with pneumonia in 95 % of the training rows.

    Parameters
    ----------
    seed : int
        Decides the split by patients, the patches and the network's initial weights.
    folder : Path
        Folder of the study ``cxr_age``.
    n_train : int, default=None
        Rows to train on; by default two thirds.
    max_epochs : int
        Epochs.

    Returns
    -------
    ShortcutStudy
        The study; masks are where the patch is, empty where there is none.
    """
    bunch = _radiographs(folder, "source == 'kermany'")
    train, test = _split(bunch, seed, n_train)

    def plant(rows, share, seed):
        injector = ArtifactInjector("patch", probability={0: 1 - share, 1: share}, random_state=seed)
        planted = injector.inject(rows, rows.target)
        return planted.with_fields(masks=planted.artifact_masks, artifact_masks=None, artifact=None, twin=None)

    def clean(rows):
        return rows.with_fields(masks=np.zeros(rows.shape, dtype=bool))

    return ShortcutStudy(
        train=plant(train, 0.95, 3 * seed),
        correlated=plant(test, 0.95, 3 * seed + 1),
        decorrelated=plant(test, 0.5, 3 * seed + 2),
        clean_train=clean(train),
        clean_test=clean(test),
        network=_network(seed, max_epochs),
        mask_role="avoid",
        refine_lr=1e-3,
        refine_epochs=max_epochs,
    )


def age_study(seed, folder, *, n_train=None, max_epochs=15):
    """Pneumonia of children from one hospital against healthy adults from another; flipped groups to test.

    Parameters
    ----------
    seed : int
        Decides the split by patients and the network's initial weights.
    folder : Path
        Folder of the study ``cxr_age``.
    n_train : int, default=None
        Rows to train on; by default all of the two groups that are not for testing.
    max_epochs : int
        Epochs.

    Returns
    -------
    ShortcutStudy
        The study; masks are the lungs, drawn by people for the children and predicted for the adults. The network
        that never met the association learns from as many rows of all four groups.
    """
    bunch = _radiographs(folder, "source == 'kermany' or (source == 'nih_cxr14' and age_group == 'adult')")
    train, test = _split(bunch, seed, None)

    def sick_children(rows):
        return rows.target == (rows.metadata["source"] == "kermany").to_numpy()

    related = train[sick_children(train)]
    if n_train is not None:
        related = related[np.sort(np.random.default_rng(seed).permutation(len(related))[:n_train])]
    balanced = train[np.sort(np.random.default_rng(seed).permutation(len(train))[: len(related)])]
    return ShortcutStudy(
        train=related,
        correlated=test[sick_children(test)],
        decorrelated=test[~sick_children(test)],
        clean_train=balanced,
        clean_test=test[~sick_children(test)],
        network=_network(seed, max_epochs),
        mask_role="attend",
        refine_lr=1e-3,
        refine_epochs=max_epochs,
    )


def _radiographs(folder, query):
    """Read radiographs of sick and healthy with their lungs; those drawn by people go before predicted ones."""
    study = load_study(
        folder, masks=("mask", "mask_pred"), mask_threshold=200, query=f"label != 'covid' and ({query})", size=_SIZE
    )
    lungs = np.asarray(study.masks) >= 0.5
    return ImageBunch(
        np.asarray(study),
        target=(np.asarray(study.target) == "pneumonia").astype(np.int64),
        masks=lungs,
        roi=lungs,
        groups=study.groups,
        metadata=study.metadata[["source"]],
    )


def _split(bunch, seed, n_train):
    splitter = GroupShuffleSplit(1, test_size=1 / 3, random_state=seed)
    train, test = next(splitter.split(bunch, groups=bunch.groups))
    return bunch[train[:n_train]], bunch[test]


def _network(seed, max_epochs):
    return NeuralImageClassifier(
        SmallCNN(width=8),
        optimizer="adam",
        lr=3e-3,
        batch_size=32,
        max_epochs=max_epochs,
        normalize="channel",
        random_state=seed,
    )
