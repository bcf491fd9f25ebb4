"""From areas to a sentence, on score tables."""

import numpy as np
import pytest

from sklearn_shortcuts.audit._fold_auc import FoldAUC
from sklearn_shortcuts.audit._region_verdict import judge

CELLS = [("all", "all"), ("background", "background"), ("mask_only", "mask_only"), ("kept_fraction", "kept_fraction")]


def areas(full=2.0, without=0.0, outline=0.0, size=0.0, *, alike=False, seed=0, n=200):
    """Areas over two folds of scores with the given separation; ``alike`` shares their noise."""
    rng = np.random.default_rng(seed)
    positive = np.arange(n) % 2 == 0
    noise = rng.normal(size=(n, 4))
    if alike:
        noise[:, 2:] = noise[:, [1]] + 0.2 * noise[:, 2:]
    return FoldAUC(positive, positive[:, None] * [full, without, outline, size] + noise, np.arange(n) // (n // 2))


def judged(*folded, cells=CELLS, labels=None):
    labels = labels or list(range(len(folded)))
    return judge(labels, list(folded), cells, confidence_level=0.95, region_name="lungs")


def test_shortcut():
    verdicts, sentence = judged(areas(without=1.5))
    assert verdicts["status"].tolist() == ["shortcut"]
    low, high = verdicts[["low", "high"]].iloc[0]
    assert 0.5 < low < verdicts["auc"].iloc[0] < high
    assert sentence.startswith("Shortcut: a model trained and tested without the lungs keeps an AUC of 0.8")
    assert f"(95 % interval {low:.2f} to {high:.2f})" in sentence
    assert sentence.count(".") == 1 + sentence.count("0.")  # one sentence


def test_none():
    verdicts, sentence = judged(areas())
    assert verdicts["status"].tolist() == ["none"]
    assert sentence.startswith("No shortcut found:")
    assert "on the full image" in sentence


@pytest.mark.parametrize(("leak", "words"), [("outline", "the outline"), ("size", "the size")])
def test_masks_that_leak(leak, words):
    verdicts, sentence = judged(areas(without=1.0, alike=True, **{leak: 1.0}))
    assert verdicts["status"].tolist() == ["undecided"]
    assert sentence.startswith("Undecided, leaky masks:")
    assert f"{words} of the mask alone predicts" in sentence


def test_more_than_the_mask_leaks():
    verdicts, _ = judged(areas(without=2.5, outline=0.6, alike=True))
    assert verdicts["status"].tolist() == ["shortcut"]
    assert verdicts["leak"].tolist() == ["mask_only"]


def test_nothing_was_learned_from_the_full_image_either():
    verdicts, sentence = judged(areas(full=0.0))
    assert verdicts["status"].tolist() == ["undecided"]
    assert "does not predict the label" in sentence


def test_nothing_was_trained_without_the_region():
    verdicts, sentence = judged(areas(), cells=[("all", "all"), ("roi", "roi"), *CELLS[2:]])
    assert verdicts["status"].tolist() == ["undecided"]
    assert sentence == "Undecided: no model was trained and tested without the lungs."


def test_box_stands_in_for_the_region():
    cells = [CELLS[0], ("background_box", "background_box"), *CELLS[2:]]
    assert judged(areas(without=1.5), cells=cells)[0]["status"].tolist() == ["shortcut"]


def test_labels_are_corrected_for_each_other():
    weak = next(
        folded for seed in range(200) if 0.01 < (folded := areas(without=0.4, seed=seed)).chance_pvalue(1) < 0.025
    )
    assert judged(weak)[0]["status"].tolist() == ["shortcut"]
    verdicts, sentence = judged(weak, areas(seed=1), areas(seed=2), labels=["a", "b", "c"])
    assert verdicts["status"].tolist() == ["none"] * 3
    assert verdicts.loc["a", "pvalue_holm"] == pytest.approx(3 * weak.chance_pvalue(1))
    assert sentence.startswith("No shortcut found for 3 labels:")


def test_several_labels_in_one_sentence():
    folded = [areas(without=1.5), areas(without=2.5), areas(), areas(full=0.0)]
    verdicts, sentence = judged(*folded, labels=["mass", "effusion", "hernia", "edema"])
    assert verdicts["status"].tolist() == ["shortcut", "shortcut", "none", "undecided"]
    assert sentence.startswith("Shortcut for 2 of 4 labels (effusion, mass):")
    assert sentence.endswith("1 undecided (edema).")
    assert judged(areas(full=0.0), areas(full=0.0, seed=3))[1].startswith("Undecided for 2 labels")
