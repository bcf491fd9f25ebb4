"""Artifacts that can be planted into an image: what each of them draws.

All artifacts work on images of gray values from 0 to 1, ``(H, W)`` or ``(C, H, W)``. A local artifact is a *layer*: how
opaque it is in each pixel, and its gray value there. Lengths are shares of the shorter image side.
"""

import cv2
import numpy as np
from scipy.interpolate import CubicSpline

_FAINTEST = 1 / 64  # opacity below which a layer does not touch the pixel


def plant(name, image, rng, *, lungs=None, strength=1.0, scale=1.0, text=None):
    """Plant an artifact into one image.

    Parameters
    ----------
    name : str
        One of :data:`ARTIFACTS`.
    image : ndarray of shape (H, W) or (C, H, W), dtype float32
        Gray values or channels from 0 to 1.
    rng : numpy.random.Generator
        Decides place and shape.
    lungs : ndarray of bool of shape (H, W), default=None
        Lungs, which anchor drains and pacemakers; without them a frontal chest radiograph filling the image is assumed.
    strength : float, default=1.0
        Opacity relative to the usual one.
    scale : float, default=1.0
        Size relative to the usual one.
    text : str, default=None
        What a marker or time stamp says.

    Returns
    -------
    planted : ndarray like ``image``
        Image with the artifact; pixels outside the mask are those of ``image``, bit for bit.
    mask : ndarray of bool of shape (H, W)
        Where the artifact is: everywhere for artifacts of the whole image.
    """
    shape = image.shape[-2:]
    if name in WHOLE_IMAGE:
        return WHOLE_IMAGE[name](image, rng, strength).astype(np.float32), np.ones(shape, bool)
    if name in TEXTUAL:
        opacity, value = LOCAL[name](shape, rng, scale, text)
    else:
        opacity, value = LOCAL[name](shape, rng, scale, lungs)
    opacity = np.clip(opacity * strength, 0, 1).astype(np.float32)
    mask = opacity >= _FAINTEST
    value = np.asarray(value, dtype=np.float32)
    if value.ndim == 1:  # a color
        value = value[:, None, None] if image.ndim == 3 and len(image) == 3 else value.max()
    blended = image + opacity * (value - image)
    return np.where(mask, blended, image).astype(np.float32), mask


# -- artifacts of a chest radiograph -----------------------------------------------------------------------------------
def _drain(shape, rng, scale, lungs):
    """Chest tube: two bright walls from outside the body through the chest wall up to the apex of the lung."""
    height, width = shape
    side, box = _pick_lung(shape, rng, lungs)
    outward = -1 if side == 0 else 1
    left, right, top, bottom, wall = box
    entry_y = top + rng.uniform(0.50, 0.72) * (bottom - top)
    entry_x = wall(entry_y)
    tip_y = top + rng.uniform(0.08, 0.22) * (bottom - top)
    tip_x = left + rng.uniform(0.42, 0.62) * (right - left)
    bend_y = entry_y - rng.uniform(0.25, 0.45) * (entry_y - tip_y)
    bend_x = wall(bend_y) - outward * rng.uniform(0.18, 0.34) * (right - left)
    room = width - entry_x if outward > 0 else entry_x
    drop = rng.uniform(0.06, 0.22) * height
    if room > 0.04 * width:
        reach = min(rng.uniform(0.14, 0.34) * width, room + 0.02 * width)
        points = [(entry_x + outward * reach, entry_y + drop)]
        points.append((entry_x + outward * 0.45 * reach, entry_y + 0.35 * drop))
    else:  # the picture ends at the chest wall: the tube leaves it below the lung
        points = [(entry_x, height + 0.02 * height), (entry_x, 0.5 * (entry_y + height))]
    points += [(entry_x, entry_y), (bend_x, bend_y), (tip_x, tip_y)]
    curve = _smooth_curve(points)
    caliber = rng.uniform(0.026, 0.034) * scale
    canvas = _Canvas(shape)
    canvas.line(curve, caliber, 175)
    canvas.line(curve, 0.52 * caliber, 80)
    canvas.line(curve, 0.12 * caliber, 235)  # the radiopaque stripe
    return canvas.opacity() * rng.uniform(0.85, 1.0), 0.97


