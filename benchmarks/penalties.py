"""What a penalty adds to a training step.

Every network is trained by our classifier with the penalty; the peers are the same classifier without it, and the plain
PyTorch loop of ``training_step``, without penalty too (float32, channels first). For the input gradient there is also
the loop that people write first, with torch's own second derivatives.

Beside each ratio stands what the passes over the network alone would cost. A plain step makes three: forward, gradients
of the inputs, gradients of the weights. Everything that is differentiated once more costs twice its own passes.
"""

import argparse
from functools import partial

import numpy as np
import torch
from torch import nn

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.mitigation import (
    ContextualDecompositionPenalty,
    GradCAMPenalty,
    InfluencePenalty,
    InputGradientPenalty,
)
from sklearn_shortcuts.neural import NeuralImageClassifier

from ._timing import compare
from .training_step import peer_fit, resnet18, three_blocks

_PENALTIES = {  # penalty, passes over the network per step
    # The gradient of the score runs through the head only.
    "Grad-CAM, last layer": (GradCAMPenalty("published"), 3),
    # Forward, gradient of the score; both differentiated.
    "Grad-CAM, first layer": (GradCAMPenalty("repaired"), 6),
    "input gradient": (InputGradientPenalty(), 6),
    # The plain step, and a step of its own with two contributions.
    "contextual decomposition": (ContextualDecompositionPenalty(), 9),
    # The plain step; a forward pass, two of the weights' gradient, four of the influence, one of the score; these
    # eight differentiated.
    "influence": (InfluencePenalty(statistics="evaluation"), 27),
}
_GOALS = {("resnet18", "Grad-CAM, last layer"): 1.10, ("resnet18", "input gradient"): 2.60}
_CUT = 8  # rows of pixels in the mask


def penalized_loop(build, images, y, batch_size, epochs, seed):
    """The loop with the input gradient in its loss, differentiated by torch."""
    torch.manual_seed(seed)
    network = build(images.shape[1:], 2)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0)
    criterion = nn.CrossEntropyLoss()
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        order = rng.permutation(len(images))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            X, target = torch.from_numpy(images[rows]).requires_grad_(), torch.from_numpy(y[rows])
            optimizer.zero_grad()
            logits = network(X)
            (gradient,) = torch.autograd.grad(logits.log_softmax(1).sum(), X, create_graph=True)
            loss = criterion(logits, target) + gradient[:, :, :_CUT].square().sum((1, 2, 3)).mean()
            loss.backward()
            optimizer.step()
            loss.item()


def run(name, build, shape, penalties, *, n, batch_size, epochs, repeats):
    """Compare fits with each penalty with fits without.

    Parameters
    ----------
    name : str
        Of the network.
    build : callable
        ``build(image_shape, n_outputs) -> nn.Module``.
    shape : tuple of int
        Shape of one row.
    penalties : iterable of str
        Keys of the table above.
    n, batch_size, epochs : int
        Rows per epoch, rows per step, passes over the rows.
    repeats : int
        Measured pairs.
    """
    images = np.random.default_rng(0).normal(size=(n, *shape)).astype(np.float32)
    y = np.arange(n) % 2
    masks = np.zeros((n, *shape[1:]), dtype=np.uint8)
    masks[:, :_CUT] = 1
    bunch = ImageBunch(images, masks=masks)
    plain = NeuralImageClassifier(build, max_epochs=epochs, batch_size=batch_size, device="cpu", random_state=0)
    loop = partial(peer_fit, build, images, y, batch_size, epochs, 0)
    for key in penalties:
        penalty, passes = _PENALTIES[key]
        model = NeuralImageClassifier(**{**plain.get_params(deep=False), "penalty": penalty})
        goal = _GOALS.get((name, key))
        notes = f"| passes {passes} / 3 = {passes / 3:.2f}" + (f" | goal {goal:.2f}" if goal else "")
        for peer, fit in (("ours", lambda: plain.fit(bunch, y)), ("loop", loop)):
            result = compare(
                lambda model=model: model.fit(bunch, y), fit, repeats=repeats, name=f"{name}, {key} / {peer}"
            )
            print(result, notes, flush=True)
    by_torch = partial(penalized_loop, build, images, y, batch_size, epochs, 0)
    print(compare(by_torch, loop, repeats=repeats, name=f"{name}, input gradient by torch / loop"), flush=True)


def main():
    """Run the comparisons and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few small batches: only to see that it runs")
    quick = parser.parse_args().quick
    repeats = 1 if quick else 5
    small = {"n": 32 if quick else 640, "batch_size": 32, "epochs": 1 if quick else 3}
    large = {"n": 8 if quick else 96, "batch_size": 8 if quick else 32, "epochs": 1 if quick else 3}
    side = 64 if quick else 128
    run("cnn", three_blocks, (1, 64, 64), _PENALTIES, repeats=repeats, **small)
    residual = [key for key in _PENALTIES if key != "contextual decomposition"]  # which has no rule for it
    run("resnet18", resnet18, (3, side, side), residual, repeats=repeats, **large)


if __name__ == "__main__":
    main()
