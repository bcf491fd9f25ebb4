"""Gray radiographs of made-up patients: the anatomy, without any sign of disease and without any shortcut.

Lengths are halves of the image side: the image spans -1 to 1 from left to right and from top to bottom. The picture is
a sum of attenuations (soft tissue, bone, minus air) that an S-shaped film curve turns into gray values. ``u`` is the
distance from the midline, positive on the side that is being drawn.
"""

import math
from dataclasses import dataclass, field

import cv2
import numpy as np


@dataclass(frozen=True)
class Patient:
    """What stays the same from one image of a patient to the next; every number is drawn without knowing the label."""

    lung_top: float
    lung_base: float
    lung_width: float
    base_asymmetry: float
    apex: float
    heart_width: float
    heart_x: float
    knob: float
    mediastinum: float
    trunk: float
    shoulder: float
    fat: float
    rib_spacing: float
    rib_start: float
    rib_slope: float
    bone: float
    clavicle: float
    bubble: float
    breast: float
    vessels: np.ndarray = field(repr=False)
    texture: np.ndarray = field(repr=False)

    @classmethod
    def draw(cls, rng, female):
        """Draw a patient."""
        draw = rng.uniform(-1, 1, 19).tolist()  # Python floats leave float32 arrays float32
        return cls(
            lung_top=-0.70 + 0.05 * draw[0],
            lung_base=0.42 + 0.09 * draw[1],
            lung_width=0.66 + 0.06 * draw[2],
            base_asymmetry=0.045 + 0.03 * draw[3],
            apex=0.31 + 0.03 * draw[4],
            heart_width=0.355 + 0.045 * draw[5],
            heart_x=0.10 + 0.03 * draw[6],
            knob=0.11 + 0.03 * draw[7],
            mediastinum=0.13 + 0.02 * draw[8],
            trunk=0.86 + 0.05 * draw[9],
            shoulder=-0.80 + 0.04 * draw[10],
            fat=0.5 + 0.5 * draw[11],
            rib_spacing=0.138 + 0.010 * draw[12],
            rib_start=0.10 * draw[13],
            rib_slope=0.33 + 0.08 * draw[14],
            bone=1.0 + 0.25 * draw[15],
            clavicle=0.05 * draw[16],
            bubble=0.5 + 0.5 * draw[17],
            breast=(0.5 + 0.5 * draw[18]) if female else 0.0,
            vessels=_draw_vessels(rng),
            texture=rng.standard_normal((12, 12), dtype=np.float32),
        )


@dataclass(frozen=True)
class Exposure:
    """What changes from one image to the next: position and film."""

    shift_x: float
    shift_y: float
    rotation: float
    scale: float
    brightness: float
    contrast: float
    gradient_x: float
    gradient_y: float
    inspiration: float

    @classmethod
    def draw(cls, rng):
        """Draw the circumstances of one image."""
        draw = rng.uniform(-1, 1, 9).tolist()
        return cls(
            shift_x=0.05 * draw[0],
            shift_y=0.05 * draw[1],
            rotation=math.radians(3.0) * draw[2],
            scale=1.0 + 0.05 * draw[3],
            brightness=0.05 * draw[4],
            contrast=1.0 + 0.12 * draw[5],
            gradient_x=0.03 * draw[6],
            gradient_y=0.03 * draw[7],
            inspiration=0.05 * draw[8],
        )


@dataclass(frozen=True)
class Radiograph:
    """A drawn anatomy.

    ``gray`` and ``vessels`` (what the lung vessels add to it) are float32 images, ``lungs`` is the mask of the lungs,
    ``depth`` the distance to the edge of the lungs. ``sides`` holds for each lung, the one left in the image first,
    ``(inside, lateral, across, up)``: its mask, the distance to the chest wall, and its coordinates from 0 medial to 1
    lateral and from 0 at the base to 1 at the apex. ``x`` and ``y`` are body coordinates.
    """

    gray: np.ndarray
    vessels: np.ndarray
    lungs: np.ndarray
    depth: np.ndarray
    sides: tuple
    x: np.ndarray
    y: np.ndarray


