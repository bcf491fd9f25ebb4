"""Cost of prediction with edited activations against the same classifier without the edit.

The goal is a ratio of processor time below 1.05 for the reactive form, which takes no second pass: pooling, a product
with one vector per row, and the edit are all that it adds. ``condition="class"`` runs the unedited network beforehand
and is shown for comparison.
"""

import argparse

import numpy as np
from sklearn.frozen import FrozenEstimator

from sklearn_shortcuts.mitigation import PClArC
from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN

from ._timing import compare

_GOAL = 1.05


def run(name, module, shape, layers, *, n, repeats):
    """Compare the predictions of edited networks with those of one that is not.

    Parameters
    ----------
    name : str
        Name of the network.
    module : ModuleSpec or str
        Network.
    shape : tuple of int
        Shape of one row.
    layers : sequence of str
        Layers to edit.
    n : int
        Rows.
    repeats : int
        Measured pairs.
    """
    rng = np.random.default_rng(0)
    X, artifact = rng.normal(size=(n, *shape)).astype(np.float32), np.arange(n) % 2
    X[artifact == 1, :, :8, :8] += 3
    y = np.arange(n) // 2 % 2
    plain = NeuralImageClassifier(module, max_epochs=1, batch_size=32, device="cpu", random_state=0).fit(X, y)
    for layer in layers:
        for condition in ("always", "concept", "class"):
            model = PClArC(FrozenEstimator(plain), layer, condition=condition, classes=[1], random_state=0)
            model.fit(X, artifact=artifact)
            result = compare(
                lambda model=model: model.predict_proba(X),
                lambda: plain.predict_proba(X),
                repeats=repeats,
                name=f"{name} {layer} {condition}",
            )
            goal = "" if condition == "class" else f"| goal {_GOAL:.2f}"
            print(result, f"| edited {model.edited_share_:4.0%}", goal, flush=True)


def main():
    """Run the comparisons and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few small images: only to see that it runs")
    quick = parser.parse_args().quick
    options = {"n": 64, "repeats": 1} if quick else {"n": 256, "repeats": 15}
    side = 32 if quick else 128
    run("SmallCNN", SmallCNN(), (1, side, side), ("features.2", "last"), **options)
    run("ResNet-18", "resnet18", (3, side, side), ("layer2", "layer4", "last"), **options)


if __name__ == "__main__":
    main()
