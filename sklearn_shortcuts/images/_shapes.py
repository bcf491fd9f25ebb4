"""Boxes and polygons as masks, and masks as boxes and polygons."""

import numpy as np

__all__ = ["boxes_to_masks", "masks_to_boxes", "masks_to_polygons", "polygons_to_masks"]

FORMATS = ("corners", "xywh")
_MODES = ("union", "per_component")


# -- boxes -------------------------------------------------------------------------------------------------------------
def boxes_to_masks(boxes, shape, *, format="corners", clip=False):
    """Draw the boxes of each image as a mask.

    Parameters
    ----------
    boxes : array-like of shape (n, 4), or list of n with (n_boxes, 4), (4,), empty or None each
        Boxes of every image. Those of one image are united; none give an empty mask.
    shape : tuple of (H, W)
        Size of the images in pixels.
    format : {"corners", "xywh"}, default="corners"
        ``"corners"``: first row, first column, last row, last column, all inside the box. ``(0, 0, -1, -1)`` is the
        box without pixels. ``"xywh"``: left edge, upper edge, width, height, as in NIH ChestX-ray14 and COCO; a pixel
        is inside if its center is, where the center of the first pixel is at (0.5, 0.5). Whole numbers therefore
        cover ``[x, x + w)`` and ``[y, y + h)``.
    clip : bool, default=False
        Cut boxes at the border of the image instead of refusing those that leave it.

    Returns
    -------
    ndarray of bool of shape (n, H, W)
        True inside.

    Raises
    ------
    ValueError
        If a box is not four finite numbers, has a negative extent, or leaves the image.

    See Also
    --------
    masks_to_boxes : The way back.

    Examples
    --------
    >>> from sklearn_shortcuts.images import boxes_to_masks
    >>> boxes_to_masks([(0, 1, 1, 2)], (2, 4)).astype(int)
    array([[[0, 1, 1, 0],
            [0, 1, 1, 0]]])
    >>> boxes_to_masks([[(0, 0, 1, 1), (3, 1, 1, 1)], None], (2, 4), format="xywh").sum(axis=(1, 2))
    array([2, 0])
    """
    height, width = check_shape(shape)
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    boxes = _as_rows(boxes, "boxes")
    masks = np.zeros((len(boxes), height, width), dtype=bool)
    for row, mine in enumerate(boxes):
        mine = _as_boxes(mine, row)
        if format == "corners":
            starts, stops = np.ceil(mine[:, :2]), np.floor(mine[:, 2:]) + 1
        else:
            starts, stops = (np.ceil(part[:, ::-1] - 0.5) for part in (mine[:, :2], mine[:, :2] + mine[:, 2:]))
            if (mine[:, 2:] < 0).any():
                raise ValueError(f"boxes of row {row}: width and height must not be negative, got {mine.tolist()}")
        if (stops < starts).any():
            raise ValueError(f"boxes of row {row}: the last corner lies before the first, got {mine.tolist()}")
        outside = (stops > starts).all(axis=1) & ((starts < 0) | (stops > (height, width))).any(axis=1)
        if outside.any() and not clip:
            raise ValueError(
                f"boxes of row {row}: {mine[outside][0].tolist()} ({format}) leaves the image of {height} x {width}; "
                "check the format and the size of the annotated image, or give clip=True"
            )
        starts, stops = (np.clip(ends, 0, (height, width)).astype(np.intp) for ends in (starts, stops))
        for (top, left), (bottom, right) in zip(starts, stops):
            masks[row, top:bottom, left:right] = True
    return masks


def masks_to_boxes(masks, mode="union", *, format="corners", connectivity=8):
    """Find the boxes around the masks of each image.

    Parameters
    ----------
    masks : array-like of shape (n, H, W)
        Masks; other than 0 is inside.
    mode : {"union", "per_component"}, default="union"
        One box around everything, or one around each connected component.
    format : {"corners", "xywh"}, default="corners"
        As in :func:`boxes_to_masks`; the last row and column of ``"corners"`` belong to the mask.
    connectivity : {8, 4}, default=8
        Whether pixels that touch at a corner belong to the same component.

    Returns
    -------
    ndarray of int of shape (n, 4), or list of n ndarray of shape (n_components, 4)
        Boxes; the list for ``mode="per_component"``. The union of an empty mask is ``(0, 0, -1, -1)`` as corners and
        ``(0, 0, 0, 0)`` as ``"xywh"``.

    See Also
    --------
    boxes_to_masks : The way back.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.images import masks_to_boxes
    >>> masks = np.zeros((1, 5, 6))
    >>> masks[0, 1:3, 0:2] = masks[0, 4, 5] = 1
    >>> masks_to_boxes(masks)
    array([[1, 0, 4, 5]])
    >>> masks_to_boxes(masks, "per_component", format="xywh")
    [array([[0, 1, 2, 2],
           [5, 4, 1, 1]])]
    """
    masks = _as_masks(masks)
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    if mode == "union":
        return _written(_union_boxes(masks), format)
    if mode != "per_component":
        raise ValueError(f"mode must be one of {', '.join(_MODES)}, got {mode!r}")
    if connectivity not in (4, 8):
        raise ValueError(f"connectivity must be 4 or 8, got {connectivity!r}")
    import cv2

    found = []
    for mask in masks:
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=connectivity)
        left, top, width, height = stats[1:, :4].T.astype(np.intp)  # component 0 is the background
        found.append(_written(np.stack([top, left, top + height - 1, left + width - 1], axis=1), format))
    return found