def draw_radiograph(patient, exposure, size, child=0.0):
    """Draw a patient's radiograph.

    Parameters
    ----------
    patient : Patient
        Anatomy.
    exposure : Exposure
        Position and film.
    size : int
        Image side in pixels.
    child : float, default=0.0
        From 0, an adult's proportions, to 1, those of a small child: a small round chest with a wide heart and
        upper mediastinum, level ribs and open growth plates.

    Returns
    -------
    Radiograph
        Noise-free image with the mask of its lungs.
    """
    pose = _Pose.of(exposure, child)
    x, y = pose.body_coordinates(size)
    edge = np.float32(2.4 / size)  # width over which an edge fades: a bit more than a pixel
    side = np.where(x < 0, np.float32(-1), np.float32(1))
    u = np.abs(x)
    lean = np.tanh(x * 6)

    # Each lung is bounded by the chest wall, the mediastinum, the diaphragm and the heart.
    top = patient.lung_top + 0.10 * child
    dome = (
        patient.lung_base + exposure.inspiration - 0.06 * child + patient.base_asymmetry * lean
        + (0.40 + 0.06 * lean) * np.square((u - 0.34) / 0.66)
    )  # fmt: skip
    foot = patient.lung_base + exposure.inspiration - 0.06 * child + 0.16
    up = (foot - y) / (foot - top)
    clipped = np.clip(up, 0, 1)
    width = patient.lung_width + 0.03 * child
    wall = patient.apex + (width - patient.apex) * np.sqrt(1 - clipped ** (2.6 - 0.6 * child))
    mediastinum = patient.mediastinum + 0.07 * child * _bell(y, -0.30, 0.22)  # the thymus of a child
    medial = patient.apex - (patient.apex - mediastinum) * np.sqrt(1 - clipped**10)
    heart = _heart_distance(x, y, patient, foot, child)
    thorax = np.minimum(np.minimum(wall - u, y - top), dome - y)
    center = _smooth_union(heart, u - medial, 0.10)
    depth = np.minimum(thorax, center)
    lungs = depth > 0

    outline = _body_distance(u, y, patient)
    inside = _ramp(outline, 1.5 * edge)
    tissue = (0.34 + 0.08 * patient.fat) * inside * (0.45 + 0.55 * np.sqrt(np.clip(outline / 0.45, 0, 1)))
    belly = _ramp(y - dome, 1.2 * edge)
    belly *= _ramp(patient.trunk + 0.06 * np.square(y) - u, 2 * edge)
    tissue += (0.27 * belly + 0.06 * np.clip(y - foot, 0, 0.3)) * inside
    tissue += (0.22 + 0.08 * _ramp(-center - 0.06, 0.10)) * _ramp(-center, 1.5 * edge) * inside * (1 - 0.8 * belly)
    air = _ramp(depth, edge) * (0.16 + 0.12 * np.sqrt(np.clip(depth / 0.16, 0, 1)))
    # The lung reaches behind the heart and the dome: the shadow there is not quite opaque.
    air += 0.04 * _ramp(thorax, 0.05) * _ramp(-center, 0.05)
    air += _airways(x, y)
    air += 0.10 * patient.bubble * inside * _ramp(1 - np.hypot((x - 0.40) / 0.16, (y - dome - 0.13) / 0.09), 0.5)
    breast = np.hypot(u - 0.42, y - 0.22) - 0.30
    tissue += 0.09 * patient.breast * _ramp(-breast, 2 * edge) * np.clip((y + 0.05) / 0.5, 0, 1) * (1 - 0.7 * child)
    bone = _ribs(u, y, patient, wall, top, edge, child) + _spine(x, y, inside) + _shoulder_girdle(u, y, patient, edge)
    if child > 0:
        # An open growth plate is a dark line across the head of the humerus.
        plate = np.exp(-np.square((y + 0.40 + 0.35 * (u - 1.0)) / max(0.012, 0.6 * edge)))
        bone -= 0.20 * child * plate * _ramp(0.14 - np.abs(u - 1.0), edge)

    texture = cv2.resize(patient.texture, (size, size), interpolation=cv2.INTER_CUBIC)
    bone *= inside * (1 - 0.5 * _ramp(y - dome, 0.1))
    total = tissue - air + patient.bone * bone + 0.012 * texture * inside
    total += exposure.gradient_x * x + exposure.gradient_y * y
    gray = _film(total, exposure) * np.clip(0.06 + inside, 0, 1)
    vessels = _vessels(patient.vessels, pose, size, foot, top) * _ramp(depth, edge)
    across = (u - medial) / np.maximum(wall - medial, np.float32(1e-3))
    sides = tuple((lungs & (side == which), wall - u, across, up) for which in (-1, 1))
    return Radiograph(gray, vessels, lungs, depth, sides, x, y)