def _pacemaker(shape, rng, scale, lungs):
    """Pulse generator below the left collar bone with a lead to the right ventricle."""
    left, right, top, bottom, _ = _lung_box(shape, 1, lungs)
    unit = min(shape)
    x = left + rng.uniform(0.55, 0.80) * (right - left)
    y = top + rng.uniform(0.14, 0.26) * (bottom - top)
    half = 0.5 * unit * scale * rng.uniform(0.145, 0.175) * np.array([0.92, 1.0])
    turn = rng.uniform(-0.45, 0.45)
    axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    can = np.sign(np.column_stack([np.cos(angle), np.sin(angle)]))
    can *= np.abs(np.column_stack([np.cos(angle), np.sin(angle)])) ** 0.55 * half
    header = np.array([[-0.8, -1.22], [0.8, -1.22], [0.85, -0.8], [-0.85, -0.8]]) * half
    battery = np.array([[-0.72, 0.05], [0.72, 0.05], [0.6, 0.72], [-0.6, 0.72]]) * half
    center = np.array([x, y])
    other = _lung_box(shape, 0, lungs)
    middle = 0.5 * (left + other[1])
    ventricle = np.array(
        [middle + rng.uniform(0.25, 0.5) * (right - left), top + rng.uniform(0.78, 0.9) * (bottom - top)]
    )
    out = center + (np.array([0.5, -1.2]) * half) @ axes
    vein = (middle - rng.uniform(0.01, 0.04) * unit, top + 0.26 * (bottom - top))
    atrium = (middle - rng.uniform(0.02, 0.06) * unit, top + 0.62 * (bottom - top))
    above = (0.5 * (x + middle), top + rng.uniform(0.02, 0.08) * (bottom - top))
    lead = _smooth_curve([out, (out[0] - 0.03 * unit, out[1] - 0.03 * unit), above, vein, atrium, ventricle])
    canvas = _Canvas(shape)
    canvas.line(lead, 0.008 * scale, 190)
    canvas.line(lead[-5:], 0.013 * scale, 245)
    canvas.polygon(header @ axes + center, 150)
    canvas.polygon(can @ axes + center, 225)
    canvas.polygon(battery @ axes + center, 250)
    return canvas.opacity(), 0.98


def _marker(shape, rng, scale, text):
    """Lead letter beside the patient, at the upper corner of the side that it names."""
    text = ("L" if rng.random() < 0.5 else "R") if text is None else text
    on_left = text.strip().upper().startswith("R")
    center = (
        (0.09 if on_left else 0.91) + rng.uniform(-0.025, 0.025),
        rng.uniform(0.08, 0.15),
    )
    return _written(shape, text, center, 0.105 * scale, rng.uniform(-8, 8)), 0.97


# -- artifacts of any image --------------------------------------------------------------------------------------------
def _timestamp(shape, rng, scale, text):
    """Date and time in a random corner, in the burnt-in type of an imaging system."""
    day = np.datetime64("2020-01-01T00:00:00") + rng.integers(0, 3 * 365 * 24 * 3600)
    text = str(day).replace("T", " ") if text is None else text
    color = rng.choice([10.0, 245.0], size=3)
    color[rng.integers(3)] = 245.0  # black on black could not be seen
    color += rng.normal(0, 5, size=3)
    corner = rng.integers(0, 2, size=2)
    center = np.where(corner == 0, [0.29, 0.07], [0.71, 0.93]) + rng.normal(0, 2 / 224, size=2)
    opacity = _written(shape, text, center, 0.042 * scale, rng.uniform(-3, 3), longest=0.52 * scale)
    return opacity, np.clip(color / 255, 0, 1)


def _microscope(shape, rng, scale, _lungs):
    """Black frame outside a centered disk, as the tube of a dermatoscope leaves it."""
    radius = rng.uniform(109, 126) / 224 * scale * min(shape)
    row, column = np.ogrid[: shape[0], : shape[1]]
    distance = np.hypot(row - (shape[0] - 1) / 2, column - (shape[1] - 1) / 2)
    return np.clip(distance - radius + 0.5, 0, 1), 0.0


def _patch(shape, rng, scale, _lungs):
    """Constant gray square in the lower right corner, the decoy of many benchmarks."""
    side = max(1, round(0.08 * scale * min(shape)))
    margin = round(0.03 * min(shape))
    opacity = np.zeros(shape)
    opacity[
        max(0, shape[0] - margin - side) : shape[0] - margin, max(0, shape[1] - margin - side) : shape[1] - margin
    ] = 1
    return opacity, 0.8


# -- artifacts of the whole image --------------------------------------------------------------------------------------
def _scanner(image, rng, strength):
    """Another machine: a softer image, a flatter curve and more noise."""
    sigma = 0.007 * strength * min(image.shape[-2:])
    planes = image.reshape(-1, *image.shape[-2:])
    soft = np.stack([cv2.GaussianBlur(plane, (0, 0), max(sigma, 0.01)) for plane in planes]).reshape(image.shape)
    curve = soft ** (1 - 0.25 * min(strength, 2))
    return np.clip(curve + 0.02 * strength * rng.standard_normal(image.shape, dtype=np.float32), 0, 1)


def _vignette(image, rng, strength):
    """Darkness that grows towards the corners."""
    height, width = image.shape[-2:]
    row, column = np.ogrid[:height, :width]
    center = rng.uniform(-0.08, 0.08, size=2)
    distance = np.hypot((2 * row + 1) / height - 1 - center[0], (2 * column + 1) / width - 1 - center[1])
    dark = np.clip((distance - 0.45) / 0.95, 0, 1) ** 1.5
    return image * np.clip(1 - 0.85 * strength * dark, 0, 1)


