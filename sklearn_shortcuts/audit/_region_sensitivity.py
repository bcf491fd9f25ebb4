"""The audit by region masking: train and test with, without and only the region of interest."""

from numbers import Integral, Real

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.base import BaseEstimator, _fit_context, clone
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from .._random_state import draw_seed, make_random_state
from ..neural import NeuralImageClassifier
from ..preprocessing import ROIMasker
from ._embedding_similarity import embedding_map, find_embedder, similarity_table
from ._folds import make_folds, number_patients
from ._labels import make_target
from ._region_controls import choose_metadata, metadata_scores, size_scores
from ._region_maskings import CONTROLS, IMAGE_CONTROLS, MASKINGS, make_masker, region_sizes, with_masks
from ._region_rows import decoded_rows, gather_rows
from ._region_tables import (
    cells_table,
    dilated_name,
    dilation_table,
    fold_areas,
    matrix_table,
    rows_table,
    summary_table,
)
from ._region_training import Training, fit_weights, seed_where_unset, train_and_test
from ._region_verdict import judge


class RegionSensitivity(BaseEstimator):
    """Find out whether a classifier needs the region of interest, by training and testing with and without it.

    One clone of the classifier is trained per fold and masking, and tested on every masking of the left-out rows. A
    model that was trained and tested without the region and still ranks the rows well above chance has found a
    shortcut outside of it. What the masks themselves give away is measured beside it: models that see nothing but the
    outline of the mask, or another row's mask, or its size, or the metadata.

    Parameters
    ----------
    estimator : classifier, default=None
        Any scikit-learn classifier or pipeline with ``predict_proba`` or ``decision_function``; None means
        ``NeuralImageClassifier()``. It gets an :class:`~sklearn_shortcuts.images.ImageBunch` if ``fit`` does, and
        arrays of the shape that ``fit`` got otherwise. It is cloned, never fitted itself.
    maskings : sequence of str, default=("all", "roi", "background", "roi_box", "background_box")
        What models are tested on, and trained on unless ``train_maskings`` says otherwise: the full image, the region
        only, everything but the region, and both with the bounding box of the region in its place.
    train_maskings : sequence of str, default=None
        What models are trained on, out of ``maskings``; None means all of them. The number of trainings is the number
        of folds times these and the image controls.
    masker : ROIMasker, default=None
        Template whose ``margin``, fill, ``segmenter`` and ``on_missing`` are used for all maskings; None means
        ``ROIMasker()``. Its ``keep`` and ``shape`` are set by the audit.
    cv : int, splitter or iterable of (train, test), default=5
        Number of stratified, shuffled folds that keep patients (``groups``) together, for several labels too; or a
        splitter that tests every row at most once.
    controls : sequence of {"mask_only", "other_mask", "metadata", "kept_fraction"}, \
            default=("mask_only", "other_mask", "metadata", "kept_fraction")
        What else is tried: the mask as the only image, the region cut out by another row's mask, logistic regression
        on the metadata, and logistic regression on the size of the mask.
    dilations : sequence of int, default=None
        Margins in pixels (negative ones shrink the region) at which the full-image model is tested on the region and
        on the background; None leaves the curve out.
    interval : {"delong", "bootstrap"}, default="delong"
        Where the variance over test rows comes from: DeLong's formula (Obuchowski's with ``groups``), or resampling
        of patients within every fold. Both are enlarged for the dependence of folds, see Notes.
    confidence_level : float, default=0.95
        Of all intervals. The verdict is a one-sided test at half of the rest, 0.025 by default.
    n_resamples : int, default=2000
        Bootstrap samples; only used by ``interval="bootstrap"``.
    embeddings : bool, default=True
        Compare the embeddings of full and masked images, if the estimator has a method ``embed``.
    region_name : str, default="region of interest"
        What the region is called in sentences and figures, such as "lungs".
    n_jobs : int, default=None
        Trainings at a time, as in joblib: None means 1 and -1 one per core. Images that are read from disk are decoded
        once, whatever the number of trainings.
    cache_folder : path-like, default=None
        Folder in which decoded images are kept for this and later fits (see
        :func:`~sklearn_shortcuts.images.cache_bunch`); None means a temporary one that is removed after ``fit``.
    random_state : int, RandomState instance or None, default=None
        Decides the folds, every ``random_state`` of the estimator and masker that is None, the bootstrap and the
        layout of the embedding. All maskings of one fold start from the same seed.
    verbose : int, default=0
        Above 0 a progress bar over the trainings is shown.

    Attributes
    ----------
    matrix_ : DataFrame
        Mean AUC over folds; rows say what models were trained on, columns what they were tested on. With several labels
        (or classes, each against the rest) the rows have the label as an outer level.
    cells_ : DataFrame
        One row per label and cell of the matrix, and per control (``train`` and ``test`` are its name): mean ``auc``,
        ``std`` over folds, interval ``low`` to ``high``, one-sided ``pvalue_chance`` against 0.5, and
        ``difference_from_full`` with the two-sided ``pvalue_full`` against the full image; ``_holm`` marks the p-values
        that are corrected over all cells and labels.
    rows_ : DataFrame
        One row per label, cell and fold: ``train``, ``test``, ``label``, ``fold``, ``auc`` and the numbers of rows,
        positive rows and groups.
    summary_ : DataFrame
        By label and quantity: ``excess_no_roi`` (AUC without the region minus 0.5), ``shortcut_gap`` (full-image model:
        background minus region), ``roi_necessity`` (full-image model: full image minus background) and
        ``roi_sufficiency`` (full-image model: region divided by full image), with interval and p-value (one-sided for
        the first, that of no difference for the others).
    verdict_ : str
        One sentence with the numbers that decide.
    shortcut_found_ : bool
        Whether a shortcut was called for any label.
    verdicts_ : DataFrame
        Per label: ``status`` ("shortcut", "none", "undecided"), its evidence and its sentence.
    predictions_ : DataFrame of shape (n_rows, n_cells * n_labels)
        Out-of-fold scores; columns are train masking, test masking and label. NaN for rows that are never tested.
    fold_ : ndarray of int of shape (n_rows,)
        Fold in which a row was tested; -1 for rows that never were.
    dilation_curve_ : DataFrame or None
        AUC of the full-image model by ``kept`` region, ``margin`` and the class that was ``dilated`` ("all", "positive"
        or "negative" rows; the others keep the smallest margin). None without ``dilations``.
    embedding_similarity_ : DataFrame or None
        By masking and class: cosine similarity of the embeddings of masked and full images as it is, centered, and
        corrected for what different images have in common, with linear CKA.
    embedding_map_ : DataFrame or None
        Two-dimensional layout (t-SNE) of the embeddings of the first fold's test rows.
    embeddings_missing_ : str or None
        Why there are no embeddings; None if there are.
    controls_missing_ : dict
        Which controls could not be tried, and why.
    metadata_columns_ : list
        Columns that the metadata control read.
    metadata_left_out_ : dict
        Columns of a bunch's metadata that it did not read, and why: they name the patient, say the same as the label,
        or have too many or too few values. Columns given by ``fit(metadata=...)`` are all read.
    kept_fraction_ : ndarray of shape (n_rows,)
        Share of the image inside the region.
    label_names_ : list
        The positive class, all classes, or the labels.
    masker_ : ROIMasker
        The template that was used.
    n_features_in_ : int
        Values per image.
    image_shape_ : tuple of int
        Shape of one image.

    See Also
    --------
    RegionSensitivityDisplay : Draws the result.
    sklearn_shortcuts.preprocessing.ROIMasker : Does the masking.

    Notes
    -----
    AUCs are computed per fold and averaged, because scores of different models cannot be ranked together. Their
    variance is the sum of the folds' DeLong covariances (clustered by ``groups`` [3]_), doubled because folds that
    train on each other's test rows are not independent. Intervals and tests against chance are on the logit scale and
    hold for the models that were trained; ``std`` shows how much these differ. Differences and ratios of cells take the
    variance between folds with the correction of Nadeau and Bengio [2]_ where that is larger.

    A test of the full-image model on masked images alone cannot tell a shortcut from images unlike any it has seen;
    this is why models are trained on every masking.

    References
    ----------
    .. [1] Sourget et al. (2024). Mask of truth: model sensitivity to unexpected regions of medical images.
       arXiv:2412.04030.
    .. [2] Nadeau and Bengio (2003). Inference for the generalization error. Machine Learning 52, 239-281.
    .. [3] Obuchowski (1997). Nonparametric analysis of clustered ROC curve data. Biometrics 53, 567-578.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_shortcuts.audit import RegionSensitivity
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1], 60)
    >>> images = rng.normal(size=(120, 8))
    >>> images[:, 6] += 3 * y  # the label shows outside the region
    >>> masks = np.zeros((120, 8))
    >>> masks[:, :4] = 1
    >>> audit = RegionSensitivity(LogisticRegression(), maskings=("all", "roi", "background"), cv=3, random_state=0)
    >>> audit.fit(images, y, masks=masks).shortcut_found_
    True
    >>> print(audit.verdict_)
    Shortcut: ...
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "get_params"]), None],
        "maskings": ["array-like"],
        "train_maskings": ["array-like", None],
        "masker": [ROIMasker, None],
        "cv": [Interval(Integral, 2, None, closed="left"), HasMethods(["split"]), "array-like"],
        "controls": ["array-like"],
        "dilations": ["array-like", None],
        "interval": [StrOptions({"delong", "bootstrap"})],
        "confidence_level": [Interval(Real, 0, 1, closed="neither")],
        "n_resamples": [Interval(Integral, 100, None, closed="left")],
        "embeddings": ["boolean"],
        "region_name": [str],
        "n_jobs": [Integral, None],
        "cache_folder": [str, HasMethods(["__fspath__"]), None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        estimator=None,
        *,
        maskings=("all", "roi", "background", "roi_box", "background_box"),
        train_maskings=None,
        masker=None,
        cv=5,
        controls=CONTROLS,
        dilations=None,
        interval="delong",
        confidence_level=0.95,
        n_resamples=2000,
        embeddings=True,
        region_name="region of interest",
        n_jobs=None,
        cache_folder=None,
        random_state=None,
        verbose=0,
    ):
        self.estimator = estimator
        self.maskings = maskings
        self.train_maskings = train_maskings
        self.masker = masker
        self.cv = cv
        self.controls = controls
        self.dilations = dilations
        self.interval = interval
        self.confidence_level = confidence_level
        self.n_resamples = n_resamples
        self.embeddings = embeddings
        self.region_name = region_name
        self.n_jobs = n_jobs
        self.cache_folder = cache_folder
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, *, masks=None, groups=None, metadata=None, sample_weight=None):
        """Train and test on every masking, and judge.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, n_features), (n, H, W) or (n, C, H, W)
            Images; a row of a table is an image of one line. A bunch brings masks, groups, metadata, weights and target
            along; what is given here comes first.
        y : array-like of shape (n,) or (n, n_labels), default=None
            Classes, or one 0/1 column per label (a DataFrame names them). None takes the bunch's field ``target``.
        masks : array-like of shape (n, H, W), (n, T) or (n, n_features), default=None
            Region of interest of every row, 1 inside. Masks are needed here, in the bunch, or from the masker's
            ``segmenter``.
        groups : array-like of shape (n,), default=None
            Patient of every row. Folds keep patients together, and intervals and tests count patients, not images.
        metadata : DataFrame of shape (n, n_columns), default=None
            Columns for the metadata control, all of which are read. From a bunch, columns that name patients or repeat
            the label are left out (see ``metadata_left_out_``).
        sample_weight : array-like of shape (n,), default=None
            Weights for training; AUCs are not weighted.

        Returns
        -------
        RegionSensitivity
            The audit itself.

        Raises
        ------
        ValueError
            If there are no masks, or a fold would have only one class.

        Warns
        -----
        UserWarning
            If there are no groups, but a metadata column or a field names patients who have several rows.
        """
        maskings, trained, controls, margins = self._check_choices()
        bunch, array_shape = gather_rows(
            X, estimator=self, masks=masks, groups=groups, metadata=metadata, sample_weight=sample_weight
        )
        if self.n_features_in_ < 2:
            raise ValueError("n_features=1: an image needs at least two values, one in the region and one outside")
        if y is None and "target" in bunch.fields:
            y = bunch.get("target")
        target = make_target(y, type(self).__name__)
        if len(target.y) != len(bunch):
            raise ValueError(f"y has {len(target.y)} rows, but X has {len(bunch)}")
        patients = number_patients(bunch)
        generator = make_random_state(self.random_state)
        seed = draw_seed(generator)
        folds = make_folds(self.cv, target.positive, target.codes, patients, target.label_names, seed)
        self.masker_ = seed_where_unset(clone(ROIMasker() if self.masker is None else self.masker), seed)
        estimator = NeuralImageClassifier() if self.estimator is None else self.estimator
        if not hasattr(estimator, "predict_proba") and not hasattr(estimator, "decision_function"):
            raise ValueError(f"{type(estimator).__name__} has neither predict_proba nor decision_function to rank rows")
        self.embeddings_missing_ = self._why_no_embeddings(estimator, trained, maskings)
        weights = fit_weights(estimator, bunch, array_shape)
        image_controls = [name for name in controls if name in IMAGE_CONTROLS]

        bunch = with_masks(bunch, self.masker_)
        rows = decoded_rows(bunch, self.cache_folder, effective_n_jobs(self.n_jobs))
        self.kept_fraction_ = region_sizes(rows, self.masker_)
        fold_seeds = [draw_seed(generator) for _ in range(len(folds))]
        plan = [(fold, name) for fold in range(len(folds)) for name in [*trained, *image_controls]]

        def training(fold, name):  # made one after the other: a clone may hold a network
            tested = [name] if name in image_controls else maskings + (list(margins) if name == "all" else [])
            return Training(
                estimator=seed_where_unset(clone(estimator), fold_seeds[fold]),
                bunch=rows,
                target=target,
                train=folds.splits[fold][0],
                test=folds.splits[fold][1],
                fold=fold,
                masking=name,
                maskers={
                    other: make_masker(self.masker_, *margins.get(other, (other,))).set_params(segmenter=None)
                    for other in tested
                },
                tested=tested,
                embedded=maskings if name == "all" and self.embeddings_missing_ is None else [],
                array_shape=array_shape,
                fit_parameters=weights,
            )

        scores, embeddings = self._run(plan, training, target, folds)

        self._add_baselines(scores, controls, bunch, metadata is not None, target, folds)
        cells = [(train, test) for train in trained for test in maskings]
        cells += [(name, name) for name in CONTROLS if (name, name) in scores]
        self._sum_up(target, scores, cells, folds, patients, seed)
        self.matrix_ = matrix_table(self.cells_, trained, maskings, target.kind)
        self.dilation_curve_ = None
        if margins:
            self.dilation_curve_ = dilation_table(
                target, scores, sorted(set(self.dilations)), folds, patients, self.confidence_level
            )
        self.embedding_similarity_ = self.embedding_map_ = None
        if self.embeddings_missing_ is None:
            self.embedding_similarity_ = similarity_table(embeddings, target, folds)
            self.embedding_map_ = embedding_map(embeddings[0], folds.splits[0][1], seed)
        return self

    def _check_choices(self):
        """Give maskings tested and trained, controls, and what is tested for the dilation curve, by name."""
        maskings = _known(self.maskings, MASKINGS, "maskings")
        if not maskings:
            raise ValueError("maskings: name at least one")
        trained = maskings
        if self.train_maskings is not None:
            trained = _known(self.train_maskings, maskings, "train_maskings")
            if not trained:
                raise ValueError("train_maskings: name at least one of the maskings, or leave it None")
        controls = _known(self.controls, CONTROLS, "controls")
        margins = {}
        if self.dilations is not None:
            if "all" not in trained:
                raise ValueError("dilations need a model that is trained on the full image: add 'all' to the maskings")
            if len(self.dilations) == 0:
                raise ValueError("dilations: name at least one margin, or leave it None")
            for kept in ("roi", "background"):
                margins.update({dilated_name(kept, margin): (kept, margin) for margin in self.dilations})
        return maskings, trained, controls, margins

    def _why_no_embeddings(self, estimator, trained, maskings):
        if not self.embeddings:
            return "embeddings=False"
        if "all" not in trained or "all" not in maskings or len(maskings) < 2:
            return "needs a model trained and tested on the full image, and another masking"
        return find_embedder(estimator)

    def _run(self, plan, training, target, folds):
        """Scores by (train, test) masking, and embeddings by fold."""
        parallel = Parallel(n_jobs=self.n_jobs, return_as="generator")
        results = parallel(delayed(train_and_test)(training(fold, name)) for fold, name in plan)
        if self.verbose:
            from tqdm.auto import tqdm

            results = tqdm(results, total=len(plan), desc="region sensitivity", unit="training")
        scores, embeddings = {}, []
        for (by_masking, embedded), (fold, trained) in zip(results, plan):  # the bar first: it is told of the end
            for name, values in by_masking.items():
                table = scores.setdefault((trained, name), np.full(target.positive.shape, np.nan))
                table[folds.splits[fold][1]] = values
            if embedded:
                embeddings.append(embedded)
        return scores, embeddings

    def _add_baselines(self, scores, controls, bunch, is_given, target, folds):
        self.controls_missing_, self.metadata_columns_, self.metadata_left_out_ = {}, [], {}
        if "kept_fraction" in controls:
            scores["kept_fraction", "kept_fraction"] = size_scores(self.kept_fraction_, target, folds)
        if "metadata" not in controls:
            return
        if "metadata" not in bunch.fields:
            self.controls_missing_["metadata"] = "there is no metadata"
            return
        table = bunch.get("metadata")
        self.metadata_columns_ = list(table.columns)
        if not is_given:
            self.metadata_columns_, self.metadata_left_out_ = choose_metadata(table, target.positive)
        if self.metadata_columns_:
            table = table[self.metadata_columns_]
            scores["metadata", "metadata"] = metadata_scores(table, target, folds)
        else:
            self.controls_missing_["metadata"] = "no column is left, see metadata_left_out_"

    def _sum_up(self, target, scores, cells, folds, patients, seed):
        n_resamples = self.n_resamples if self.interval == "bootstrap" else 0
        areas = fold_areas(target, scores, cells, folds, patients, n_resamples=n_resamples, random_state=seed)
        self.label_names_ = target.label_names
        self.fold_ = folds.number
        self.predictions_ = pd.DataFrame(
            {
                (train, test, label): values[:, column]
                for (train, test), values in scores.items()
                for column, label in enumerate(target.label_names)
            }
        )
        self.predictions_.columns = self.predictions_.columns.set_names(["train", "test", "label"])
        # Sorted, pandas finds all labels of a cell by (train, test) alone.
        self.predictions_ = self.predictions_.sort_index(axis=1, level=["train", "test"], sort_remaining=False)
        self.rows_ = rows_table(target, areas, cells, folds, patients)
        self.cells_ = cells_table(target, areas, cells, self.confidence_level)
        self.summary_ = summary_table(target, areas, cells, self.confidence_level)
        self.verdicts_, self.verdict_ = judge(
            target.label_names,
            areas,
            cells,
            confidence_level=self.confidence_level,
            region_name=self.region_name,
        )
        self.shortcut_found_ = bool((self.verdicts_["status"] == "shortcut").any())

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.input_tags.three_d_array = True
        return tags


def _known(names, allowed, parameter):
    """Check names and give them as a list without repeats."""
    for name in names:
        if name not in allowed:
            raise ValueError(f"{parameter}: {name!r} is not one of {list(allowed)}")
    return list(dict.fromkeys(names))
