"""Studies whose classifiers learn a planted artifact: generated and real radiographs, generated and real ECGs."""

from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import GroupShuffleSplit
from skorch.callbacks import LRScheduler

from sklearn_shortcuts.datasets import ArtifactInjector, load_study, make_chest_phantoms, make_ecg
from sklearn_shortcuts.images import ImageBunch
from sklearn_shortcuts.neural import ECGResNet, NeuralImageClassifier

from ._concept_networks import ResNet18, VGGLike, ViTSmall

_LOOKS = {
    "timestamp": {"scale": 2.0},
    "microscope": {"scale": 0.9},
    "lead_noise": {"sampling_rate": 100},
    "amplified_beat": {"sampling_rate": 100},
}
_SIZE = 48
_LENGTH = 500  # samples of an ECG: the first five seconds


@dataclass(frozen=True)
class ConceptStudy:
    """Rows of one seed.

    Attributes
    ----------
    train : ImageBunch
        Rows to train on, with the fields ``target``, ``artifact``, ``artifact_masks``, ``twin`` and ``groups``; only
        rows of class 1 have the artifact.
    validation, attacked_validation : ImageBunch
        The same further rows of training patients, none and all of them with the artifact, to choose settings by.
    clean, attacked : ImageBunch
        The same test rows, none and all of them with the artifact; both with its ``artifact_masks``.
    """

    train: ImageBunch
    validation: ImageBunch
    attacked_validation: ImageBunch
    clean: ImageBunch
    attacked: ImageBunch


@dataclass(frozen=True)
class Architecture:
    """A network and how it is trained.

    Attributes
    ----------
    module : ModuleSpec
        Its description.
    training : dict
        Parameters of the classifier.
    layers : tuple of str
        Layers in which the concept can be corrected: early, middle and late.
    """

    module: object
    training: dict
    layers: tuple

    def fit(self, study, seed):
        """Train a classifier.

        Parameters
        ----------
        study : ConceptStudy
            Rows.
        seed : int
            Decides initial weights and order.

        Returns
        -------
        NeuralImageClassifier
            Fitted; whatever goes on with it has a constant learning rate.
        """
        # The learning rate falls to zero: the state of the last epoch is then a typical one.
        falling = LRScheduler("CosineAnnealingLR", T_max=self.training["max_epochs"])
        classifier = NeuralImageClassifier(
            self.module,
            optimizer="adam",
            batch_size=32,
            normalize="channel",
            callbacks=[("falling_lr", falling)],
            random_state=seed,
            **self.training,
        )
        return classifier.fit(study.train, study.train.target).set_params(callbacks=None)


IMAGE_NETWORKS = {
    "VGG-like": Architecture(VGGLike(), {"lr": 1e-3, "max_epochs": 15}, ("block2", "block3", "last")),
    "ResNet-18": Architecture(ResNet18(), {"lr": 5e-4, "max_epochs": 10}, ("layer2", "layer3", "last")),
    "ViT-small": Architecture(
        ViTSmall(), {"lr": 1e-3, "max_epochs": 20}, ("stem", "transformer.encoder.layers.encoder_layer_0", "last")
    ),
}
SIGNAL_NETWORKS = {
    "1-D residual net": Architecture(
        ECGResNet((1, 1, 1), width=24, expansion=1), {"lr": 1e-3, "max_epochs": 15}, ("stage2", "stage3", "pool")
    ),
}


def phantom_study(seed, artifact, n_train=600, n_test=400):
    """Generated radiographs with a faint sign.

    Parameters
    ----------
    seed : int
        Decides everything.
    artifact : str
        Kind of artifact.
    n_train, n_test : int
        Rows.

    Returns
    -------
    ConceptStudy
        The study.
    """
    rows = make_chest_phantoms(n_train + n_test, size=_SIZE, sign_contrast=0.15, random_state=seed)
    rows = ImageBunch(np.asarray(rows), target=rows.target, groups=rows.groups)
    return _plant(rows[:n_train], rows[n_train:], artifact, 0.5, seed)


def radiograph_study(seed, artifact, folder):
    """Radiographs of children with and without pneumonia.

    Parameters
    ----------
    seed : int
        Decides the split by patients and the artifacts.
    artifact : str
        Kind of artifact.
    folder : Path
        Folder of the study ``cxr_age``.

    Returns
    -------
    ConceptStudy
        The study.
    """
    study = load_study(folder, query="source == 'kermany'", size=_SIZE)
    pneumonia = (np.asarray(study.target) == "pneumonia").astype(np.int64)
    rows = ImageBunch(np.clip(np.asarray(study), 0, 1), target=pneumonia, groups=study.groups)
    return _plant(*_split(rows, seed), artifact, 0.7, seed)


def generated_ecg_study(seed, artifact, n_train=800, n_test=400):
    """Generated ECGs with a raised ST segment.

    Parameters
    ----------
    seed : int
        Decides everything.
    artifact : str
        Kind of artifact.
    n_train, n_test : int
        Rows.

    Returns
    -------
    ConceptStudy
        The study.
    """
    rows = make_ecg(n_train + n_test, length=_LENGTH, random_state=seed)
    rows = ImageBunch(np.asarray(rows), target=rows.target, groups=rows.groups, signal=True)
    return _plant(rows[:n_train], rows[n_train:], artifact, 0.5, seed)


def ecg_study(seed, artifact, folder):
    """ECGs of PTB-XL, normal or not.

    Parameters
    ----------
    seed : int
        Decides the split by patients and the artifacts.
    artifact : str
        Kind of artifact.
    folder : Path
        Folder of the study ``ecg_ptbxl500``.

    Returns
    -------
    ConceptStudy
        The study.
    """
    study = load_study(
        folder,
        array="ptbxl_100hz_500.npz",
        array_key="signal_uV",
        index="npz_index",
        axes="NTC",
        scale=1e-3,
        target=False,
    )
    abnormal = (study.metadata["superclass"] != "NORM").to_numpy().astype(np.int64)
    signals = np.asarray(study)[:, :, :_LENGTH]
    rows = ImageBunch(signals, target=abnormal, groups=study.groups, signal=True)
    return _plant(*_split(rows, seed), artifact, 0.5, seed)


def _split(rows, seed, share=1 / 3):
    splitter = GroupShuffleSplit(1, test_size=share, random_state=seed)
    first, second = next(splitter.split(rows, groups=rows.groups))
    return rows[first], rows[second]


def _plant(train, test, artifact, share, seed):
    look = _LOOKS.get(artifact, {})
    train, validation = _split(train, seed, 0.25)
    injector = ArtifactInjector(artifact, probability={0: 0.0, 1: share}, random_state=2 * seed, **look)
    everywhere = ArtifactInjector(artifact, random_state=2 * seed + 1, **look).fit(test)
    planted = injector.inject(train, train.target)
    return ConceptStudy(planted, *_both(validation, everywhere), *_both(test, everywhere))


def _both(rows, everywhere):
    attacked = everywhere.attack(rows)
    return rows.with_fields(artifact_masks=attacked.artifact_masks), attacked
