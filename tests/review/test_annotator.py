"""The annotation loop: what it finds, what it does not depend on, and that it never ranks rows by what it was told."""

import csv
import math
import pickle

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from sklearn_shortcuts import ImageBunch, NeuralImageClassifier, make_chest_phantoms
from sklearn_shortcuts.latent import ConceptVector, LayerFeatures
from sklearn_shortcuts.neural import SmallCNN
from sklearn_shortcuts.review import ConceptAnnotator

STRATEGIES = ("score", "uncertainty", "mixed", "diverse", "random")


def make_pool(n=300, n_features=6, shift=4.0, n_seeds=10, seed=0):
    """One row in ten carries an artifact, which moves two features; some such rows are known."""
    rng = np.random.default_rng(seed)
    truth = (np.arange(n) % 10 == 0).astype(int)
    X = rng.normal(size=(n, n_features))
    X[:, :2] += shift * truth[:, None]
    known = np.full(n, -1)
    known[np.flatnonzero(truth)[:n_seeds]] = 1
    return X, truth, known


def plain(**options):
    return ConceptAnnotator(LogisticRegression(), n_per_round=20, random_state=0, **options)


def state(annotator):
    return [annotator.sample_scores_, annotator.artifact_, annotator.transduction_, annotator.scores_.to_numpy()]


# -- what it finds -----------------------------------------------------------------------------------------------------
def test_ten_rows_and_a_few_rounds_find_the_others():
    X, truth, known = make_pool()
    annotator = ConceptAnnotator(n_per_round=20, random_state=0).fit(X, known)
    before = annotator.evaluate(truth)
    annotator.run(lambda rows: truth[rows])
    after = annotator.evaluate(truth)
    assert before["recall"] < after["recall"]
    assert after["recall"] >= 0.95
    assert after["precision"] >= 0.95
    assert annotator.stop_reason_ == "precision"
    assert annotator.answered_.sum() < len(X) / 2


def test_one_row_is_enough_to_begin_with():
    X, truth, known = make_pool(n_seeds=1)
    annotator = plain().fit(X, known).run(lambda rows: truth[rows], max_rounds=5)
    assert annotator.evaluate(truth)["recall"] >= 0.9
    assert np.isnan(plain().fit(X, known).scores_.loc["pool", "auroc"])  # one row cannot be left out and be known


def test_evaluate_counts():
    X, truth, known = make_pool()
    annotator = plain().fit(X, known)
    found = annotator.evaluate(truth)
    predicted = set(np.flatnonzero(annotator.transduction_))
    assert found["recall"] == len(predicted & set(np.flatnonzero(truth))) / truth.sum()
    assert found["precision"] == len(predicted & set(np.flatnonzero(truth))) / len(predicted)
    assert found["auroc"] == roc_auc_score(truth, annotator.sample_scores_)
    for wrong, message in ((truth[1:], "299 values"), (np.zeros(300), "must hold 0 and 1"), (known, "must hold 0 and")):
        with pytest.raises(ValueError, match=message):
            annotator.evaluate(wrong)


# -- the concept -------------------------------------------------------------------------------------------------------
def test_the_concept_is_fitted_on_labels_with_unknown_rows_as_clean_and_without_unsure_ones():
    X, _, known = make_pool()
    annotator = plain().fit(X, known).teach([0, 1, 2, 3, 150], [1, 0, -1, -1, 1])
    y = known == 1
    y[150] = True
    used = np.delete(np.arange(300), [2, 3])
    peer = LogisticRegression().fit(X[used], y[used])
    np.testing.assert_allclose(annotator.concept_.coef_, peer.coef_, rtol=1e-3)
    new = np.random.default_rng(1).normal(size=(20, 6)) + 2
    np.testing.assert_array_equal(annotator.decision_function(new), annotator.concept_.decision_function(new))
    np.testing.assert_array_equal(annotator.predict(new), annotator.concept_.predict(new))
    np.testing.assert_array_equal(annotator.predict_proba(new), annotator.concept_.predict_proba(new))


