"""One cheap instance (or more) of every public estimator, and the checks that cannot pass, each with its reason."""

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sklearn_shortcuts.audit import AcquisitionProbe, RegionSensitivity, SpectralRelevanceAnalysis
from sklearn_shortcuts.datasets import ArtifactInjector
from sklearn_shortcuts.images import ImageLoader
from sklearn_shortcuts.latent import ConceptVector, LayerFeatures
from sklearn_shortcuts.mitigation import (
    BAMHardSampleMiner,
    ExplanationRegularizedClassifier,
    GroupDROClassifier,
    HardSampleSelector,
    JTTClassifier,
    LastLayerRetraining,
    LfFClassifier,
)
from sklearn_shortcuts.neural import NeuralImageClassifier, Penalty, SmallCNN
from sklearn_shortcuts.preprocessing import (
    AcquisitionBalancer,
    AcquisitionFeatures,
    AcquisitionResampler,
    ComBat,
    HistogramMatcher,
    ResolutionNoiseMatcher,
    ROIMasker,
    SliceSampler,
)


class FirstHalf:
    """Segmenter that marks the first half of every row; unlike a function's, its name is the same in every process."""

    def __call__(self, images):
        images = np.asarray(images)
        masks = np.zeros((len(images), *images.shape[-2:]) if images.ndim > 2 else images.shape, dtype=bool)
        masks[..., : max(1, masks.shape[-1] // 2)] = True
        return masks

    def __repr__(self):
        return "FirstHalf()"


class EveryOtherPair:
    """Acquisition by position: the data of scikit-learn's checks have none, and clusters that tell everything."""

    def __call__(self, rows):
        n_rows = rows.shape[0] if hasattr(rows, "shape") else len(rows)  # sparse rows have no length
        return np.where(np.arange(n_rows) // 2 % 2, "GE", "Siemens")

    def __repr__(self):
        return "EveryOtherPair()"


class Flatten(TransformerMixin, BaseEstimator):
    """Give one row of numbers per image."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        X = np.asarray(X)
        return X.reshape(len(X), -1)

    def __sklearn_is_fitted__(self):
        return True


class RowParity:
    """Two kinds of rows, told by a digit of their first value."""

    def __call__(self, X):
        return np.floor(1000 * np.asarray(X, dtype=np.float64)[:, 0]) % 2

    def __repr__(self):
        return "RowParity()"


class SmallLogits(Penalty):
    """Penalty that needs no masks, which the data of scikit-learn's checks do not have."""

    def build(self, n_samples, n_outputs, kind):
        return self.penalties

    def penalties(self, module, batch):
        return batch["logits"].square().sum(1)


def instances():
    """Instances to check, by class name."""
    small = SmallCNN(width=4, depth=1)
    return {
        "NeuralImageClassifier": [
            NeuralImageClassifier(small, precision="float64", max_epochs=25, lr=0.03, batch_size=64, random_state=0),
            NeuralImageClassifier(small, max_epochs=25, lr=0.03, batch_size=64, random_state=0),
        ],
        "ROIMasker": [
            ROIMasker(segmenter=FirstHalf()),
            ROIMasker(on_missing="keep"),
            ROIMasker("background", fill="mean", segmenter=FirstHalf()),
            ROIMasker(margin=1, on_missing="fill"),
        ],
        "AcquisitionBalancer": [
            AcquisitionBalancer(strategy, acquisition=EveryOtherPair(), on_empty="drop", random_state=0)
            for strategy in ("weight", "match", "undersample", "oversample", "rake")
        ],
        "AcquisitionResampler": [
            AcquisitionResampler(strategy, acquisition=EveryOtherPair(), random_state=0)
            for strategy in ("undersample", "oversample", "match")
        ],
        "ComBat": [
            ComBat(RowParity()),
            ComBat(RowParity(), empirical_bayes=False, mean_only=True, on_unknown="error"),
        ],
        "HistogramMatcher": [
            HistogramMatcher(),
            HistogramMatcher("first", n_quantiles=3, region="foreground"),
            HistogramMatcher([0.0, 1.0, 3.0], per_channel=True),
        ],
        "RegionSensitivity": [
            RegionSensitivity(
                make_pipeline(Flatten(), LogisticRegression()),
                masker=ROIMasker(segmenter=FirstHalf()),
                cv=2,
                random_state=0,
            )
        ],
        "ExplanationRegularizedClassifier": [
            ExplanationRegularizedClassifier(
                NeuralImageClassifier(small, precision="float64", max_epochs=20, lr=0.03, random_state=0),
                penalty=SmallLogits(),
                lambda_=0.001,
                refine_epochs=4,
            )
        ],
        "BAMHardSampleMiner": [
            BAMHardSampleMiner(
                NeuralImageClassifier(small, precision="float64", max_epochs=25, lr=0.03, random_state=0),
                monitor=None,
                upweight=3,
                stage_two_epochs=4,
            )
        ],
        "HardSampleSelector": [
            HardSampleSelector(
                BAMHardSampleMiner(
                    NeuralImageClassifier(small, precision="float64", max_epochs=5, lr=0.03, random_state=0)
                ),
                **options,
            )
            for options in ({}, {"weighting": "rank", "selection": "top_k", "k": 1, "stratify_by_class": False})
        ],
        "GroupDROClassifier": [
            GroupDROClassifier(
                NeuralImageClassifier(small, precision="float64", max_epochs=25, lr=0.03, random_state=0)
            )
        ],
        "JTTClassifier": [
            JTTClassifier(
                NeuralImageClassifier(small, precision="float64", max_epochs=25, lr=0.03, random_state=0),
                upweight=2,
                monitor=None,
            )
        ],
        "LastLayerRetraining": [
            LastLayerRetraining(
                NeuralImageClassifier(small, precision="float64", max_epochs=25, lr=0.03, random_state=0),
                weighting=weighting,
                held_out_fraction=0.5,
                C=1.0,
                n_draws=2,
                gamma=0.5,
            )
            for weighting in ("group_balanced", "afr", "self")
        ],
        "LfFClassifier": [
            LfFClassifier(
                NeuralImageClassifier(small, precision="float64", max_epochs=25, lr=0.03, random_state=0), q=0.1
            )
        ],
        "SpectralRelevanceAnalysis": [
            SpectralRelevanceAnalysis(n_references=1, random_state=0),
            SpectralRelevanceAnalysis(n_references=1, metric="euclidean", clusterer="agglomerative", random_state=0),
        ],
        "ConceptVector": [
            ConceptVector(kind, tol=1e-12) for kind in ("pattern", "svm", "ridge", "lasso", "logistic", "neuron")
        ],
        "ImageLoader": [ImageLoader()],
        "AcquisitionFeatures": [AcquisitionFeatures()],
        "AcquisitionProbe": [
            AcquisitionProbe(features=Flatten(), cv=2, n_permutations=4, random_state=0),
            AcquisitionProbe(
                make_pipeline(Flatten(), LogisticRegression()), method="network", cv=2, n_permutations=4, random_state=0
            ),
        ],
    }


def image_instances():
    """Instances that take nothing but images, so that scikit-learn has no data for them, by class name."""
    return {
        "ArtifactInjector": [ArtifactInjector(random_state=0)],
        "LayerFeatures": [LayerFeatures(NeuralImageClassifier(SmallCNN(width=4, depth=1)))],
        "ResolutionNoiseMatcher": [ResolutionNoiseMatcher(random_state=0)],
        "SliceSampler": [SliceSampler(random_state=0)],
    }


def expected_failures(estimator):
    """Checks that cannot pass, with the reason."""
    if isinstance(estimator, NeuralImageClassifier) and estimator.precision == "float32":
        return {
            "check_sample_weight_equivalence_on_dense_data": (
                "weights and repetitions agree to the rounding of float32, 1e-6, where the check wants 1e-7"
            )
        }
    if isinstance(estimator, AcquisitionProbe):
        return {
            "check_fit_score_takes_y": "the second argument of fit is called acquisition, since y is the label",
            "check_fit2d_1feature": "its data have three rows of a class, of which two folds need four",
        }
    if isinstance(estimator, LastLayerRetraining):
        return {
            "check_sample_weight_equivalence_on_dense_data": (
                "which rows are held out is drawn, among more rows where rows are repeated in place of weights"
            )
        }
    return {}
