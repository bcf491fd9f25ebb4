"""Row source that takes a few slices of every volume, windowed and resized."""

import hashlib
from dataclasses import dataclass

import numpy as np

from ..images import SeriesFiles, apply_window
from ..images._resize import place
from ..images._series import choose_slices
from ..images._sources import RowSource, RowView, take_rows
from ..images._threads import thread_map


class ArrayVolumes:
    """Volumes of equal numbers of slices, in memory or from any row source.

    Parameters
    ----------
    source : row source or ndarray of shape (n, n_slices, H, W)
        Volumes.
    """

    def __init__(self, source):
        self.source = source

    def __len__(self):
        return len(self.source)

    def slice_shape(self, row):
        """Height and width of the slices of a volume."""
        return tuple(self.source.shape[-2:])

    def draw(self, row, choose):
        """Give the slices of a volume that ``choose(total, key)`` chooses, and nothing else of it."""
        volume = np.asarray(self.source[row])
        # By the pixels, not by the row number: a volume gets the same slices in every split of a study.
        middle = np.ascontiguousarray(volume[len(volume) // 2])
        return volume[choose(len(volume), int.from_bytes(hashlib.blake2b(middle, digest_size=8).digest()))]

    def take(self, rows):
        """Give some volumes."""
        return ArrayVolumes(take_rows(self.source, rows))


class SeriesVolumes:
    """Volumes of series on disk.

    Parameters
    ----------
    files : SeriesFiles
        Their reader.
    """

    def __init__(self, files):
        self.files = files

    def __len__(self):
        return len(self.files)

    def slice_shape(self, row):
        """Height and width of the slices of a volume."""
        return self.files.slice_shape(row)

    def draw(self, row, choose):
        """Decode the slices of a volume that ``choose(total, key)`` chooses, and nothing else of it."""
        total = int(self.files.count_slices([row])[0])
        return self.files.read_slices(row, choose(total, int(self.files.numbers[row])))

    def take(self, rows):
        """Give some volumes."""
        return SeriesVolumes(self.files.take(rows))


def volumes_of(source):
    """Give the volumes behind the images of a bunch.

    Parameters
    ----------
    source : row source or ndarray of shape (n, n_slices, H, W)
        Images of a bunch.

    Returns
    -------
    SeriesVolumes or ArrayVolumes
        For :class:`SampledSlices`.
    """
    if isinstance(source, RowView) and isinstance(source.source, SeriesFiles):
        return SeriesVolumes(source.source.take(source.rows))
    return SeriesVolumes(source) if isinstance(source, SeriesFiles) else ArrayVolumes(source)


@dataclass(frozen=True)
class SliceSettings:
    """Which slices and what becomes of them.

    Attributes
    ----------
    n_slices : int
        Slices per volume.
    how : {"uniform", "center", "random"}
        Which, unless drawn anew.
    redraw : bool
        Whether other slices may be drawn.
    window : tuple (center, width) or None
        Window.
    output_range : tuple of two float
        What its ends become.
    size : tuple of int
        Height and width.
    resize : {"letterbox", "stretch", "crop"}
        How slices come to that size.
    seed : int
        Decides random slices, together with the volume.
    """

    n_slices: int
    how: str
    redraw: bool
    window: tuple | None
    output_range: tuple
    size: tuple
    resize: str
    seed: int


class SampledSlices(RowSource):
    """Some slices of every volume as the channels of an image.

    Parameters
    ----------
    volumes : SeriesVolumes or ArrayVolumes
        Where slices come from.
    settings : SliceSettings
        Which slices, and what becomes of them.
    draw : int, default=None
        Seed of a draw; by default the slices are those that ``settings.how`` says.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, volumes, settings, draw=None):
        self.volumes = volumes
        self.settings = settings
        self.drawn = draw

    @property
    def shape(self):
        return (len(self.volumes), self.settings.n_slices, *self.settings.size)

    @property
    def redraws(self):
        return self.settings.redraw

    def redraw(self, seed):
        """Give other slices of the same volumes, drawn at random.

        Parameters
        ----------
        seed : int
            Decides the draw, together with each volume.

        Returns
        -------
        SampledSlices
            The same rows.
        """
        return SampledSlices(self.volumes, self.settings, seed)

    def take(self, rows):
        """Give some rows as a source of their own."""
        return SampledSlices(self.volumes.take(rows), self.settings, self.drawn)

    def cache_key(self, rows):
        """Describe what reading rows gives, without decoding them.

        Parameters
        ----------
        rows : sequence of int
            Row numbers.

        Yields
        ------
        str
            Settings, numbers and files of the rows.
        """
        yield f"{type(self).__name__} {self.settings} {self.drawn}"
        if isinstance(self.volumes, SeriesVolumes):
            yield str(self.volumes.files.numbers[rows].tolist())
            yield from self.volumes.files.describe(rows)
        else:
            yield hashlib.blake2b(np.ascontiguousarray(self.volumes.source[rows])).hexdigest()

    def _read(self, rows):
        batch = np.empty((len(rows), *self.shape[1:]), self.dtype)
        settings = self.settings

        def read(slot):
            row = int(rows[slot])
            values = self.volumes.draw(row, lambda total, key: self._choose(row, total, key))
            if settings.window is not None:
                values = apply_window(values, *settings.window, output_range=settings.output_range)
            placement = place(values.shape[1:], settings.size, settings.resize)
            for image, target in zip(values, batch[slot]):
                pad = image.min() if settings.window is None else settings.output_range[0]
                target[...] = placement.resize(image, pad=pad)

        thread_map(read, range(len(rows)))
        return batch

    def _choose(self, row, total, key):
        settings = self.settings
        if total < settings.n_slices:
            raise ValueError(
                f"row {row} has {total} slices, fewer than n_slices={settings.n_slices}; leave it out, or take fewer"
            )
        if self.drawn is not None:
            return choose_slices(total, settings.n_slices, "random", [self.drawn, key])
        return choose_slices(total, settings.n_slices, settings.how, [settings.seed, key])
