"""Where does the network look?"""

from ._cam import grad_cam, grad_cam_plus_plus, hires_cam
from ._maps import SaliencyMaps

__all__ = ["SaliencyMaps", "grad_cam", "grad_cam_plus_plus", "hires_cam"]
