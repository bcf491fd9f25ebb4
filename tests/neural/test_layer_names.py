"""Names of layers."""

import pytest
from torch import nn

from sklearn_shortcuts.neural._layer_names import resolve_layer


def test_near_names_are_proposed():
    network = nn.ModuleDict({"layer4": nn.ReLU(), "head": nn.Identity()})
    with pytest.raises(ValueError, match=r"layer='layer5' is no layer of ModuleDict; near names are \['layer4'\]"):
        resolve_layer(network, "layer5")
    with pytest.raises(ValueError, match=r"layer='xyz' is no layer of ModuleDict; its outermost layers are \['layer4'"):
        resolve_layer(network, "xyz")