def test_default_concept_does_not_depend_on_scales():
    X, _, known = make_pool()
    scaled = X * np.array([1e-3, 1, 1e3, 1, 1, 1])
    one, other = (ConceptAnnotator(random_state=0).fit(features, known) for features in (X, scaled))
    # Rows are sorted by content, hence fall into other folds.
    np.testing.assert_allclose(one.decision_function(X), other.decision_function(scaled), rtol=1e-3, atol=1e-3)
    assert isinstance(one.concept_[-1], ConceptVector)


def test_concepts_with_probabilities_only_and_with_random_states():
    X, _, known = make_pool()
    annotator = ConceptAnnotator(GaussianNB(), random_state=0).fit(X, known)
    odds = annotator.concept_.predict_log_proba(X)
    np.testing.assert_allclose(
        annotator.decision_function(X[:9]), (odds[:, 1] - odds[:, 0])[:9].clip(-27.7, 27.7), rtol=1e-2
    )
    trees = [
        ConceptAnnotator(DecisionTreeClassifier(max_features=1), random_state=7).fit(X, known).sample_scores_
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*trees)


class Witness(LogisticRegression):
    """Remembers which rows it was fitted on and asked for; the first feature is the number of the row."""

    met: list = []

    def fit(self, X, y):
        self.rows_ = X[:, 0].astype(int)
        return super().fit(X[:, 1:], y)

    def decision_function(self, X):
        self.met.append((self.rows_, X[:, 0].astype(int)))
        return super().decision_function(X[:, 1:])


@pytest.mark.parametrize("grouped", [False, True])
def test_no_row_is_scored_by_a_concept_fitted_on_it_or_on_its_patient(grouped):
    X, _, known = make_pool()
    X = np.column_stack([np.arange(300), X])
    groups = np.random.default_rng(0).integers(0, 70, 300) if grouped else np.arange(300)
    Witness.met.clear()
    annotator = ConceptAnnotator(Witness(), random_state=0).fit(X, known, groups=groups if grouped else None)
    for _ in range(2):
        assert len(Witness.met) == 5
        for fitted, scored in Witness.met:
            assert not np.isin(groups[scored], groups[fitted]).any()
        scored = np.concatenate([rows for _, rows in Witness.met])
        assert np.sort(scored).tolist() == list(range(300))
        shares = [(known[rows] == 1).sum() for _, rows in Witness.met]
        assert max(shares) <= (4 if grouped else 2)  # of ten rows in five folds
        Witness.met.clear()
        annotator.teach([1, 3], [0, 0])


def test_groups_come_from_the_bunch_and_their_names_decide_nothing():
    X, _, known = make_pool()
    images = X.reshape(300, 2, 3)
    groups = np.random.default_rng(0).integers(0, 70, 300)
    names = np.array([f"p{97 * group % 71}" for group in groups])
    fitted = [
        plain(features=Flatten()).fit(ImageBunch(images, groups=groups), known),
        plain(features=Flatten()).fit(ImageBunch(images), known, groups=names),
        plain().fit(X, known, groups=groups),
    ]
    for other in fitted[1:]:
        np.testing.assert_array_equal(fitted[0].sample_scores_, other.sample_scores_)
    assert not np.array_equal(fitted[0].sample_scores_, plain().fit(X, known).sample_scores_)


def test_scores_of_noise_tell_that_it_is_noise():
    rng = np.random.default_rng(0)
    X, truth = rng.normal(size=(200, 300)), (np.arange(200) % 2)
    annotator = plain().fit(X, truth)
    assert roc_auc_score(truth, annotator.decision_function(X)) == 1
    assert abs(annotator.scores_.loc["labeled", "auroc"] - 0.5) < 0.12
    assert abs(roc_auc_score(truth, annotator.sample_scores_) - 0.5) < 0.12
    assert annotator.scores_.loc["labeled", "n_negative"] == 100
    # Two images of each patient alike: only folds that keep patients together are honest.
    twice, groups = np.repeat(X[:100], 2, axis=0), np.repeat(np.arange(100), 2)
    labels = np.repeat(truth[:100], 2)
    assert plain().fit(twice, labels).scores_.loc["labeled", "auroc"] > 0.9
    assert plain().fit(twice, labels, groups=groups).scores_.loc["labeled", "auroc"] < 0.7