@dataclass(frozen=True)
class _Pose:
    """Rotation with scaling, and shift, that take body coordinates to image coordinates."""

    cos: float
    sin: float
    scale: float
    shift_x: float
    shift_y: float

    @classmethod
    def of(cls, exposure, child):
        scale = exposure.scale * (1 - 0.20 * child)
        cos, sin = math.cos(exposure.rotation), math.sin(exposure.rotation)
        return cls(cos, sin, scale, exposure.shift_x, exposure.shift_y - 0.12 * child)

    def body_coordinates(self, size):
        """Give x and y of every pixel of a square image."""
        grid = (np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1
        column = (grid[None, :] - self.shift_x) / self.scale
        row = (grid[:, None] - self.shift_y) / self.scale
        return self.cos * column + self.sin * row, self.cos * row - self.sin * column

    def image_coordinates(self, x, y):
        """Give the place of body points in the image, from -1 to 1."""
        return (
            self.scale * (self.cos * x - self.sin * y) + self.shift_x,
            self.scale * (self.sin * x + self.cos * y) + self.shift_y,
        )


def _ramp(distance, width):
    """0 below ``-width``, 1 above ``width``, smooth between."""
    t = np.clip(distance / (2 * width) + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def _bell(value, center, width):
    return np.exp(-np.square((value - center) / width))


def _smooth_union(a, b, radius):
    """Smaller of two distances with the corner rounded off; with a negative radius the larger of the two."""
    overlap = np.maximum(abs(radius) - np.abs(a - b), 0)
    fillet = overlap * overlap / (4 * radius)
    return (np.minimum(a, b) if radius > 0 else np.maximum(a, b)) - fillet


def _ellipse_distance(x, y, x0, y0, radius_x, radius_y, angle=0.0):
    """Distance to an ellipse, positive outside; exact on the axes and close to it elsewhere."""
    cos, sin = math.cos(angle), math.sin(angle)
    along, across = cos * (x - x0) + sin * (y - y0), cos * (y - y0) - sin * (x - x0)
    return (np.hypot(along / radius_x, across / radius_y) - 1) * min(radius_x, radius_y)


def _heart_distance(x, y, patient, foot, child):
    """Distance to the heart, the aortic arch and the pulmonary trunk, positive outside."""
    width = patient.heart_width + 0.05 * child
    heart = _ellipse_distance(x, y, patient.heart_x, foot - 0.25, width, 0.24 + 0.05 * child, 0.50)
    arch = _ellipse_distance(x, y, patient.knob, -0.28, 0.10 * (1 - 0.7 * child), 0.11)
    trunk = _ellipse_distance(x, y, 0.09, -0.08, 0.14, 0.17)
    return _smooth_union(_smooth_union(arch, trunk, 0.08), heart, 0.12)


def _body_distance(u, y, patient):
    """Distance to the skin, positive inside."""
    trunk = _smooth_union(u - patient.trunk - 0.06 * np.square(y), -0.45 - y, -0.15)
    slope = np.clip((u - 0.20) / 0.75, 0, 2)
    shoulders = np.maximum(patient.shoulder + 0.26 * slope**1.5 - y, y + 0.40)
    neck = np.maximum(u - 0.23, y + 0.5)
    # The upper arms hang down and a little away from the chest.
    arm = np.maximum(np.abs(u - 1.06 - 0.14 * np.clip(y + 0.4, 0, 2)) - 0.17, -0.5 - y)
    return -_smooth_union(_smooth_union(neck, shoulders, 0.15), _smooth_union(trunk, arm, 0.05), 0.12)


def _airways(x, y):
    """Trachea and main bronchi, as the attenuation that is missing there."""
    trachea = _ramp(0.050 - np.abs(x + 0.01), 0.02) * _ramp(-0.24 - y, 0.03)
    bronchi = _ramp(0.035 - np.abs(y + 0.25 - 0.75 * np.abs(x + 0.01)), 0.02) * _ramp(0.20 - np.abs(x), 0.05)
    return 0.085 * trachea + 0.05 * bronchi


def _ribs(u, y, patient, wall, top, edge, child):
    """Posterior ribs, which run level from the spine, and fainter anterior ribs, which run down to the middle."""
    reach = np.clip(u / patient.lung_width, 0, 1.2)
    slope = patient.rib_slope * (1 - 0.45 * child)
    posterior = (y - top - 0.03 + 0.11 * np.sin(np.pi * np.clip(reach, 0, 1)) - slope * reach**3) / patient.rib_spacing
    posterior += patient.rib_start
    anterior = (y - top - 0.30 + 1.1 * slope * reach**1.3) / (1.08 * patient.rib_spacing) + 0.4
    cage = _ramp(wall + 0.045 - u, edge)
    rim = np.exp(-np.square((u - wall - 0.022) / np.maximum(0.018, 0.6 * edge)))
    back = _rib_profile(posterior, 0.215, edge / patient.rib_spacing)
    back *= _ramp(posterior + 0.4, 0.3) * _ramp(9.6 - posterior, 0.4) * _ramp(u - 0.07, 0.03)
    front = _rib_profile(anterior, 0.25, edge / patient.rib_spacing)
    front *= _ramp(anterior - 0.3, 0.3) * _ramp(6.4 - anterior, 0.4) * _ramp(u - 0.30, 0.12)
    return (0.085 * back + 0.040 * front) * cage + 0.05 * rim * (0.3 + back) * _ramp(y - top, 0.1)


def _rib_profile(phase, half_width, edge):
    """Cross-section of periodic ribs: a plateau with denser cortical borders."""
    offset = np.abs(phase - np.round(phase))
    plateau = _ramp(half_width - offset, np.maximum(edge, 0.05))
    border = np.exp(-np.square((offset - half_width + 0.04) / np.maximum(0.05, edge)))
    return 0.65 * plateau + 0.45 * border


def _spine(x, y, inside):
    """Vertebral bodies with disk spaces, pedicles and spinous processes, faint behind the mediastinum."""
    level = np.cos(y * (2 * np.pi / 0.135))
    body = _ramp(0.095 - np.abs(x) + 0.008 * level, 0.02)
    process = _bell(x, 0, 0.014) * _ramp(level - 0.2, 0.4)
    pedicles = _bell(np.abs(x), 0.062, 0.016) * _ramp(level - 0.4, 0.4)
    return (body * (0.075 + 0.016 * level) + 0.03 * process + 0.025 * pedicles) * inside


def _shoulder_girdle(u, y, patient, edge):
    """Collar bones, shoulder blades and the upper arms."""
    run = (u - 0.07) / 0.66
    line = -0.52 - patient.clavicle - 0.17 * run + 0.035 * np.sin(2 * np.pi * run)
    offset = np.abs(y - line)
    along = _ramp(run, 0.04) * _ramp(1.05 - run, 0.05)
    half_width = 0.030 + 0.012 * np.square(2 * run - 1)
    collar = _ramp(half_width - offset, edge) + 0.5 * np.exp(-np.square((offset - half_width) / max(0.010, 0.5 * edge)))
    blade = _smooth_union(u - 0.66 + 0.18 * (y + 0.5), 0.10 - y - 1.4 * (u - 0.70), 0.2)
    blade = _smooth_union(blade, y + 0.62, 0.2)
    rim = np.exp(-np.square(blade / max(0.012, 0.6 * edge))) * _ramp(blade + 0.1, 0.05)
    head = 0.115 - np.hypot(u - 0.99, y + 0.50)
    shaft = np.minimum(0.060 - np.abs(u - 1.04 - 0.12 * np.clip(y + 0.4, 0, 2)), y + 0.5)
    arm = np.maximum(head, shaft)
    return (
        0.10 * collar * along
        + 0.035 * _ramp(blade, 0.04)
        + 0.02 * rim
        + _ramp(arm, edge) * (0.12 + 0.06 * np.exp(-np.square(arm / 0.03)))
    )


def _film(attenuation, exposure):
    """Gray value of an attenuation: a film's S-shaped curve."""
    level = exposure.contrast * (attenuation - 0.45) + exposure.brightness
    return (1 / (1 + np.exp(-4.2 * level))).astype(np.float32)


def _draw_vessels(rng):
    """Branches of the lung vessels: rows of (side, x0, y0, x1, y1, width) around the root of the lung at (0, 0)."""
    branches = []
    for side in (-1, 1):
        count = 6
        angle = np.linspace(-1.4, 1.3, count) + rng.uniform(-0.12, 0.12, count)
        start = np.zeros((count, 2))
        width = np.full(count, 0.024)
        for length in (0.16, 0.15, 0.13, 0.12):
            reach = length * rng.uniform(0.75, 1.25, len(angle))
            end = start + reach[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
            branches.append(np.column_stack([np.full(len(angle), side), start, end, width]))
            fork = rng.uniform(0.12, 0.45, len(angle))
            angle = np.concatenate([angle - fork, angle + fork])
            start, width = np.tile(end, (2, 1)), np.tile(width * 0.68, 2)
            keep = rng.permutation(len(angle))[: int(1.5 * len(angle) / 2)]
            angle, start, width = angle[keep], start[keep], width[keep]
    return np.concatenate(branches).astype(np.float32)


def _vessels(branches, pose, size, foot, top):
    """Draw the vessels as an image of gray values to add."""
    factor = max(1, min(4, 256 // size))
    canvas = np.zeros((factor * size, factor * size), np.uint8)
    points = branches[:, 1:5].reshape(-1, 2, 2) + np.array([0.17, top + 0.56 * (foot - top)])
    image = np.stack(pose.image_coordinates(points[..., 0] * branches[:, :1], points[..., 1]), axis=-1)
    pixels = np.round((image + 1) * (factor * size / 2) * 16 - 8).astype(np.int32)
    thickness = branches[:, 5] * (factor * size / 2)
    shade = np.clip(90 + 5200 * branches[:, 5] * np.clip(thickness, 0.3, 1), 60, 230).astype(int).tolist()
    thickness = np.maximum(np.round(thickness), 1).astype(int).tolist()
    # Thin branches first: the wide ones close to the root lie over them.
    for index in np.argsort(branches[:, 5], kind="stable"):
        cv2.polylines(canvas, pixels[index : index + 1], False, shade[index], thickness[index], cv2.LINE_AA, 4)
    canvas = cv2.GaussianBlur(canvas, (0, 0), 0.004 * factor * size)
    shrunk = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
    return shrunk.astype(np.float32) * np.float32(0.13 / 255)