def _union_boxes(masks):
    """Give inclusive corners around each mask."""
    n, height, width = masks.shape
    boxes = np.zeros((n, 4), dtype=np.intp)
    for axis, size in ((0, height), (1, width)):
        occupied = masks.any(axis=2 - axis)
        boxes[:, axis] = occupied.argmax(axis=1)
        boxes[:, axis + 2] = size - 1 - occupied[:, ::-1].argmax(axis=1)
    boxes[~masks.any(axis=(1, 2))] = (0, 0, -1, -1)
    return boxes


def _written(corners, format):
    if format == "corners":
        return corners
    top, left, bottom, right = corners.T
    return np.stack([left, top, right - left + 1, bottom - top + 1], axis=1)


def _as_boxes(boxes, row):
    if boxes is None or len(boxes) == 0:
        return np.zeros((0, 4))
    try:
        boxes = np.asarray(boxes, dtype=np.float64)
    except (TypeError, ValueError):
        boxes = np.full((1, 1), np.nan)
    if boxes.shape == (4,):
        boxes = boxes[None]
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all():
        raise ValueError(f"boxes of row {row} must be four finite numbers each; give None where there is no box")
    return boxes


# -- polygons ----------------------------------------------------------------------------------------------------------
def polygons_to_masks(polygons, shape, *, clip=False):
    """Fill the polygons of each image by the even-odd rule.

    A pixel is inside if its center is, and the center of the first pixel is at (0.5, 0.5): the corner of the image is
    (0, 0), and a rectangle with corners at whole numbers covers exactly the pixels between them. Points given as
    pixel indices, such as contours of OpenCV, are moved there by adding 0.5.

    Parameters
    ----------
    polygons : list of n lists of array-like of shape (n_vertices, 2)
        For every image its polygons, each a list of vertices x, y; the last vertex is joined to the first. A polygon
        inside another is a hole, and where two overlap is outside. None or an empty list give an empty mask.
    shape : tuple of (H, W)
        Size of the images in pixels.
    clip : bool, default=False
        Cut polygons at the border of the image instead of refusing those that leave it.

    Returns
    -------
    ndarray of bool of shape (n, H, W)
        True inside.

    Raises
    ------
    ValueError
        If a polygon has fewer than three vertices, is not finite, or leaves the image.

    See Also
    --------
    masks_to_polygons : The way back, which is exact.

    Examples
    --------
    >>> from sklearn_shortcuts.images import polygons_to_masks
    >>> square, hole = [(0, 0), (4, 0), (4, 3), (0, 3)], [(1, 1), (2, 1), (2, 2), (1, 2)]
    >>> polygons_to_masks([[square, hole]], (3, 5)).astype(int)
    array([[[1, 1, 1, 1, 0],
            [1, 0, 1, 1, 0],
            [1, 1, 1, 1, 0]]])
    """
    height, width = check_shape(shape)
    polygons = _as_rows(polygons, "polygons")
    masks = np.zeros((len(polygons), height, width), dtype=bool)
    for row, mine in enumerate(polygons):
        outlines = [_as_outline(polygon, row, (height, width), clip) for polygon in (() if mine is None else mine)]
        if outlines:
            masks[row] = _fill(outlines, height, width)
    return masks


def _fill(outlines, height, width):
    """Toggle, in every row of pixel centers, all pixels to the right of each edge that crosses it."""
    starts = np.concatenate(outlines)
    ends = np.concatenate([np.roll(outline, -1, axis=0) for outline in outlines])
    first, last = np.minimum(starts[:, 1], ends[:, 1]), np.maximum(starts[:, 1], ends[:, 1])
    first, last = (np.clip(np.ceil(y - 0.5), 0, height).astype(np.intp) for y in (first, last))
    n_rows = last - first
    edge = np.repeat(np.arange(len(starts)), n_rows)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(n_rows) - n_rows, n_rows) + first[edge]
    (x, y), (dx, dy) = starts[edge].T, (ends - starts)[edge].T
    crossing = x + (row + 0.5 - y) * dx / dy
    column = np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.intp)
    toggles = np.zeros((height, width + 1), dtype=np.uint8)  # the sums may wrap around: only their parity counts
    np.add.at(toggles, (row, column), 1)
    return (np.cumsum(toggles[:, :width], axis=1, dtype=np.uint8) & 1).view(bool)