# -- what it does not depend on ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("grouped", [False, True])
def test_order_of_the_pool_decides_nothing(strategy, grouped):
    X, truth, known = make_pool()
    groups = np.random.default_rng(2).integers(0, 60, 300) if grouped else None
    moved = np.random.default_rng(1).permutation(300)
    one = ConceptAnnotator(n_per_round=20, random_state=0, strategy=strategy).fit(X, known, groups)
    other = clone(one).fit(X[moved], known[moved], groups[moved] if grouped else None)
    for _ in range(2):
        np.testing.assert_array_equal(one.sample_scores_[moved], other.sample_scores_)
        rows, others = one.query(), other.query()
        np.testing.assert_array_equal(rows, moved[others])
        one.teach(rows, truth[rows])
        other.teach(others[::-1], truth[moved][others[::-1]])
    np.testing.assert_array_equal(one.transduction_[moved], other.transduction_)
    assert one.history_.equals(other.history_)


def test_scores_belong_to_the_labels_whatever_way_these_came():
    X, truth, known = make_pool()
    rows = np.arange(40)
    at_once = plain().fit(X, np.where(np.arange(300) < 40, truth, known))
    bit_by_bit = plain().fit(X, known)
    for part in np.array_split(rows[::-1], 3):
        bit_by_bit.teach(part, truth[part])
    corrected = plain().fit(X, known).teach(rows, 1 - truth[rows])
    stale = corrected.sample_scores_.copy()
    corrected.teach(rows, truth[rows])
    assert not np.array_equal(stale, corrected.sample_scores_)
    for other in (bit_by_bit, corrected):
        for mine, theirs in zip(state(at_once), state(other)):
            np.testing.assert_array_equal(mine, theirs)
    assert corrected.history_["n_corrected"].tolist() == [0, 4, 40]  # four of the forty were seeds
    assert corrected.history_["n_asked"].tolist() == [10, 36, 0]


def test_inputs_and_the_global_random_state_are_left_alone():
    X, truth, known = make_pool()
    before, known_before, random = X.copy(), known.copy(), np.random.get_state()[1].copy()
    annotator = plain(strategy="random").fit(X, known).run(lambda rows: truth[rows], max_rounds=2)
    np.testing.assert_array_equal(np.random.get_state()[1], random)
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(known, known_before)
    X[:] = 0  # nor does the annotator look at them again
    annotator.teach([5], [0])
    assert np.ptp(annotator.sample_scores_) > 1


def test_pickle_goes_on_where_it_stopped():
    X, truth, known = make_pool()
    one = plain(strategy="mixed").fit(X, known).run(lambda rows: truth[rows], max_rounds=1)
    one.query()
    other = pickle.loads(pickle.dumps(one))
    for annotator in (one, other):
        annotator.run(lambda rows: truth[rows], max_rounds=2)
    for mine, theirs in zip(state(one), state(other)):
        np.testing.assert_array_equal(mine, theirs)
    assert one.history_.equals(other.history_)
    with pytest.raises(NotFittedError):
        clone(one).query()


# -- queries -----------------------------------------------------------------------------------------------------------
def test_queries_follow_the_scores():
    X, _, known = make_pool()
    annotator = plain().fit(X, known).teach([1, 2], [0, -1])
    scores, open_rows = annotator.sample_scores_, np.flatnonzero(~annotator.answered_)
    assert open_rows.tolist() == sorted(set(range(300)) - set(np.flatnonzero(known == 1)) - {1, 2})
    by_score = sorted(open_rows, key=lambda row: -scores[row])
    by_doubt = sorted(open_rows, key=lambda row: abs(scores[row]))
    assert annotator.query(9).tolist() == by_score[:9]
    assert annotator.query(9, "uncertainty").tolist() == by_doubt[:9]
    in_turn = []
    for pair in zip(by_score, by_doubt):
        in_turn += [row for row in pair if row not in in_turn]
    assert annotator.query(9, "mixed").tolist() == in_turn[:9]
    assert len(annotator.query()) == 20
    assert sorted(annotator.query(1000, "mixed")) == open_rows.tolist()


