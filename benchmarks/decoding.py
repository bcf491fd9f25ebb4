"""Decode DICOM, PNG and JPEG files, against a plain loop over pydicom or Pillow that ends at the same size.

Run ``python -m benchmarks.decoding``; ``--quick`` takes one repeat. Two workers each: threads for PNG and JPEG,
processes for DICOM. The files are generated: smooth structures with the noise of a detector, which compress about as
radiographs do.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from PIL import Image

from benchmarks._timing import compare
from sklearn_shortcuts.images import ImageBunch, ImageFiles, cache_bunch

N_FILES = 16
N_SLOW_FILES = 4  # JPEG 2000 takes half a second a file, with every decoder
N_WORKERS = 2
REPEATS = 5


def radiograph(seed, side=1024, bits=8):
    """Make a gray image with large and small structures and noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] / side
    body = np.exp(-((rows - 0.5) ** 2 + (columns - 0.5) ** 2) * 4)
    ribs = 0.15 * np.sin(rows * 60 + 4 * columns + rng.uniform(0, 6))
    image = 0.7 * body + ribs * body + rng.normal(0, 0.01, (side, side)) + 0.1
    return (image.clip(0, 1) * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)


def write_files(folder):
    """Write the files of every kind; give their paths by kind."""
    kinds = {kind: [] for kind in ("PNG, 8 bits", "PNG, 16 bits", "PNG, color", "JPEG, gray", "JPEG, color")}
    for number in range(N_FILES):
        gray = radiograph(number)
        color = np.stack([gray, np.roll(gray, 9, axis=0), np.roll(gray, 9, axis=1)], axis=-1)
        images = (gray, radiograph(number, bits=16), color, gray, color)
        for (kind, paths), image in zip(kinds.items(), images):
            paths.append(folder / f"{kind}{number}.{'jpg' if 'JPEG' in kind else 'png'}")
            Image.fromarray(image).save(paths[-1])
    return kinds


def write_dicom_files(folder):
    """Write DICOM files, plain and compressed by run lengths and as JPEG 2000; give their paths by kind."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless, SecondaryCaptureImageStorage

    kinds = {"DICOM": None, "DICOM, RLE": RLELossless, "DICOM, JPEG 2000": JPEG2000Lossless}
    written = {kind: [] for kind in kinds}
    for number in range(N_FILES):
        pixels = radiograph(number, bits=12)
        for kind, syntax in kinds.items():
            if "2000" in kind and number >= N_SLOW_FILES:
                continue
            path = folder / f"{kind}{number}.dcm"
            meta = FileMetaDataset()
            meta.TransferSyntaxUID = ExplicitVRLittleEndian
            meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
            meta.MediaStorageSOPInstanceUID = f"1.2.3.{number + 1}"
            dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
            dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
            dataset.Rows, dataset.Columns = pixels.shape
            dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
            dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
            dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
            dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
            dataset.PixelData = pixels.tobytes()
            if syntax is not None:
                dataset.compress(syntax, generate_instance_uid=False)
            dataset.save_as(path)
            written[kind].append(path)
    return written


def pillow_loop(paths, size):
    """Decode and shrink one file after the other, as a short script would."""
    batch = []
    for path in paths:
        image = Image.open(path)
        if image.mode.startswith("I"):
            image = Image.fromarray(np.asarray(image, dtype=np.float32))
        image = image.resize((size, size), Image.Resampling.BOX)
        limit = 65535 if image.mode == "F" else 255
        batch.append(np.asarray(image, dtype=np.float32) / limit)
    return np.stack(batch)


def pydicom_loop(paths, size):
    """Decode, window and shrink one file after the other with pydicom and Pillow."""
    import pydicom
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    batch = []
    for path in paths:
        dataset = pydicom.dcmread(path)
        pixels = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
        image = Image.fromarray((pixels / 4095).astype(np.float32))
        batch.append(np.asarray(image.resize((size, size), Image.Resampling.BOX)))
    return np.stack(batch)


def read(paths, size):
    """Decode with threads."""
    return np.asarray(ImageFiles(paths, size=size, n_threads=N_WORKERS))


def read_dicom(paths, size):
    """Decode with processes, into a cache that is thrown away."""
    bunch = ImageBunch(ImageFiles(paths, size=size, channels=1, n_threads=1))
    return np.asarray(cache_bunch(bunch, batch_size=2, n_jobs=N_WORKERS))


def mean_difference(ours, peer):
    """Tell how far two batches are apart; the axes of color differ."""
    return float(np.abs(ours - (peer if ours.shape == peer.shape else np.moveaxis(peer, -1, 1))).mean())


def main():
    """Print a line for every kind of file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one repeat")
    repeats = 1 if parser.parse_args().quick else REPEATS
    Parallel(n_jobs=N_WORKERS)(delayed(abs)(1) for _ in range(N_WORKERS))  # processes start once in a session
    with tempfile.TemporaryDirectory() as name:
        cases = [(kind, paths, 224, read, pillow_loop) for kind, paths in write_files(Path(name)).items()]
        cases += [(kind, paths, 128, read, pillow_loop) for kind, paths, *_ in cases if "JPEG" in kind]
        cases += [(kind, paths, 64, read, pillow_loop) for kind, paths, *_ in cases[-2:]]
        dicom = write_dicom_files(Path(name))
        cases += [(kind, paths, 224, read_dicom, pydicom_loop) for kind, paths in dicom.items()]
        print(
            f"{N_FILES} files ({N_SLOW_FILES} of JPEG 2000) of 1024 x 1024, {N_WORKERS} workers; below 1: ours faster"
        )
        for kind, paths, size, ours, peer in cases:
            ours, peer = partial(ours, paths, size), partial(peer, paths, size)
            result = compare(ours, peer, repeats=repeats, name=f"{kind} to {size} x {size}")
            print(f"{result} | mean difference {mean_difference(ours(), peer()):.5f}", flush=True)


if __name__ == "__main__":
    main()