def masks_to_polygons(masks):
    """Trace the outlines of each mask along the edges of its pixels.

    Parameters
    ----------
    masks : array-like of shape (n, H, W)
        Masks; other than 0 is inside.

    Returns
    -------
    list of n lists of ndarray of int of shape (n_vertices, 2)
        Polygons of every image with vertices x, y at corners of pixels; outlines of holes are polygons too. Filled by
        :func:`polygons_to_masks` they give the same masks again.

    See Also
    --------
    polygons_to_masks : The way back.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.images import masks_to_polygons
    >>> masks_to_polygons(np.pad(np.ones((1, 2, 3)), ((0, 0), (1, 0), (1, 0))))[0][0].tolist()
    [[1, 1], [4, 1], [4, 3], [1, 3]]
    """
    return [_trace(mask) for mask in _as_masks(masks)]


def _trace(mask):
    """List the outlines of one mask.

    A corner of pixels is a vertex where one or three of the four pixels around it are inside, and two vertices where
    two are that face each other diagonally. Along a line of the grid the vertices are in turn beginning and end of an
    edge, so that sorting pairs them up: once for the horizontal edges and once for the vertical ones.
    """
    around = np.pad(mask, 1).astype(np.int8)
    inside = around[:-1, :-1] + around[:-1, 1:] + around[1:, :-1] + around[1:, 1:]
    diagonal = (inside == 2) & (around[:-1, :-1] == around[1:, 1:])
    y, x = np.nonzero((inside % 2 == 1) | diagonal)
    copies = 1 + diagonal[y, x]
    y, x = np.repeat(y, copies), np.repeat(x, copies)
    partners = []
    for order in (np.lexsort((x, y)), np.lexsort((y, x))):
        partner = np.empty(len(order), dtype=np.intp)
        partner[order[::2]], partner[order[1::2]] = order[1::2], order[::2]
        partners.append(partner.tolist())
    outlines = []
    unseen = np.ones(len(x), dtype=bool)
    for start in range(len(x)):
        if not unseen[start]:
            continue
        outline, vertex, direction = [], start, 0
        while unseen[vertex]:
            unseen[vertex] = False
            outline.append(vertex)
            vertex = partners[direction][vertex]
            direction = 1 - direction
        outlines.append(np.stack([x[outline], y[outline]], axis=1))
    return outlines


def _as_outline(polygon, row, shape, clip):
    try:
        outline = np.asarray(polygon, dtype=np.float64)
    except (TypeError, ValueError):
        outline = np.zeros(0)
    if outline.ndim != 2 or outline.shape[1] != 2 or len(outline) < 3 or not np.isfinite(outline).all():
        raise ValueError(
            f"polygons of row {row}: a polygon is at least three vertices x, y, all finite, got shape {outline.shape}; "
            "every image takes a list of polygons, and the flat lists of COCO become vertices by "
            "numpy.reshape(polygon, (-1, 2))"
        )
    if not clip and ((outline < 0) | (outline > shape[::-1])).any():
        raise ValueError(
            f"polygons of row {row}: vertices from {outline.min(axis=0).tolist()} to {outline.max(axis=0).tolist()} "
            f"(x, y) leave the image of {shape[0]} x {shape[1]} (height, width); check the order of x and y and the "
            "size of the annotated image, or give clip=True"
        )
    return outline


# -- both --------------------------------------------------------------------------------------------------------------
def check_shape(shape):
    """Give ``(height, width)`` as two positive integers."""
    if np.shape(shape) != (2,) or any(int(side) != side or side < 1 for side in shape):
        raise ValueError(f"shape must be (height, width) in pixels, got {shape!r}")
    return int(shape[0]), int(shape[1])


def _as_rows(shapes, name):
    """Give the shapes of every image; tables and other containers become lists."""
    if isinstance(shapes, (str, bytes)) or not hasattr(shapes, "__len__"):
        raise ValueError(f"{name} must have one entry per image, got {shapes!r:.60}")
    if hasattr(shapes, "iloc"):
        shapes = shapes.to_numpy()
    odd = next((row for row, mine in enumerate(shapes) if mine is not None and not hasattr(mine, "__len__")), None)
    if odd is not None:
        raise ValueError(
            f"{name} of row {odd} must be a list, or None where there are none, got {shapes[odd]!r:.60}; "
            f"the {name} of one image are given as [{name}]"
        )
    return shapes


def _as_masks(masks):
    masks = np.asarray(masks)
    if masks.ndim != 3:
        raise ValueError(f"masks must have shape (n, H, W), got {masks.shape}; give one mask as mask[None]")
    if masks.dtype.kind == "f" and np.isnan(masks).any():
        raise ValueError(f"masks holds NaN in row {int(np.argmax(np.isnan(masks).any(axis=(1, 2))))}; fill it with 0")
    return masks != 0