def test_diverse_rows_are_the_farthest_of_the_likely_ones():
    X, _, known = make_pool()
    annotator = plain().fit(X, known)
    chosen = annotator.query(6, "diverse")
    likely = annotator.query(24, "score")
    distances = cdist(X / X.std(axis=0), X / X.std(axis=0))
    before = list(np.flatnonzero(known == 1))
    for row in chosen:
        gaps = {other: distances[other, before].min() for other in likely if other not in before}
        assert gaps[row] == pytest.approx(max(gaps.values()))
        before.append(row)
    assert len(set(chosen)) == 6


def test_random_rows_are_random_until_they_are_taught():
    X, truth, known = make_pool()
    annotator = plain(strategy="random").fit(X, known)
    rows = annotator.query()
    np.testing.assert_array_equal(annotator.query(), rows)
    assert not set(rows) & set(annotator.teach(rows, truth[rows]).query())
    drawn = np.concatenate(
        [plain().set_params(random_state=seed).fit(X, known).query(50, "random") for seed in range(8)]
    )
    assert abs(truth[drawn].mean() - 20 / 290) < 0.05  # 400 draws: four standard errors


def test_what_cannot_be_asked():
    X, _, known = make_pool()
    annotator = plain().fit(X, known)
    for n in (0, 2.5):
        with pytest.raises(ValueError, match="must be a whole number from 1"):
            annotator.query(n)
    with pytest.raises(ValueError, match="strategy='best' is none of 'score', "):
        annotator.query(strategy="best")


# -- history and stopping ----------------------------------------------------------------------------------------------
def test_history_counts_with_wilson_intervals():
    X, truth, known = make_pool()
    annotator = plain().fit(X, known)
    rows = annotator.query()
    labels = truth[rows].copy()
    labels[-2:] = -1
    annotator.teach(rows, labels).teach([7, 8, 0], [0, 0, 0])
    history = annotator.history_
    assert history.index.name == "round"
    assert history["strategy"].tolist() == ["seeds", "score", "given"]
    k, n = (labels == 1).sum(), 18
    first = history.loc[1]
    assert first[["n_asked", "n_positive", "n_negative", "n_unsure", "n_corrected"]].tolist() == [20, k, n - k, 2, 0]
    p, z = k / n, 1.959963984540054
    middle, half = p + z**2 / (2 * n), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    wilson = [p, (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)]
    np.testing.assert_allclose(first[["precision", "precision_low", "precision_high"]].astype(float), wilson, rtol=1e-9)
    assert history.loc[2, "n_corrected"] == 1
    assert history["total_positive"].tolist() == [10, 10 + k, 9 + k]
    unanswered = annotator.transduction_[~annotator.answered_]
    assert history.loc[2, "n_predicted"] == unanswered.sum()


def test_run_is_the_same_loop():
    X, truth, known = make_pool()
    one = plain().fit(X, known).run(lambda rows: truth[rows], max_rounds=3)
    other = plain().fit(X, known)
    for _ in range(3):
        rows = other.query()
        other.teach(rows, truth[rows])
    assert one.history_.equals(other.history_)


def test_poor_batches_in_a_row_stop_and_better_ones_go_on():
    X, _, known = make_pool()
    annotator = plain(patience=2, stop_precision=0.0).fit(X, known)
    reasons = []
    for share in (0, 1, 0, 0, 1):
        rows = annotator.query(5)
        annotator.teach(rows, np.full(5, share))
        reasons.append(annotator.stop_reason_)
    assert reasons == [None, None, None, "precision", None]
    for rows, labels in (([250, 251], [0, 0]), ([260, 261], [0, 0])):
        annotator.teach(rows, labels)  # not asked for: says nothing of a batch
    for _ in range(3):
        rows = annotator.query(5, "random")
        annotator.teach(rows, np.zeros(5))
    assert not annotator.finished_


