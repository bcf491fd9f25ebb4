"""Exchange of what a region shows between rows."""

from dataclasses import dataclass
from numbers import Integral

import numpy as np
import pandas as pd
from scipy.ndimage import distance_transform_edt
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from .._random_state import make_random_state
from ..images._sources import RowView
from ._inputs import UnmeasurableError
from ._region_rows import as_bunch, as_region, has_region

_TRIES = 20  # rounds of drawing before the rows that may be drawn are listed one by one

EXCHANGE_CONSTRAINTS = {
    "how": [StrOptions({"other_class", "any"})],
    "content": [StrOptions({"auto", "exchange", "place", "region"})],
    "mask_role": [StrOptions({"avoid", "attend"})],
    "n_draws": [Interval(Integral, 1, None, closed="left")],
}


@validate_params(
    {
        "masks": ["array-like", None],
        "labels": ["array-like", None],
        "groups": ["array-like", None],
        **{name: EXCHANGE_CONSTRAINTS[name] for name in ("how", "content", "mask_role")},
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def swap_regions(
    X,
    masks=None,
    *,
    labels=None,
    groups=None,
    how="other_class",
    content="auto",
    mask_role="avoid",
    random_state=None,
):
    """Exchange what a region shows between rows, to see whether a model goes by it.

    Every row that has a region gets another one, its donor, drawn at random and with replacement; its pixels inside the
    region become the donor's. Pixels outside, labels and all fields stay as they are. An artifact that some rows show
    and others do not is exchanged with its absence, too, where the masks of the others are empty.

    Parameters
    ----------
    X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W), (n, C, T) or (n, n_features)
        Images, signals or tables; not changed.
    masks : array-like of shape (n, H, W), (n, T) or (n, n_features), default=None
        Regions; by default the bunch's field.
    labels : array-like of shape (n,) or (n, n_labels), default=None
        Classes, for ``how="other_class"``; by default the bunch's field ``target``. Of several labels, rows are of
        another class if they differ in any.
    groups : array-like of shape (n,), default=None
        Patients; by default the bunch's field. A donor is never of the same patient.
    how : {"other_class", "any"}, default="other_class"
        Which rows may be donors.
    content : {"auto", "exchange", "place", "region"}, default="auto"
        What a row receives:

        - "exchange": the donor's pixels at the places of both regions, the row's own and the donor's: whatever artifact
          the donor has, the row then has, and no other one. Rows with an empty mask, which says that they are free of
          the artifact, give and receive as well;
        - "place": the donor's pixels at the places of the row's own region, whatever the donor's mask. For regions at
          the same place in all rows, and for whole backgrounds;
        - "region": what the donor's own region shows, moved to the row's region: the smallest box around the one is
          laid on that around the other, corner on corner, and each pixel takes the nearest one there that belongs to
          the donor's region. Equal shapes are copied as they are. For markers that every row has, each elsewhere;
        - "auto": "exchange" if ``mask_role`` is "avoid", and "place" if it is "attend", so that a row keeps its right
          region whole.
    mask_role : {"avoid", "attend"}, default="avoid"
        What the masks show: "avoid" a region that must not matter, which is exchanged, or "attend" the one that should,
        around which everything is exchanged.
    random_state : int, RandomState instance or None, default=None
        Decides the donors.

    Returns
    -------
    ImageBunch
        Lazy bunch of all rows with their fields and one more, ``donor``: number of the row that each got its region
        from, -1 for rows that take no part and stay as they are: those without a mask, and with "place" and "region"
        those whose region is empty.

    Raises
    ------
    ValueError
        If there are no masks, no row has a region, labels are missing, or a row has no possible donor.

    Notes
    -----
    Where the outline of the region itself tells the class it goes on telling it after an exchange.

    Masks on disk are read once to find the empty ones.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts import ImageBunch
    >>> from sklearn_shortcuts.metrics import swap_regions
    >>> images = np.array([[[1, 1], [1, 1]], [[2, 2], [2, 2]]])
    >>> bunch = ImageBunch(images, masks=np.array([[[1, 0], [0, 0]]] * 2), target=[0, 1])
    >>> np.asarray(swap_regions(bunch))
    array([[[2, 1],
            [1, 1]],
           [[1, 2],
            [2, 2]]])
    """
    bunch, _ = as_bunch(X, masks, groups)
    if labels is None and "target" in bunch.fields:
        labels = bunch.get("target")
    taking_part = has_region(bunch, mask_role)
    if not taking_part.any():
        raise ValueError("no row has a region: all masks are missing or empty")
    if exchanges_absence(content, mask_role):
        taking_part = bunch.has_mask
    rng = make_random_state(random_state)
    donors = np.arange(len(bunch))
    donors[taking_part] = draw_donors(bunch, labels, taking_part, how, rng)
    return with_donors(bunch, donors, content, mask_role).with_fields(donor=np.where(taking_part, donors, -1))


def exchanges_absence(content, mask_role):
    """Tell whether rows with an empty mask take part in an exchange."""
    return content == "exchange" or (content == "auto" and mask_role == "avoid")


def draw_donors(bunch, labels, taking_part, how, rng, numbers=None):
    """Draw the row that each row gets its region from.

    Parameters
    ----------
    bunch : ImageBunch
        Rows, with patients if it has the field ``groups``.
    labels : array-like of shape (n,) or (n, n_labels) or None
        Classes.
    taking_part : ndarray of bool of shape (n,)
        Rows that give and receive; at least one.
    how : {"other_class", "any"}
        Which rows may be donors.
    rng : RandomState
        Draws.
    numbers : ndarray of int of shape (n,), default=None
        What the caller knows the rows by, for messages.

    Returns
    -------
    ndarray of int of shape (taking_part.sum(),)
        Row numbers of donors, uniform over all that each row may have.
    """
    rows = np.flatnonzero(taking_part)
    numbers = rows if numbers is None else numbers[rows]
    n_rows = len(rows)
    patients = pd.factorize(np.asarray(bunch.get("groups"))[rows])[0] if "groups" in bunch.fields else np.arange(n_rows)
    classes = _class_codes(labels, len(bunch))[rows] if how == "other_class" else None
    # Rows of the own class (or patient) are passed over when drawing. Only where both matter are draws refused.
    passed_over = patients if classes is None else classes
    order = np.argsort(passed_over, kind="stable")
    _, block, sizes = np.unique(passed_over, return_inverse=True, return_counts=True)
    first, n_others = (np.cumsum(sizes) - sizes)[block], (n_rows - sizes)[block]

    def draw(pending):
        place = rng.randint(n_others[pending])
        return order[place + (place >= first[pending]) * sizes[block[pending]]]

    donors, pending = np.empty(n_rows, dtype=np.intp), np.arange(n_rows)
    if (n_others == 0).any():
        raise _no_donor(numbers[np.argmin(n_others)], bunch, how)
    for _ in range(_TRIES):
        donors[pending] = draw(pending)
        pending = pending[patients[donors[pending]] == patients[pending]]
        if len(pending) == 0:
            break
    for row in pending:
        allowed = np.flatnonzero((passed_over != passed_over[row]) & (patients != patients[row]))
        if len(allowed) == 0:
            raise _no_donor(numbers[row], bunch, how)
        donors[row] = allowed[rng.randint(len(allowed))]
    return rows[donors]


def with_donors(bunch, donors, content, mask_role):
    """Give a lazy bunch whose regions come from other rows.

    Parameters
    ----------
    bunch : ImageBunch
        Rows with masks.
    donors : ndarray of int of shape (n,)
        Row that each row's region comes from; the row itself to leave it as it is.
    content : {"auto", "exchange", "place", "region"}
        What a row receives.
    mask_role : {"avoid", "attend"}
        What the masks show.

    Returns
    -------
    ImageBunch
        Same rows and fields.
    """
    if content == "auto":
        content = "exchange" if exchanges_absence(content, mask_role) else "place"
    given = {"donor_images": RowView(bunch.images, donors)}
    if content != "place":
        given["donor_masks"] = RowView(bunch.get("masks"), donors)
    exchange = RegionExchange(n_axes=1 if bunch.signal else 2, mask_role=mask_role, content=content)
    return bunch.with_images(bunch.with_fields(**given).map_images(exchange, ("masks", *given)).images)


@dataclass(frozen=True)
class RegionExchange:
    """Function that puts regions of donors into a batch of images; picklable.

    Parameters
    ----------
    n_axes : int
        Number of axes of a mask.
    mask_role : {"avoid", "attend"}
        What the masks show.
    content : {"exchange", "place", "region"}
        What a row receives.
    """

    n_axes: int
    mask_role: str
    content: str

    def __call__(self, images, masks, donor_images, donor_masks=None):
        """Exchange regions.

        Parameters
        ----------
        images, donor_images : ndarray of shape (n, ..., *spatial)
            Rows and their donors; not changed.
        masks, donor_masks : ndarray of shape (n, *spatial)
            Their masks; those of the donors are not needed for ``content="place"``.

        Returns
        -------
        ndarray like ``images``
            Rows with the regions of their donors.
        """
        spatial = images.shape[-self.n_axes :]
        planes = images.reshape(len(images), -1, *spatial)
        donor_planes = donor_images.reshape(len(images), -1, *spatial)
        inside = as_region(masks, self.mask_role)
        donor_inside = None if self.content == "place" else as_region(donor_masks, self.mask_role)
        if self.content == "exchange":
            inside = inside | donor_inside
        if self.content != "region":
            return np.where(inside[:, None], donor_planes, planes).reshape(images.shape)
        result = planes.copy()
        for row in np.flatnonzero(inside.reshape(len(inside), -1).any(axis=1)):
            _transport(donor_planes[row], donor_inside[row], result[row], inside[row])
        return result.reshape(images.shape)


def _no_donor(row, bunch, how):
    wanted = " of another class" * (how == "other_class") + " of another patient" * ("groups" in bunch.fields)
    remedy = 'give how="any" to take any other row' if how == "other_class" else "give more rows"
    return UnmeasurableError(f"row {row} has no other row{wanted} to exchange its region with; {remedy}")


def _transport(donor, donor_inside, image, inside):
    """Write what the donor's region shows into the region of an image, both of shape (C, *spatial)."""
    places, donor_places = np.argwhere(inside), np.argwhere(donor_inside)
    corner, donor_corner = places.min(axis=0), donor_places.min(axis=0)
    reach, donor_reach = places.max(axis=0) - corner, donor_places.max(axis=0) - donor_corner
    # Along an axis where the region is one pixel wide that pixel lies in the middle.
    relative = np.where(reach > 0, (places - corner) / np.maximum(reach, 1), 0.5)
    taken = tuple((donor_corner + np.rint(relative * donor_reach).astype(np.intp)).T)
    if not donor_inside[taken].all():
        nearest = distance_transform_edt(~donor_inside, return_distances=False, return_indices=True)
        taken = tuple(nearest[(slice(None), *taken)])
    image[(slice(None), *places.T)] = donor[(slice(None), *taken)]


def _class_codes(labels, n_rows):
    if labels is None:
        raise ValueError(
            'how="other_class" needs to know the classes: give labels, or put them into the bunch as target, or give '
            'how="any"'
        )
    labels = np.asarray(labels)
    if len(labels) != n_rows:
        raise ValueError(f"labels has {len(labels)} rows, but there are {n_rows} images")
    missing = pd.isna(labels).reshape(n_rows, -1).any(axis=1)
    if missing.any():
        raise ValueError(f"row {np.flatnonzero(missing)[0]} has no label ({missing.sum()} such rows)")
    if labels.ndim == 1:
        return pd.factorize(labels)[0]
    codes = np.stack([pd.factorize(column)[0] for column in labels.reshape(n_rows, -1).T], axis=1)
    return np.unique(codes, axis=0, return_inverse=True)[1].reshape(n_rows)
