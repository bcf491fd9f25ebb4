"""Where does the network look?"""

from ._cam import grad_cam, grad_cam_plus_plus, hires_cam
from ._input_gradients import input_gradients
from ._integrated_gradients import integrated_gradients
from ._maps import SaliencyMaps
from ._occlusion import occlusion
from ._relevance import relevance
from ._smooth_grad import smooth_grad

__all__ = [
    "SaliencyMaps",
    "grad_cam",
    "grad_cam_plus_plus",
    "hires_cam",
    "input_gradients",
    "integrated_gradients",
    "occlusion",
    "relevance",
    "smooth_grad",
]
