"""Where does the network look?"""

from ._cam import grad_cam, grad_cam_plus_plus, hires_cam
from ._differentiable import differentiable_cam
from ._display import SaliencyDisplay
from ._input_gradients import input_gradients
from ._integrated_gradients import integrated_gradients
from ._maps import SaliencyMaps
from ._occlusion import occlusion
from ._region_shapley import RegionShapley, region_shapley
from ._relevance import relevance
from ._scorers import make_explanation_scorer
from ._shap import shap_values
from ._smooth_grad import smooth_grad

__all__ = [
    "RegionShapley",
    "SaliencyDisplay",
    "SaliencyMaps",
    "differentiable_cam",
    "grad_cam",
    "grad_cam_plus_plus",
    "hires_cam",
    "input_gradients",
    "integrated_gradients",
    "make_explanation_scorer",
    "occlusion",
    "region_shapley",
    "relevance",
    "shap_values",
    "smooth_grad",
]
