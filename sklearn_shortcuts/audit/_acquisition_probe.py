"""The audit before any training: can the scanner, hospital or view be told from the pixels, and does it matter?"""

from functools import partial
from numbers import Integral, Real

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context, clone
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits

from .._random_state import draw_seed, make_random_state
from ..images import cache_bunch
from ..metrics import holm_correction
from ..neural._inputs import check_images
from ..preprocessing import AcquisitionFeatures
from ._acquisition_balance import acquisition_probabilities, adjusted_columns, weigh, weigh_permuted
from ._acquisition_linear import cross_fit, fit_linear, null_areas, permutation_pvalue
from ._acquisition_network import cross_fit_network, default_network
from ._acquisition_null import PatientPermutations, warn_if_few
from ._acquisition_rows import (
    as_given,
    check_enough,
    read_acquisition,
    read_covariates,
    read_label,
)
from ._acquisition_tables import Ratings, association_table, confusion_table, risk_table
from ._acquisition_verdict import judge
from ._folds import make_folds, number_patients
from ._region_rows import gather_rows, in_memory
from ._region_training import fit_weights, seed_where_unset


class AcquisitionProbe(ClassifierMixin, BaseEstimator):
    """Find out, before anything is trained, whether images tell how they were acquired, and whether that matters.

    A network that can tell the scanner, hospital or view of an image, in a study where these go with the label, will
    use them. The probe predicts the acquisition, out of fold and with patients kept together, by a linear classifier on
    features that are known to differ between scanners, by a network, or both; says which features give it away; and
    measures how closely it goes with the label. Covariates such as age are balanced first, so that anatomy does not
    pass for a scanner.

    Parameters
    ----------
    estimator : classifier, default=None
        Network of the network probe: any classifier with ``predict_proba``. None means the network of the study [1]_
        with Adam and random flips (:class:`~sklearn_shortcuts.neural.ManufacturerCNN`), for signals
        :class:`~sklearn_shortcuts.neural.ECGResNet`. It is cloned, never fitted itself.
    method : {"fast", "network", "both"}, default="fast"
        Logistic regression on ``features``, which takes seconds to a minute, a network, or both.
    features : transformer, default=None
        Makes one row of numbers of each image for the fast probe, without looking at the acquisition; None means
        :class:`~sklearn_shortcuts.preprocessing.AcquisitionFeatures`. A network trained on something else will do too.
        It is fitted once, on all rows.
    cv : int, splitter or iterable of (train, test), default=5
        Number of stratified, shuffled folds that keep patients together; or a splitter that tests every row at most
        once.
    n_permutations : int, default=199
        Times that the fast probe, and each feature family by itself, is fitted to acquisitions permuted between
        patients. The smallest possible p-value is one over one more than these.
    adjust_for_target : bool, default=False
        Balance the label too, and permute within it: for acquisitions that go with the label because sick patients
        are imaged otherwise, where a probe may see the disease and not the scanner.
    confidence_level : float, default=0.95
        Of all intervals; the verdict tests at what it leaves.
    evidence : bool, default=True
        Probe the feature families one by one.
    cache_folder : path-like, default=None
        Folder in which images are kept that are decoded for a network; None means a temporary one.
    n_jobs : int, default=None
        Trainings at a time, as in joblib: None means 1 and -1 one per core.
    random_state : int, RandomState instance or None, default=None
        Decides folds, permutations, bootstrap samples, and every ``random_state`` of estimator and features that is
        None.

    Attributes
    ----------
    scores_ : DataFrame
        One row per probe ("fast", "network"): ``accuracy``, ``balanced_accuracy`` and macro-averaged one-vs-rest
        ``auc``, each with ``_low`` and ``_high``, ``chance_accuracy`` (share of the commonest acquisition), ``pvalue``
        against chance, and ``pvalue_holm``, corrected for the number of probes.
    recall_ : DataFrame
        By probe and acquisition: ``recall``, ``low``, ``high`` and the number of rows and patients.
    confusion_ : dict of str to DataFrame
        By probe: numbers of rows, true acquisitions by predicted ones.
    errors_ : DataFrame
        By probe, covariate and band of it (the label too, where it is known): ``error``, ``low``, ``high``.
    evidence_ : DataFrame or None
        By feature family: number of features, ``auc`` of the family alone with interval, ``auc_without`` it, the
        ``drop`` from all features to these with interval, permutation ``pvalue`` of the family alone and
        ``pvalue_holm``. None without a fast probe, or where there is one family only.
    association_ : DataFrame or None
        By label: Cramér's V of acquisition and label without bias, its interval, ``pvalue`` of a score test by patients
        and ``pvalue_holm``. None where no label is known. Of several classes each is taken against the rest.
    shortcut_risk_ : DataFrame or None
        By label: ``auc`` with interval of the label predicted, out of fold, from the out-of-fold probabilities of the
        acquisition and nothing else; ``auc_true`` from the true acquisition; and ``risk``, ``(2 AUC - 1) V``, a
        heuristic for ranking with the AUC of the acquisition.
    verdict_ : str
        One sentence with the numbers that decide, and what to do.
    acquisition_told_ : bool
        Whether the acquisition can be told from the images.
    tied_to_label_ : bool or None
        Whether it goes with the label; None where no label is known.
    predictions_ : DataFrame of shape (n_rows, n_probes * n_acquisitions)
        Out-of-fold probabilities; columns are probe and acquisition. NaN for rows that are never tested.
    fold_ : ndarray of int of shape (n_rows,)
        Fold in which a row was tested; -1 for rows that never were.
    weights_ : ndarray of shape (n_rows,) or None
        Weights that balance the covariates; None where there are none.
    spectra_ : DataFrame or None
        Mean share of the power (natural logarithm) by radial frequency in cycles per pixel, one column per acquisition;
        None where the features have no spectrum.
    null_ : ndarray of shape (n_permutations,) or None
        Areas of the fast probe under permutation.
    estimators_ : dict of str to classifier
        Probes fitted on all rows; ``predict`` asks the network if there is one.
    features_ : transformer or None
        Fitted features of the fast probe.
    classes_ : ndarray of shape (n_acquisitions,)
        Acquisitions, sorted.
    n_features_in_ : int
        Values per image.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Column names, if ``X`` was a DataFrame.
    image_shape_ : tuple of int
        Shape of one image.

    See Also
    --------
    AcquisitionProbeDisplay : Draws the result.
    cross_acquisition_matrix : Trains the task itself on one acquisition and tests it on the others.
    sklearn_shortcuts.preprocessing.AcquisitionBalancer : Makes acquisition and label independent for training.

    Notes
    -----
    The p-value of the fast probe comes from acquisitions permuted between patients: what a patient's rows were acquired
    with moves to another patient as a whole, to one with about as many rows: row by row if there are as many, and
    stretched or thinned out otherwise. Images permuted one by one would test whether patients are alike [2]_. With
    covariates, permutations are drawn in proportion to their probability given these, by logistic regression on the
    covariates and the squares of numbers [3]_, and weights are computed anew for each.

    A network is too slow to be fitted to permutations, and permuting its predictions instead is no test: each of them
    was made by a network that had seen the acquisitions of the other folds. Its p-value is the one-sided test of the
    area averaged over folds against 0.5, with DeLong's variance by patients, doubled because folds train on each
    other's test rows.

    With covariates all scores are weighted by overlap weights, and hold for rows as they would be if covariates and
    acquisition had nothing to do with each other. Weights of the rows that a bunch brings along are not used.

    That the acquisition can be told is the rule for scanners, not the exception; it is a hazard together with an
    association with the label.

    References
    ----------
    .. [1] Biondetti, Gauriau, Bridge, Lu and Andriole (2020). "Name that manufacturer". Relating image acquisition bias
       with task complexity when training deep learning models: experiments on head CT. arXiv:2008.08525.
    .. [2] Winkler, Webster, Vidaurre, Nichols and Smith (2015). Multi-level block permutation. NeuroImage 123, 253-268.
    .. [3] Berrett, Wang, Barber and Samworth (2020). The conditional permutation test for independence while
       controlling for confounders. Journal of the Royal Statistical Society B 82(1), 175-197.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.audit import AcquisitionProbe
    >>> from sklearn_shortcuts.datasets import apply_scanner, make_chest_phantoms
    >>> study, y = make_chest_phantoms(80, size=32, random_state=0, return_X_y=True)
    >>> scanner = np.where(np.random.default_rng(0).random(80) < 0.2 + 0.6 * y, "new", "old")
    >>> study = apply_scanner(study, scanner, {"old": {"noise": 0.05}, "new": {}}, random_state=0)
    >>> probe = AcquisitionProbe(n_permutations=19, random_state=0).fit(study, "scanner")
    >>> probe.acquisition_told_, probe.tied_to_label_
    (True, True)
    >>> print(probe.verdict_)
    The acquisition can be told from the images (fast probe: AUC ...
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "predict_proba"]), None],
        "method": [StrOptions({"fast", "network", "both"})],
        "features": [HasMethods(["fit_transform", "transform"]), None],
        "cv": [Interval(Integral, 2, None, closed="left"), HasMethods(["split"]), "array-like"],
        "n_permutations": [Interval(Integral, 1, None, closed="left")],
        "adjust_for_target": ["boolean"],
        "confidence_level": [Interval(Real, 0, 1, closed="neither")],
        "evidence": ["boolean"],
        "cache_folder": [str, HasMethods(["__fspath__"]), None],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator=None,
        *,
        method="fast",
        features=None,
        cv=5,
        n_permutations=199,
        adjust_for_target=False,
        confidence_level=0.95,
        evidence=True,
        cache_folder=None,
        n_jobs=None,
        random_state=None,
    ):
        self.estimator = estimator
        self.method = method
        self.features = features
        self.cv = cv
        self.n_permutations = n_permutations
        self.adjust_for_target = adjust_for_target
        self.confidence_level = confidence_level
        self.evidence = evidence
        self.cache_folder = cache_folder
        self.n_jobs = n_jobs
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, acquisition, *, y=None, groups=None, covariates=None):
        """Probe the acquisition, and judge.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, n_features), (n, H, W) or (n, C, H, W)
            Images or, in a bunch, signals.
        acquisition : array-like of shape (n,) or str
            Scanner, hospital, view or age band of every row, or the name of a field or metadata column of the bunch.
        y : array-like of shape (n,) or (n, n_labels) or str, default=None
            Label, or the name of a field or metadata column. None takes the bunch's field ``target``, if it has one;
            ``X.with_fields(target=None)`` has none.
        groups : array-like of shape (n,), default=None
            Patient of every row; by default the bunch's field. Folds, permutations and intervals keep patients
            together.
        covariates : DataFrame of shape (n, n_covariates), str or sequence of str, default=None
            What is to be balanced between the acquisitions, or names of metadata columns: age, sex, body size.

        Returns
        -------
        AcquisitionProbe
            The probe itself.

        Raises
        ------
        ValueError
            If there is one acquisition only, an acquisition has too few patients for the folds, covariates tell the
            acquisition, values are missing, or lengths differ.

        Warns
        -----
        UserWarning
            If too few patients can exchange their acquisitions for any small p-value, or a metadata column or field
            names patients who have several rows, but there are no groups.
        """
        bunch, self._array_shape = gather_rows(X, estimator=self, groups=groups)
        target = read_acquisition(acquisition, bunch, type(self).__name__)
        label = read_label(y, bunch, type(self).__name__)
        if self.adjust_for_target and label is None:
            raise ValueError("adjust_for_target needs the label: give y, or the bunch's field 'target'")
        covariates = read_covariates(covariates, bunch)
        patients = number_patients(bunch)
        if isinstance(self.cv, Integral):
            check_enough(target, patients, self.cv)
        generator = make_random_state(self.random_state)
        seed = draw_seed(generator)
        folds = make_folds(self.cv, target.positive, target.codes, patients, target.label_names, seed)
        self.classes_, self.fold_ = target.classes, folds.number
        adjusted = adjusted_columns(covariates, label if self.adjust_for_target else None)
        self.weights_ = weigh(target.codes, adjusted=adjusted, patients=patients)
        profile = _profile(target.codes, folds)
        units = np.arange(len(bunch)) if patients is None else patients
        ratings = Ratings(target, folds, patients, self.weights_, self.confidence_level, seed)

        probabilities, pvalues, self.estimators_ = {}, {}, {}
        self.features_ = self.evidence_ = self.spectra_ = self.null_ = None
        if self.method in ("fast", "both"):
            likely = acquisition_probabilities(target.codes, adjusted, patients)
            permutations = PatientPermutations(profile, units, likely)
            warn_if_few(permutations, 1 - self.confidence_level)
            with threadpool_limits(1, user_api="blas"):  # threads cost more than they save on matrices this small
                weighting = partial(weigh_permuted, adjusted=adjusted, patients=patients)
                probabilities["fast"], pvalues["fast"] = self._probe_fast(
                    bunch, ratings, profile, permutations, weighting, seed
                )
        if self.method in ("network", "both"):
            probabilities["network"] = self._probe_network(bunch, target, folds, seed)
        self._sum_up(ratings, probabilities, pvalues, covariates, label)
        self._compare_with_label(ratings, label, seed)
        self.acquisition_told_, self.tied_to_label_, self.verdict_ = judge(
            self.scores_,
            self.evidence_,
            self.association_,
            self.shortcut_risk_,
            confidence_level=self.confidence_level,
            is_balanced=self.weights_ is not None,
        )
        return self

    def predict(self, X):
        """Name the most probable acquisition of new rows.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, n_features), (n, H, W) or (n, C, H, W)
            Rows like those in ``fit``.

        Returns
        -------
        ndarray of shape (n,)
            Acquisitions.
        """
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    def predict_proba(self, X):
        """Give the probability of every acquisition, by the network if there is one and the fast probe otherwise.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, n_features), (n, H, W) or (n, C, H, W)
            Rows like those in ``fit``.

        Returns
        -------
        ndarray of shape (n, n_acquisitions)
            Probabilities in the order of ``classes_``.
        """
        check_is_fitted(self, "verdict_")
        rows = check_images(self, X, image_shape=None, precision="float32", reset=False)
        rows = rows.images if rows.bunch is None else as_given(rows.bunch, self._array_shape)
        if "network" in self.estimators_:
            return np.asarray(self.estimators_["network"].predict_proba(rows), dtype=np.float64)
        return self.estimators_["fast"].predict_proba(_as_numbers(self.features_.transform(rows), len(rows)))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def __sklearn_is_fitted__(self):
        return hasattr(self, "verdict_")

    # -- inside ----------------------------------------------------------------------------------------------------
    def _probe_fast(self, bunch, ratings, profile, permutations, weighting, seed):
        """Out-of-fold probabilities and p-value; fits the features, the evidence and the final probe."""
        self.features_ = seed_where_unset(
            clone(AcquisitionFeatures() if self.features is None else self.features), seed
        )
        measured = _as_numbers(self.features_.fit_transform(as_given(bunch, self._array_shape)), len(bunch))
        codes, n_classes = ratings.target.codes, len(self.classes_)
        families = np.asarray(getattr(self.features_, "families_", np.full(measured.shape[1], "features")))
        names = list(dict.fromkeys(families.tolist())) if self.evidence else []
        alone = [np.flatnonzero(families == name) for name in names] if len(names) > 1 else []
        sets = [np.arange(measured.shape[1]), *alone]
        _, train, test = _unpacked(profile)
        probabilities = [
            cross_fit(measured[:, columns], codes, self.weights_, n_classes, train, test) for columns in sets
        ]
        areas = ratings.areas(probabilities)
        null = self._null(measured, sets, profile, permutations, weighting, seed)
        self.null_ = null[:, 0]
        pvalues = permutation_pvalue(areas.mean, null)
        if alone:
            without = [
                cross_fit(np.delete(measured, columns, axis=1), codes, self.weights_, n_classes, train, test)
                for columns in alone
            ]
            self.evidence_ = self._evidence(ratings, probabilities, without, names, alone, pvalues[1:])
        self.spectra_ = self._spectra(measured, codes)
        counted = slice(None) if self.weights_ is None else self.weights_ > 0
        weights = None if self.weights_ is None else self.weights_[counted]
        model = fit_linear(measured[counted], self.classes_[codes[counted]], weights)
        self.estimators_["fast"] = model
        return probabilities[0], float(pvalues[0])

    def _null(self, measured, sets, profile, permutations, weighting, seed):
        sources = permutations.draw(self.n_permutations, np.random.RandomState(seed))
        n_parts = min(len(sources), 4 * effective_n_jobs(self.n_jobs))
        parts = Parallel(n_jobs=self.n_jobs)(
            delayed(null_areas)(
                measured, sets, [_unpacked(profile[source]) for source in part], weighting, len(self.classes_)
            )
            for part in np.array_split(sources, n_parts)
        )
        return np.concatenate(parts)

    def _evidence(self, ratings, probabilities, without, names, alone, pvalues):
        areas, level = ratings.areas([*probabilities, *without]), self.confidence_level
        records = []
        for number, (name, columns) in enumerate(zip(names, alone), start=1):
            left = number + len(names)
            low, high = areas.interval(number, level)
            drop_low, drop_high = areas.difference_interval(0, left, level)
            records.append(
                {
                    "family": name,
                    "n_features": len(columns),
                    "auc": areas.mean[number],
                    "low": low,
                    "high": high,
                    "auc_without": areas.mean[left],
                    "drop": areas.mean[0] - areas.mean[left],
                    "drop_low": drop_low,
                    "drop_high": drop_high,
                    "pvalue": pvalues[number - 1],
                }
            )
        table = pd.DataFrame(records).set_index("family")
        table["pvalue_holm"] = holm_correction(table["pvalue"].to_numpy())
        return table

    def _spectra(self, measured, codes):
        if not hasattr(self.features_, "get_feature_names_out"):
            return None
        start = "frequency__power_0"
        names = [str(name) for name in self.features_.get_feature_names_out()]
        columns = [number for number, name in enumerate(names) if name.startswith(start)]
        if not columns:
            return None
        frequencies = [float(names[column].removeprefix("frequency__power_")) for column in columns]
        means = [measured[codes == code][:, columns].mean(axis=0) for code in range(len(self.classes_))]
        return pd.DataFrame(
            np.transpose(means), pd.Index(frequencies, name="frequency"), pd.Index(self.classes_, name="acquisition")
        )

    def _probe_network(self, bunch, target, folds, seed):
        """Out-of-fold probabilities; fits the final network."""
        estimator = default_network(bunch) if self.estimator is None else self.estimator
        rows = bunch.with_fields(sample_weight=self.weights_)
        parameters = fit_weights(estimator, rows, self._array_shape)
        if not in_memory(rows.images):
            rows = cache_bunch(rows, self.cache_folder)
        probabilities, self.estimators_["network"] = cross_fit_network(
            seed_where_unset(clone(estimator), seed),
            rows,
            self._array_shape,
            target,
            folds,
            parameters,
            self.n_jobs,
        )
        return probabilities

    def _sum_up(self, ratings, probabilities, pvalues, covariates, label):
        scores, recalls, errors = {}, [], []
        covariates = covariates if label is None else covariates.join(_label_columns(label, covariates.columns))
        for probe, values in probabilities.items():
            scores[probe], recall, areas = ratings.scores(values)
            scores[probe]["pvalue"] = pvalues[probe] if probe in pvalues else areas.chance_pvalue(0)
            recalls += [{"probe": probe, **record} for record in recall]
            errors += [{"probe": probe, **record} for record in ratings.errors(values, covariates)]
        self.scores_ = pd.DataFrame.from_dict(scores, orient="index").rename_axis("probe")
        self.scores_["pvalue_holm"] = holm_correction(self.scores_["pvalue"].to_numpy())
        self.recall_ = pd.DataFrame(recalls).set_index(["probe", "acquisition"])
        columns = ["probe", "covariate", "band", "error", "low", "high", "n_rows"]
        self.errors_ = (pd.DataFrame(errors) if errors else pd.DataFrame(columns=columns)).set_index(columns[:3])
        self.confusion_ = {probe: confusion_table(ratings.target, values) for probe, values in probabilities.items()}
        self.predictions_ = pd.concat(
            {probe: pd.DataFrame(values, columns=self.classes_) for probe, values in probabilities.items()},
            axis=1,
            names=["probe", "acquisition"],
        )

    def _compare_with_label(self, ratings, label, seed):
        self.association_ = self.shortcut_risk_ = None
        if label is None:
            return
        self.association_ = association_table(
            ratings.target.codes, label, ratings.patients, self.confidence_level, seed
        )
        best = self.scores_["auc"].idxmax()
        self.shortcut_risk_ = risk_table(
            ratings.target,
            label,
            self.predictions_[best].to_numpy(),
            ratings.folds,
            ratings.patients,
            self.confidence_level,
            self.association_,
            self.scores_.loc[best, "auc"],
        )


def _profile(codes, folds):
    """What moves between patients: the acquisition, and by fold whether a row is trained on (1) or tested (2)."""
    profile = np.zeros((len(codes), 1 + len(folds)), dtype=np.int64)
    profile[:, 0] = codes
    for number, (train, test) in enumerate(folds.splits, start=1):
        profile[train, number], profile[test, number] = 1, 2
    return profile


def _unpacked(profile):
    return profile[:, 0], (profile[:, 1:] == 1).T, (profile[:, 1:] == 2).T


def _as_numbers(features, n_rows):
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2 or len(features) != n_rows:
        raise ValueError(f"features must be a table with one row per image, got shape {features.shape} for {n_rows}")
    wrong = ~np.isfinite(features).all(axis=1)
    if wrong.any():
        raise ValueError(
            f"the features of row {np.flatnonzero(wrong)[0]} contain NaN or infinity ({wrong.sum()} such rows); repair "
            "the image, or the transformer"
        )
    return features


def _label_columns(label, taken):
    """The label as columns beside the covariates, for the table of errors."""
    if label.kind != "multilabel":
        name = "target" if "target" not in taken else "target (label)"
        return pd.DataFrame({name: np.asarray(label.y)})
    names = [name if name not in taken else f"{name} (label)" for name in label.label_names]
    return pd.DataFrame(np.asarray(label.y), columns=names)