def _brightness(image, _rng, strength):
    """Veil of white."""
    return image + np.float32(min(0.2 * strength, 1.0)) * (1 - image)


LOCAL = {
    "drain": _drain,
    "pacemaker": _pacemaker,
    "marker": _marker,
    "timestamp": _timestamp,
    "microscope": _microscope,
    "patch": _patch,
}
WHOLE_IMAGE = {"scanner": _scanner, "vignette": _vignette, "brightness": _brightness}
TEXTUAL = ("marker", "timestamp")
ARTIFACTS = (*LOCAL, *WHOLE_IMAGE)


# -- drawing -----------------------------------------------------------------------------------------------------------
class _Canvas:
    """Picture finer than the image, on which lines are drawn whose coverage of each image pixel is then measured."""

    def __init__(self, shape):
        self.shape = shape
        self.factor = int(np.clip(512 // min(shape), 2, 8))
        self.picture = np.zeros([self.factor * side for side in shape], np.uint8)

    def line(self, points, width, value):
        """Draw over what is there: points in image pixels, width as a share of the shorter side."""
        thickness = max(1, round(width * min(self.shape) * self.factor))
        cv2.polylines(self.picture, [self._fixed_point(points)], False, value, thickness, cv2.LINE_AA, 4)

    def polygon(self, points, value):
        """Fill a convex polygon over what is there."""
        cv2.fillConvexPoly(self.picture, self._fixed_point(points), value, cv2.LINE_AA, 4)

    def _fixed_point(self, points):
        # Four fractional bits; far away points are cut because OpenCV counts in 16.16 inside.
        limit = 4.0 * max(self.picture.shape)
        return np.round(np.clip(np.asarray(points) * self.factor, -limit, limit) * 16).astype(np.int32)

    def opacity(self):
        """Give the covered share of each image pixel, times the value drawn."""
        covered = cv2.resize(self.picture, self.shape[::-1], interpolation=cv2.INTER_AREA)
        return covered.astype(np.float32) / 255


def _written(shape, text, center, letter, angle, longest=np.inf):
    """Opacity of a line of text.

    ``center`` is a share of width and height, ``letter`` the height of a capital and ``longest`` the length of the line
    at most, as shares of the shorter side.
    """
    canvas = _Canvas(shape)
    unit = min(shape) * canvas.factor
    font = cv2.FONT_HERSHEY_SIMPLEX
    (length, capital), _ = cv2.getTextSize(text, font, 1.0, 1)
    size = min(letter * unit / capital, longest * unit / max(length, 1))
    thickness = max(1, round(0.16 * size * capital))
    x, y = center[0] * canvas.picture.shape[1], center[1] * canvas.picture.shape[0]
    origin = round(x - size * length / 2), round(y + size * capital / 2)
    cv2.putText(canvas.picture, text, origin, font, size, 255, thickness, cv2.LINE_AA)
    turn = cv2.getRotationMatrix2D((x, y), angle, 1.0)
    canvas.picture = cv2.warpAffine(canvas.picture, turn, canvas.picture.shape[::-1])
    return canvas.opacity()


def _smooth_curve(points, n_points=60):
    """Points of a smooth curve through the given ones."""
    points = np.asarray(points, dtype=float)
    steps = np.sqrt(np.linalg.norm(np.diff(points, axis=0), axis=1))  # centripetal: no loops between uneven points
    place = np.concatenate([[0], np.cumsum(np.maximum(steps, 1e-6))])
    return CubicSpline(place, points, bc_type="natural")(np.linspace(0, place[-1], n_points))


def _pick_lung(shape, rng, lungs):
    """Draw a side, 0 left and 1 right in the image, that has a lung, and give its box."""
    side = int(rng.random() < 0.5)
    if lungs is not None and lungs.any():
        half = shape[1] // 2
        halves = (lungs[:, :half], lungs[:, half:])
        if not halves[side].any():
            side = 1 - side
    return side, _lung_box(shape, side, lungs)


def _lung_box(shape, side, lungs):
    """Left, right, top and bottom of a lung in pixels, and its wall: the lateral end as a function of height."""
    height, width = shape
    half = width // 2
    mask = None if lungs is None else (lungs[:, :half] if side == 0 else lungs[:, half:])
    if mask is None or not mask.any():
        left, right = (0.17 * width, 0.44 * width) if side == 0 else (0.56 * width, 0.83 * width)
        lateral = left if side == 0 else right
        return left, right, 0.15 * height, 0.70 * height, lambda _y: lateral
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    shift = 0 if side == 0 else half
    # The outermost mask pixel of each row that has one.
    ends = mask.argmax(axis=1) if side == 0 else mask.shape[1] - mask[:, ::-1].argmax(axis=1)
    ends = ends[rows] + shift

    def wall(y):
        return float(np.interp(y, rows, ends))

    return columns[0] + shift, columns[-1] + 1 + shift, rows[0], rows[-1] + 1, wall