def test_budget_and_the_end_of_the_pool():
    X, truth, known = make_pool(n=60, n_seeds=3)
    annotator = plain(budget=30, stop_precision=0.0, patience=99).fit(X, known).run(lambda rows: truth[rows])
    assert annotator.stop_reason_ == "budget"
    assert annotator.history_["n_asked"].tolist() == [3, 20, 10]
    assert len(annotator.query()) == 0
    annotator = plain(stop_precision=0.0, patience=99).fit(X, known).run(lambda rows: truth[rows])
    assert annotator.stop_reason_ == "all rows are answered"
    np.testing.assert_array_equal(annotator.artifact_, truth)
    np.testing.assert_array_equal(annotator.transduction_, truth)
    assert len(annotator.query()) == 0


def test_estimate_of_what_remains_is_the_exact_interval():
    X, truth, known = make_pool()
    annotator = plain().fit(X, known)
    with pytest.raises(ValueError, match="no random batch was taught"):
        annotator.estimate_remaining()
    population, n = np.flatnonzero(~annotator.answered_), 40
    rows = annotator.query(n, "random")
    labels = truth[rows].copy()
    labels[np.flatnonzero(labels == 0)[0]] = -1
    annotator.teach(rows, labels)
    k, size = int(labels.sum()) + 1, len(population)

    def chance(count, total):  # of finding so many among n
        return math.comb(total, count) * math.comb(size - total, n - count) / math.comb(size, n)

    low = min(total for total in range(size + 1) if sum(chance(i, total) for i in range(k, n + 1)) > 0.025)
    high = max(total for total in range(size + 1) if sum(chance(i, total) for i in range(k + 2)) > 0.025)
    found = annotator.estimate_remaining()
    assert found["low"] == max(low - k, 0)
    assert found["high"] == high - k
    assert found["estimate"] == pytest.approx(size * k / (n - 1) - k)
    more = annotator.query(15)  # what is found later does not remain
    annotator.teach(more, truth[more])
    assert annotator.estimate_remaining()["high"] == high - k - truth[more].sum()
    left = int(np.sum(truth[annotator.artifact_ != 1]))
    assert annotator.estimate_remaining()["low"] <= left <= annotator.estimate_remaining()["high"]
    with pytest.raises(ValueError, match="confidence=1 must"):
        annotator.estimate_remaining(1)


