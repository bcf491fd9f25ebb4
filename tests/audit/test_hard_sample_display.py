"""Figures of hard rows."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from sklearn_shortcuts.audit import HardSampleDisplay
from sklearn_shortcuts.mitigation import BAMHardSampleMiner
from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def mined():
    rng = np.random.default_rng(0)
    y = np.arange(80) % 2
    images = rng.normal(size=(80, 12, 12))
    images[y == 1, 2:6, 2:6] += 3
    y = np.where(np.arange(80) < 6, 1 - y, y)
    network = NeuralImageClassifier(SmallCNN(4, depth=1), lr=0.01, batch_size=16, random_state=0)
    return images, BAMHardSampleMiner(network, stage_one_epochs=12, stage_two_epochs=0).fit(images, y)


def test_panels_hold_the_rows(mined):
    _, miner = mined
    display = HardSampleDisplay.from_estimator(miner)
    counts = miner.sample_table_["bucket"].value_counts()
    labels = [tick.get_text().split("\n") for tick in display.axes_["buckets"].get_xticklabels()]
    assert {name: int(n) for name, n in labels} == counts.to_dict()
    medians = miner.sample_table_.groupby("bucket")["aux"].median()
    assert [name for name, _ in labels] == medians.sort_values().index.tolist()
    points = sum(len(part.get_offsets()) for part in display.axes_["scatter"].collections)
    assert points == 80
    rank = miner.sample_table_["aux"].corr(miner.sample_table_["el2n"], method="spearman")
    assert display.axes_["scatter"].get_title() == f"rank correlation {rank:.2f}"
    assert display.gallery_ is None


def test_gallery_shows_the_hardest_rows(mined):
    images, miner = mined
    gallery = HardSampleDisplay.from_estimator(miner, images, n_hardest=3).gallery_
    hardest = np.argsort(-miner.sample_scores_)[:3]
    np.testing.assert_array_equal(np.asarray(gallery.images), images[hardest])
    assert gallery.axes_.shape == (3, 2)
    assert [str(row) in title for row, title in zip(hardest, gallery.titles)] == [True] * 3


def test_tables_that_were_saved(mined, tmp_path):
    _, miner = mined
    miner.sample_table_.to_csv(tmp_path / "table.csv", index=False)
    table = pd.read_csv(tmp_path / "table.csv")
    table.loc[3, "loss"] = np.nan
    _, axes = plt.subplots(2, 1)
    display = HardSampleDisplay.from_table(table, difficulty="loss", against="loss", ax=axes)
    assert display.figure_ is axes[0].figure
    assert sum(len(part.get_offsets()) for part in display.axes_["scatter"].collections) == 79


def test_bad_input(mined):
    images, miner = mined
    with pytest.raises(ValueError, match="X has 3 rows, but the miner was fitted on 80"):
        HardSampleDisplay.from_estimator(miner, images[:3])
    with pytest.raises(ValueError, match="sample_table has no column 'hardness'"):
        HardSampleDisplay.from_table(miner.sample_table_, difficulty="hardness")
    with pytest.raises(ValueError, match="ax must hold two axes, got 1"):
        HardSampleDisplay.from_estimator(miner, ax=plt.subplots()[1])
    with pytest.raises(ValueError, match="no row has a score"):
        HardSampleDisplay.from_table(miner.sample_table_.assign(aux=np.nan))
