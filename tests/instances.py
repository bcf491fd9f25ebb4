"""One cheap instance (or more) of every public estimator, and the checks that cannot pass, each with its reason."""

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sklearn_shortcuts.audit import (
    AcquisitionProbe,
    ConceptPrototypes,
    NeuronOutlierDetector,
    RegionSensitivity,
    SpectralRelevanceAnalysis,
)
from sklearn_shortcuts.datasets import ArtifactInjector, ArtifactTransplant
from sklearn_shortcuts.images import ImageLoader
from sklearn_shortcuts.latent import ConceptLocalizer, ConceptSubspace, ConceptVector, LayerFeatures
from sklearn_shortcuts.mitigation import (
    AClArCClassifier,
    BAMHardSampleMiner,
    ConceptProjector,
    ConceptRegularizedLogisticRegression,
    ExplanationRegularizedClassifier,
    GroupDROClassifier,
    HardSampleSelector,
    JTTClassifier,
    LastLayerRetraining,
    LfFClassifier,
    PClArC,
    RRClArCClassifier,
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
from sklearn_shortcuts.review import ConceptAnnotator


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


class LeastVariance(BaseEstimator):
    """A concept that needs no labels, which the data of scikit-learn's checks do not have: the narrowest direction.

    Directions in which the rows do not vary at all do not count: which of them is the narrowest were up to rounding.
    """

    def fit(self, X, y=None, sample_weight=None):
        X = np.asarray(X, dtype=np.float64)
        covariance = np.cov(X.T, aweights=np.ones(len(X)) if sample_weight is None else sample_weight, ddof=0)
        variances, directions = np.linalg.eigh(np.atleast_2d(covariance))
        narrowest = np.argmax(variances > 1e-8 * variances[-1])
        self.components_ = directions[:, [narrowest]].T
        return self


class RowParity:
    """Two kinds of rows, told by a digit of their first value."""

    def __call__(self, X):
        return np.floor(1000 * np.asarray(X, dtype=np.float64)[:, 0]) % 2

    def __repr__(self):
        return "RowParity()"


class OddRows(RowParity):
    """Artifact by content and apart from the class: the rows of odd parity, or every third one if all are alike."""

    def __call__(self, X):
        odd = super().__call__(X)
        return odd if np.ptp(odd) > 0 else np.arange(len(odd)) % 3 == 0

    def __repr__(self):
        return "OddRows()"


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
        "ConceptPrototypes": [
            ConceptPrototypes(n_prototypes, covariance=covariance, n_components=n_components, random_state=0)
            for n_prototypes, covariance, n_components in (
                (4, "shrunk", None),
                ("bic", "diag", 2),
                (2, "spherical", None),
            )
        ],
        "NeuronOutlierDetector": [
            NeuronOutlierDetector(),
            NeuronOutlierDetector("extreme_activation", n_neighbors=3),
            NeuronOutlierDetector("extreme_activation_pair"),
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
        "ConceptSubspace": [
            ConceptSubspace(),
            ConceptSubspace("svm", rank=2, tol=1e-12),
            ConceptSubspace("ridge", rank="auto", cv=2),
        ],
        "RRClArCClassifier": [
            RRClArCClassifier(
                NeuralImageClassifier(small, precision="float64", max_epochs=25, lr=0.03, random_state=0),
                concept=LeastVariance(),
                lambda_=0.1,
                refine_epochs=4,
            )
        ],
        "AClArCClassifier": [
            AClArCClassifier(
                NeuralImageClassifier(small, precision="float64", max_epochs=25, lr=0.03, random_state=0),
                concept=LeastVariance(),
                level="random",
                refine_epochs=4,
            )
        ],
        "ConceptRegularizedLogisticRegression": [
            ConceptRegularizedLogisticRegression(method, concept=LeastVariance(), lambda_=0.1, tol=1e-12)
            for method in ("rr_clarc", "a_clarc")
        ],
        "SpectralRelevanceAnalysis": [
            SpectralRelevanceAnalysis(n_references=1, random_state=0),
            SpectralRelevanceAnalysis(n_references=1, metric="euclidean", clusterer="agglomerative", random_state=0),
        ],
        "ConceptVector": [
            ConceptVector(kind, tol=1e-12, random_state=0)
            for kind in ("pattern", "svm", "ridge", "lasso", "logistic", "neuron", "nmf")
        ],
        "ConceptProjector": [
            ConceptProjector(artifact=OddRows()),
            ConceptProjector(
                condition="concept",
                false_positive_rate=0.5,
                calibration=2,
                level="zero",
                artifact=OddRows(),
                random_state=0,
            ),
        ],
        "PClArC": [
            PClArC(
                NeuralImageClassifier(small, precision="float64", max_epochs=25, lr=0.03, random_state=0),
                concept=ConceptVector("neuron"),  # other directions of so few channels take the classes along
                artifact=OddRows(),
                **options,
            )
            for options in (
                {},
                {"condition": "concept", "false_positive_rate": 0.5, "calibration": 2, "random_state": 0},
            )
        ],
        "ConceptAnnotator": [
            ConceptAnnotator(random_state=0),
            ConceptAnnotator(LogisticRegression(), strategy="mixed"),
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
        "ArtifactTransplant": [ArtifactTransplant(random_state=0)],
        "ConceptLocalizer": [ConceptLocalizer(NeuralImageClassifier(SmallCNN(width=4, depth=1)), ConceptVector())],
        "LayerFeatures": [
            LayerFeatures(NeuralImageClassifier(SmallCNN(width=4, depth=1)), kind=kind, target="predicted")
            for kind in ("activation", "relevance")
        ],
        "ResolutionNoiseMatcher": [ResolutionNoiseMatcher(random_state=0)],
        "SliceSampler": [SliceSampler(random_state=0)],
    }


def expected_failures(estimator):
    """Checks that cannot pass, with the reason."""
    if isinstance(estimator, AClArCClassifier):
        return {
            "check_sample_weight_equivalence_on_dense_data": (
                "every row draws its level by chance, and rows that are repeated draw one for each time"
            )
        }
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
    if isinstance(estimator, ConceptSubspace):
        return {"check_classifiers_classes": "of the labels -1 and 1 the first means that nothing is known"}
    if isinstance(estimator, ConceptVector) and estimator.kind == "nmf":
        return {
            "check_sample_weight_equivalence_on_dense_data": (
                "which rows are held out is drawn, among more rows where rows are repeated in place of weights"
            ),
            "check_decision_proba_consistency": "its data are negative whatever the tags say",
        }
    if isinstance(estimator, ConceptRegularizedLogisticRegression) and estimator.method == "a_clarc":
        return {"check_classifiers_train": "its rows have two features, one direction of which is taken away"}
    if isinstance(estimator, ConceptAnnotator):
        return {
            "check_classifiers_classes": "-1 is no class but means unknown, as in scikit-learn's SelfTrainingClassifier"
        }
    if isinstance(estimator, PClArC) and estimator.condition == "concept":
        return {
            "check_sample_weight_equivalence_on_dense_data": (
                "the threshold is an order statistic of rows in drawn folds, more of them where rows are repeated"
            )
        }
    if isinstance(estimator, LastLayerRetraining):
        return {
            "check_sample_weight_equivalence_on_dense_data": (
                "which rows are held out is drawn, among more rows where rows are repeated in place of weights"
            )
        }
    return {}
