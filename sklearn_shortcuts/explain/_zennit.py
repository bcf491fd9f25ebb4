"""Layer-wise relevance propagation by zennit, an optional dependency."""

import contextlib
import copy

import torch

from ..neural._modes import explaining
from ._gradients import score_relevances

_ROUNDING = 1e-3  # share of the outputs' size by which rewriting a network may change them


@contextlib.contextmanager
def zennit_relevance(subject, example):
    """Propagate relevance by the rules epsilon (linear layers), z+ (convolutions) and flat (first layer).

    Parameters
    ----------
    subject : Subject
        Network.
    example : Tensor of shape (n, C, H, W) or (n, C, T)
        Images on which the outputs of the rewritten network are compared with those of the given one.

    Yields
    ------
    callable
        ``propagate(X, target) -> (scores, relevances, None)``.

    Raises
    ------
    ImportError
        If zennit is not installed.
    """
    with zennit_copy(subject, example) as copied:

        def propagate(X, target):
            with noting_missing_rules(copied):
                return *score_relevances(copied, X, target, method="zennit"), None

        yield propagate


@contextlib.contextmanager
def zennit_copy(subject, example):
    """Have a copy of a network whose backward pass propagates relevance during the block.

    zennit works in the precision of the weights. Nothing of the given network changes, even for a moment.

    Parameters
    ----------
    subject : Subject
        Network.
    example : Tensor of shape (n, C, H, W) or (n, C, T)
        As in :func:`zennit_relevance`.

    Yields
    ------
    Subject
        The copy.

    Raises
    ------
    ImportError
        If zennit is not installed.
    """
    try:
        from zennit.composites import EpsilonPlusFlat
    except ImportError as error:
        raise ImportError(
            "method='zennit' needs the package zennit: pip install 'sklearn-shortcuts[lrp]'; "
            "method='gradient_x_input' works without it"
        ) from error
    copied = _copy_of(subject)
    composite = EpsilonPlusFlat(canonizers=_canonizers(copied, example))
    with explaining(copied.module), composite.context(copied.module):
        yield copied


@contextlib.contextmanager
def noting_missing_rules(copied):
    """Add to the errors of a backward pass that zennit lacks a rule."""
    try:
        yield
    except RuntimeError as error:
        error.add_note(
            f"zennit has no rule for a layer of {type(copied.module).__name__}; method='gradient_x_input' works "
            f"with any network"
        )
        raise


def _copy_of(subject):
    copied = copy.copy(subject)
    copied.module, copied.autocast = copy.deepcopy(subject.module), False
    return copied


def _canonizers(subject, example):
    """Those that make the rules applicable, unless they change what the network computes.

    They merge batch normalization into the layer that stands before it in the network's list of layers. Where that is
    not the layer whose output it normalizes, as in DenseNet, relevance has to pass through batch normalization
    unchanged.
    """
    from zennit.torchvision import ResNetCanonizer

    rewritten, canonizers = _copy_of(subject), [ResNetCanonizer()]
    with explaining(subject.module), explaining(rewritten.module), torch.no_grad():
        outputs = subject.infer(example.clone())
        try:
            for canonizer in canonizers:
                canonizer.apply(rewritten.module)
            change = (rewritten.infer(example.clone()) - outputs).abs().max()
        except RuntimeError:  # layers of different width were merged
            return []
    return canonizers if change <= _ROUNDING * outputs.abs().max() else []
