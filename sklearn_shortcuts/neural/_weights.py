"""Weights from local files."""

import torch


def load_weights(module, path):
    """Load the weights of a local file into a network, in place."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    return module.load_state_dict(state)