# -- images and sheets -------------------------------------------------------------------------------------------------
class Flatten(TransformerMixin, BaseEstimator):
    """Give one row of numbers per image."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.asarray(X).reshape(len(X), -1)

    def __sklearn_is_fitted__(self):
        return True


def test_images_through_layers_of_a_network():
    X = make_chest_phantoms(80, size=32, shortcut="patch", prevalence={0: 0.2, 1: 0.3}, random_state=0)
    network = NeuralImageClassifier(SmallCNN(width=4, depth=2), max_epochs=1, random_state=0).fit(X, X.target)
    layers = LayerFeatures(network, ["features.0", "features.1"], pool="mean_max")
    truth = np.asarray(X.artifact).astype(int)
    known = np.full(80, -1)
    known[np.flatnonzero(truth)[:6]] = 1
    annotator = ConceptAnnotator(features=layers, n_per_round=15, random_state=0).fit(X, known)
    by_hand = ConceptAnnotator(n_per_round=15, random_state=0)
    by_hand.fit(layers.fit(X).transform(X), known, groups=X.groups)
    for one in (annotator, by_hand):
        one.run(lambda rows: truth[rows], max_rounds=2)
    np.testing.assert_allclose(annotator.sample_scores_, by_hand.sample_scores_, rtol=1e-6)
    assert annotator.evaluate(truth)["recall"] > 0.9
    np.testing.assert_allclose(
        annotator.decision_function(X[:7]), by_hand.decision_function(layers.transform(X[:7])), atol=1e-4
    )


def test_the_loop_on_sheets(tmp_path):
    X, truth, known = make_pool()
    images = ImageBunch(X.reshape(300, 2, 3))
    annotator = plain(features=Flatten()).fit(images, known)
    asked = annotator.query()
    page, path = tmp_path / "sheet.html", tmp_path / "answers.csv"
    annotator.write_sheet(page, images)
    assert [f'data-row="{row}"' in page.read_text(encoding="utf-8") for row in range(300)] == [
        row in asked for row in range(300)
    ]
    batch = annotator.write_sheet(path, images)
    with pytest.raises(ValueError, match="the sheet holds no answers"):
        annotator.teach_from_sheet(path)
    with path.open(newline="") as file:
        header, *lines = csv.reader(file)
    assert [int(line[0]) for line in lines] == asked.tolist()
    names = {1: "artifact", 0: "no artifact"}
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *([r, names[truth[int(r)]], b, d] for r, _, b, d in lines)])
    stranger = plain(features=Flatten()).fit(images[::-1], known)
    with pytest.raises(ValueError, match="written for another pool"):
        stranger.teach_from_sheet(path)
    annotator.teach_from_sheet(path, batch=batch)
    np.testing.assert_array_equal(annotator.artifact_[asked], truth[asked])
    assert annotator.history_["strategy"].tolist() == ["seeds", "score"]
    with pytest.raises(ValueError, match="X has 299 rows, but the pool has 300"):
        annotator.write_sheet(page, images[1:])


# -- what is refused ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full(300, -1), "y has only unknown labels; give 1"),
        (np.full(300, 1), "all rows carry the artifact, which is one class"),
        (np.where(np.arange(300) < 5, 0, -1), "no row is known to carry the artifact"),
        (np.where(np.arange(300) < 5, 3, -1), "y has one class only, .*3"),
        (np.arange(300) % 4 - 1, "Only binary classification is supported"),
        (np.linspace(0, 1, 300), "Unknown label type: continuous"),
    ],
)
def test_labels_to_begin_with(labels, message):
    X, _, _ = make_pool()
    with pytest.raises(ValueError, match=message):
        plain().fit(X, labels)


def test_other_labels_and_booleans():
    X, truth, _ = make_pool()
    annotator = plain().fit(X, np.where(truth == 1, "with", "bare"))
    assert annotator.classes_.tolist() == ["bare", "with"]
    assert set(annotator.predict(X[:20])) == {"bare", "with"}
    np.testing.assert_array_equal(annotator.artifact_, truth)
    np.testing.assert_array_equal(plain().fit(X, truth == 1).predict(X), (annotator.predict(X) == "with").astype(int))


@pytest.mark.parametrize(
    ("rows", "labels", "error", "message"),
    [
        ([300], [1], IndexError, "row 300 does not exist"),
        ([1, 2], [1], ValueError, "there are 2 rows, but 1 labels"),
        ([1, 2], [1, 2], ValueError, "labels: row 2 has .*2.*; labels are 1"),
        ([4, 1, 4], [1, 0, 0], ValueError, "labels: row 4 has two different labels"),
        ([], [], ValueError, "no row is answered"),
        (np.arange(300), np.zeros(300), ValueError, "no row is known to carry the artifact"),
        (np.arange(300), np.ones(300), ValueError, "all rows carry the artifact"),
        ([1], [np.nan], ValueError, "NaN|labels are 1"),
    ],
)
def test_wrong_answers_change_nothing(rows, labels, error, message):
    X, _, known = make_pool()
    annotator = plain().fit(X, known)
    before = [part.copy() for part in state(annotator)]
    with pytest.raises(error, match=message):
        annotator.teach(rows, labels)
    for mine, theirs in zip(before, state(annotator)):
        np.testing.assert_array_equal(mine, theirs)
    assert len(annotator.history_) == 1
    annotator.teach(annotator.query(4), [1, 0, 1, 0])  # and it goes on


def test_pipelines_and_features_that_are_not_finite():
    X, _, known = make_pool()
    annotator = ConceptAnnotator(make_pipeline(StandardScaler(), LogisticRegression()), random_state=0).fit(X, known)
    assert annotator.predict(X).shape == (300,)
    images = X.reshape(300, 2, 3).copy()
    images[5] = np.nan
    with pytest.raises(ValueError, match="features contains NaN"):
        plain(features=Flatten()).fit(images, known)
    with pytest.raises(ValueError, match=r"X holds images, .* give features="):
        plain().fit(ImageBunch(images), known)
    groups = np.where(np.arange(300) == 7, None, "p")
    with pytest.raises(ValueError, match="groups: row 7 has no patient"):
        plain().fit(X, known, groups=groups)
