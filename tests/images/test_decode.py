"""One file to one array."""

import io
import warnings

import cv2
import numpy as np
import pydicom
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from pydicom.data import get_testdata_file

from sklearn_shortcuts.images import ImageFiles, read_dicom
from sklearn_shortcuts.images._decode import DecodeSettings, _denominator, decode_image, read_mask
from sklearn_shortcuts.images._headers import read_header


def pattern(height=45, width=62, channels=None):
    rows, columns = np.mgrid[:height, :width]
    planes = [127 + 60 * np.sin(rows / 7 + k) + 50 * np.cos(columns / (5 + k)) for k in range(channels or 1)]
    image = np.stack(planes, axis=-1).clip(0, 255).astype(np.uint8)
    return image if channels else image[..., 0]


def write(folder, image, name="image.png", **options):
    path = folder / name
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return path


def pillow_rgb(path):
    return np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB")).transpose(2, 0, 1)


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [(suffix, mode) for suffix in ("png", "tif") for mode in ("1", "L", "LA", "P", "RGB", "RGBA")]
    + [("bmp", "L"), ("bmp", "RGB"), ("webp", "RGB")],
)
def test_modes_of_lossless_formats(tmp_path, mode, suffix):
    image = Image.fromarray(pattern(channels=3)).convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(pattern(channels=None)))
    path = write(tmp_path, image, f"image.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    decoded = decode_image(path, dtype="uint8")
    is_gray = mode in ("1", "L", "LA")
    if is_gray:
        expected = np.asarray(image.getchannel(0) if mode == "LA" else image.convert("L"))
    else:
        expected = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    np.testing.assert_array_equal(decoded, expected)
    assert read_header(str(path)).shape == expected.shape[-2:]
    assert read_header(str(path)).channels == (1 if is_gray else 3)
    np.testing.assert_allclose(decode_image(path), expected / 255.0, atol=1e-7)
    assert decode_image(path).max() <= 1


def test_palette_with_transparency(tmp_path):
    image = Image.fromarray(pattern(channels=3)).convert("P")
    path = write(tmp_path, image, transparency=3)
    np.testing.assert_array_equal(decode_image(path, dtype="uint8"), pillow_rgb(path))


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [None, 3])
def test_16_bits(tmp_path, channels, suffix):
    image = pattern(channels=channels).astype(np.uint16) * 250 + 7
    path = tmp_path / f"image.{suffix}"
    cv2.imwrite(str(path), image if channels is None else image[..., ::-1])
    expected = image if channels is None else image.transpose(2, 0, 1)
    np.testing.assert_array_equal(decode_image(path, dtype="uint16"), expected)
    np.testing.assert_allclose(decode_image(path, dtype="float64"), expected / 65535, rtol=1e-12)
    assert read_header(str(path)).shape == image.shape[:2]


def test_depths_are_scaled_into_each_other(tmp_path):
    eight = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.save(tmp_path / "8.npy", eight)
    np.save(tmp_path / "16.npy", eight.astype(np.uint16) * 257)
    np.testing.assert_array_equal(decode_image(tmp_path / "8.npy", dtype="uint16"), eight.astype(np.uint16) * 257)
    np.testing.assert_array_equal(decode_image(tmp_path / "16.npy", dtype="uint8"), eight)
    np.testing.assert_array_equal(decode_image(tmp_path / "8.npy"), decode_image(tmp_path / "16.npy"))
    np.testing.assert_array_equal(
        decode_image(tmp_path / "8.npy", dtype="float16"), (eight / np.float32(255)).astype(np.float16)
    )


def test_a_dark_image_stays_dark(tmp_path):
    path = write(tmp_path, np.full((9, 9), 3, np.uint8))
    np.testing.assert_allclose(decode_image(path), 3 / 255)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_cameras(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write(tmp_path, pattern(32, 48, 3), f"image.{suffix}", exif=exif)
    expected = pillow_rgb(path)
    decoded = decode_image(path, dtype="uint8")
    assert read_header(str(path)).shape == expected.shape[1:] == decoded.shape[1:]
    np.testing.assert_allclose(decoded.astype(int), expected, atol=2)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg(tmp_path, mode, progressive):
    image = Image.fromarray(pattern(channels=3)).convert(mode)
    path = write(tmp_path, image, "image.jpg", quality=95, progressive=progressive)
    expected = np.asarray(Image.open(path)) if mode == "L" else pillow_rgb(path)
    np.testing.assert_allclose(decode_image(path, dtype="uint8").astype(int), expected, atol=2)
    gray = np.asarray(Image.open(path).convert("RGB").convert("L")).astype(int)
    assert np.abs(decode_image(path, dtype="uint8", channels=1) - gray).max() <= 3


@pytest.mark.parametrize("shape", [(640, 512), (643, 517), (1025, 700)])
@pytest.mark.parametrize("size", [(80, 64), (320, 256), (31, 90)])
@pytest.mark.parametrize("resize", ["stretch", "letterbox", "crop"])
def test_reduced_jpeg_equals_the_full_one(tmp_path, shape, size, resize):
    noise = np.random.default_rng(0).normal(0, 12, shape)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    image = (127 + 60 * np.sin(rows / 50) + 50 * np.cos(columns / 40) + noise).clip(0, 255).astype(np.uint8)
    jpeg = write(tmp_path, image, "image.jpg", quality=95)
    png = write(tmp_path, Image.open(jpeg), "image.png")
    reduced, full = (decode_image(path, size=size, resize=resize) for path in (jpeg, png))
    assert np.abs(reduced - full).mean() < 1.5 / 255
    assert np.abs(reduced - full).max() < 12 / 255


@pytest.mark.parametrize(
    ("shape", "size", "denominator"),
    [
        ((1024, 1024), (128, 128), 8),
        ((1024, 1024), (127, 127), 4),
        ((1024, 1024), (224, 224), 2),
        ((1024, 1024), (512, 512), 2),
        ((1024, 1024), (400, 400), 1),
        ((1023, 1023), (100, 100), 4),
        ((1023, 1023), (128, 128), 1),
        ((64, 64), (64, 64), 1),
        ((64, 64), (200, 8), 1),
    ],
)
def test_how_far_a_jpeg_is_reduced(shape, size, denominator):
    assert _denominator(shape, DecodeSettings(size=size, resize="stretch")) == denominator
    assert _denominator(shape, DecodeSettings()) == 1


def test_color_to_gray_and_back(tmp_path):
    path = write(tmp_path, pattern(channels=3))
    rgb = decode_image(path, dtype="float64")
    expected = np.tensordot([0.299, 0.587, 0.114], rgb, axes=1)
    np.testing.assert_allclose(decode_image(path, channels=1), expected, atol=1e-6)
    gray = write(tmp_path, pattern(), "gray.png")
    assert decode_image(gray, channels=3, size=(20, 30)).shape == (3, 20, 30)
    np.testing.assert_array_equal(decode_image(gray, channels=3)[2], decode_image(gray))


@pytest.mark.parametrize("dtype", ["float32", "uint8", "uint16"])
def test_margins_have_the_value_stated(tmp_path, dtype):
    path = write(tmp_path, pattern(20, 40, 3))
    image = decode_image(path, size=32, pad=0.4, dtype=dtype)
    limit = 1 if dtype == "float32" else np.iinfo(dtype).max
    assert image.shape == (3, 32, 32)
    np.testing.assert_allclose(image[:, :8] / limit, 0.4, atol=1e-6)
    np.testing.assert_allclose(image[:, 24:] / limit, 0.4, atol=1e-6)
    assert image.dtype == dtype


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.linspace(-1000, 3000, 20).reshape(4, 5), None),
        (np.arange(20, dtype=np.int16).reshape(4, 5) - 10, None),
        (np.arange(60, dtype=np.float32).reshape(3, 4, 5), None),
        (np.arange(100, dtype=np.uint8).reshape(5, 4, 5), np.arange(100).reshape(5, 4, 5) / 255),
        (np.eye(4, 5, dtype=bool), np.eye(4, 5)),
        (np.arange(20, dtype=">u2").reshape(1, 4, 5), np.arange(20).reshape(4, 5) / 65535),
        (np.arange(20, dtype=np.uint8).reshape(5, 4).T, np.arange(20).reshape(5, 4).T / 255),
    ],
)
def test_npy(tmp_path, array, expected):
    path = tmp_path / "image.npy"
    np.save(path, array)
    image = decode_image(path)
    np.testing.assert_allclose(image, array if expected is None else expected, rtol=1e-6)
    image[...] = 0  # not a view of the file
    np.testing.assert_array_equal(np.load(path), array)
    assert decode_image(path, size=(8, 10)).shape == (*image.shape[:-2], 8, 10)


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.zeros((8, 9, 3)), r"looks like \(H, W, C\); save it as \(C, H, W\)"),
        (np.zeros(5), r"an array of shape \(5,\) is no image"),
        (np.zeros((2, 0)), r"an array of shape \(2, 0\) is no image"),
        (np.zeros((4, 4), complex), "complex128, which is no real number"),
        (np.array([[None]]), "cannot be read"),
        (np.zeros((2, 4, 4)), "2 channels or frames, which cannot become 3"),
    ],
)
def test_npy_that_is_no_image(tmp_path, array, match):
    np.save(tmp_path / "image.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=match) as caught:
        decode_image(tmp_path / "image.npy", channels=3)
    assert str(tmp_path / "image.npy") in str(caught.value)


def test_values_without_depth_need_floats(tmp_path):
    np.save(tmp_path / "image.npy", np.zeros((3, 3)))
    with pytest.raises(ValueError, match="float64 values have no depth to scale by; read it with dtype='float32'"):
        decode_image(tmp_path / "image.npy", dtype="uint8")


def test_pages_of_a_tiff(tmp_path):
    pages = [Image.fromarray(pattern() // k) for k in (1, 2, 3)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    expected = np.stack([np.asarray(page) for page in pages])
    np.testing.assert_array_equal(decode_image(tmp_path / "pages.tif", dtype="uint8"), expected)
    np.testing.assert_array_equal(decode_image(tmp_path / "pages.tif", dtype="uint8", frame=1), expected[1])
    with pytest.raises(ValueError, match="frame 3 does not exist; name one below 3"):
        decode_image(tmp_path / "pages.tif", frame=3)
    assert read_header(str(tmp_path / "pages.tif")).channels == 3
    with pytest.raises(ValueError, match="3 channels or frames, which cannot become 1"):
        decode_image(tmp_path / "pages.tif", channels=1)


def test_floating_point_tiff_keeps_its_values(tmp_path):
    values = np.linspace(-5, 5, 12, dtype=np.float32).reshape(3, 4)
    path = write(tmp_path, values, "image.tif")
    np.testing.assert_array_equal(decode_image(path), values)


def encoded(kind):
    image, stream = Image.fromarray(pattern(30, 41, 3)), io.BytesIO()
    thumbnail = io.BytesIO()
    image.resize((16, 16)).save(thumbnail, "JPEG")
    if kind == "png":
        image.save(stream, "PNG")
    else:  # a camera's file: its thumbnail is a complete JPEG before the picture
        image.save(stream, "JPEG", progressive=kind == "progressive", comment=thumbnail.getvalue())
    return stream.getvalue()


CONTENT = {kind: encoded(kind) for kind in ("png", "jpeg", "progressive")}


@pytest.mark.parametrize("kind", list(CONTENT))
@pytest.mark.parametrize("size", [None, 8])
@settings(max_examples=50, deadline=None)
@given(missing=st.floats(0, 1))
@example(missing=1e-9)
def test_a_truncated_file_is_never_given_in_part(tmp_path_factory, kind, size, missing):
    content = CONTENT[kind]
    whole, part = (tmp_path_factory.getbasetemp() / f"{name}-{kind}" for name in ("whole", "part"))
    whole.write_bytes(content)
    n_missing = max(1, round(missing * len(content)))
    part.write_bytes(content[:-n_missing])
    with pytest.raises(ValueError, match="replace the file or drop the row") as caught:
        decode_image(part, size=size)
    assert str(part) in str(caught.value)
    assert decode_image(whole, size=size).shape == (3, *((8, 8) if size else (30, 41)))


@settings(max_examples=50, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_changed_byte_in_a_png_is_noticed(tmp_path_factory, position, flip):
    content = bytearray(CONTENT["png"])
    content[int(position * len(content))] ^= flip
    path = tmp_path_factory.getbasetemp() / "changed.png"
    path.write_bytes(bytes(content))
    try:
        image = decode_image(path, dtype="uint8")
    except ValueError as error:
        message = str(error)
    else:  # nothing that matters was changed
        message = str(path)
        np.testing.assert_array_equal(image, pattern(30, 41, 3).transpose(2, 0, 1))
    assert str(path) in message


@pytest.mark.parametrize(
    "content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\xff\xd8\xff\xd9" * 20]
)
def test_files_that_are_no_images(tmp_path, content):
    path = tmp_path / "image.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"image\.png: .*; replace the file or drop the row"):
        decode_image(path)


def test_bytes_after_the_end_do_no_harm(tmp_path):
    for kind in ("png", "jpeg"):
        path = tmp_path / kind
        path.write_bytes(CONTENT[kind] + b"\0" * 7)
        assert decode_image(path).shape == (3, 30, 41)


def test_missing_file(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"nowhere\.png: there is no such file; correct the path or drop the row"
    ):
        decode_image(tmp_path / "nowhere.png")


def test_unicode_names(tmp_path):
    path = write(tmp_path, pattern(), "Röntgen 胸部 \u00e9\u0301.png")
    np.testing.assert_array_equal(decode_image(path, dtype="uint8"), pattern())


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"size": 0}, "size must be a positive integer"),
        ({"resize": "squash"}, "resize must be one of"),
        ({"channels": 2}, "channels must be 1, 3 or None"),
        ({"dtype": "int8"}, "dtype must be one of"),
        ({"dtype": None}, "dtype must be one of"),
        ({"pad": "black"}, "pad must be a finite number"),
        ({"pad": np.nan}, "pad must be a finite number"),
        ({"size": 8.0}, "size must be a positive integer"),
        ({"size": True}, "size must be a positive integer"),
        ({"frame": -1}, "frame must be None or an integer from 0"),
        ({"frame": "first"}, "frame must be None or an integer from 0"),
        ({"frame": 2}, "frame 2 does not exist: the format has one"),
        ({"pad": 2, "dtype": "uint8"}, "between 0 and 1 for integer images"),
        ({"window": "bone"}, "window must be None, 'auto', 'full', "),
        ({"window": (40, 0)}, "window must be"),
    ],
)
def test_options_that_cannot_be(tmp_path, options, match):
    with pytest.raises(ValueError, match=match):
        decode_image(write(tmp_path, pattern()), **options)


def test_masks_compare_stored_values(tmp_path):
    values = np.array([[0, 1, 127], [200, 254, 255]], dtype=np.uint8)
    path = str(write(tmp_path, values))
    np.testing.assert_array_equal(read_mask(path), values > 0)
    np.testing.assert_array_equal(read_mask(path, 200), values >= 200)
    color = np.stack([values * 0, values, values // 2], axis=-1)
    np.testing.assert_array_equal(read_mask(str(write(tmp_path, color)), 200), values >= 200)
    np.save(tmp_path / "mask.npy", values > 5)
    np.testing.assert_array_equal(read_mask(str(tmp_path / "mask.npy")), values > 5)


def test_a_jpeg_mask_needs_a_threshold(tmp_path):
    mask = np.zeros((40, 40), dtype=np.uint8)
    mask[10:30, 15:25] = 255
    path = str(write(tmp_path, mask, "mask.jpg", quality=60))
    with pytest.raises(ValueError, match="faint traces around the edges of a mask; give threshold="):
        read_mask(path)
    np.testing.assert_array_equal(read_mask(path, 128), mask > 0)


def test_dicom_lies_between_0_and_1(tmp_path, write_dicom):
    pixels = pattern().astype(np.uint16) * 16
    path = write_dicom(tmp_path / "slice", pixels, WindowCenter=2000, WindowWidth=4000)
    image = decode_image(path)
    np.testing.assert_array_equal(image, read_dicom(path, window="auto"))
    np.testing.assert_array_equal(decode_image(path, window="full"), read_dicom(path, window="full"))
    assert 0.999999 < decode_image(path, window="full").max() <= 1
    np.testing.assert_allclose(decode_image(path, dtype="uint8") / 255, image, atol=0.51 / 255)
    np.testing.assert_array_equal(decode_image(path, window=None), pixels)
    assert decode_image(path, size=(20, 31), channels=3).shape == (3, 20, 31)
    with pytest.raises(ValueError, match="have no depth to scale by"):
        decode_image(path, window=None, dtype="uint8")


def test_windows_and_frames_of_dicom_become_channels(tmp_path, write_dicom):
    pixels = pattern(30, 20, 3).transpose(2, 0, 1).astype(np.uint16) * 16
    one = write_dicom(tmp_path / "one.dcm", pixels[0])
    many = write_dicom(tmp_path / "many.dcm", pixels)
    windows = [(1000, 800), (3000, 1000)]
    np.testing.assert_array_equal(decode_image(one, window=windows), read_dicom(one, window=windows))
    np.testing.assert_array_equal(decode_image(many, window=(2000, 4000)), read_dicom(many, window=(2000, 4000)))
    np.testing.assert_array_equal(decode_image(many, frame=1, window=None), pixels[1])
    both = decode_image(many, window=windows)
    np.testing.assert_array_equal(both.reshape(3, 2, 30, 20)[2, 1], read_dicom(many, frame=2, window=windows[1]))
    for path, options in ((one, {"window": windows}), (many, {}), (many, {"frame": 1}), (many, {"window": windows})):
        shape = decode_image(path, **options).shape
        assert DecodeSettings(**options).row_shape(str(path)) == shape
    with pytest.raises(ValueError, match="3 channels or frames, which cannot become 1"):
        decode_image(many, channels=1)


def test_color_dicom(tmp_path, write_dicom):
    pixels = pattern(30, 20, 3)
    path = write_dicom(tmp_path / "color.dcm", pixels, PhotometricInterpretation="RGB")
    np.testing.assert_array_equal(decode_image(path, dtype="uint8"), pixels.transpose(2, 0, 1))
    gray = np.tensordot(pixels / 255, [0.299, 0.587, 0.114], axes=1)
    np.testing.assert_allclose(decode_image(path, channels=1), gray, atol=1e-6)


def test_palette_dicom_is_color_from_the_header_on():
    path = get_testdata_file("examples_palette.dcm", download=False)
    shape = decode_image(path, dtype="uint8").shape
    assert shape[0] == 3
    assert DecodeSettings().row_shape(path) == shape
    assert np.asarray(ImageFiles([path, path])).shape == (2, *shape)
    assert np.asarray(ImageFiles([path], channels=1)).shape == (1, *shape[1:])


@pytest.mark.parametrize("keep", [["Rows", "Columns"], []])
def test_dicom_without_pixels_says_so_before_it_is_decoded(tmp_path, write_dicom, keep):
    path = write_dicom(tmp_path / "report.dcm", pattern().astype(np.uint16))
    dataset = pydicom.dcmread(path)
    for keyword in {"PixelData", "Rows", "Columns"} - set(keep):
        del dataset[keyword]
    dataset.save_as(path)
    for call in (decode_image, lambda path: ImageFiles([path])):
        with pytest.raises(ValueError, match=r"report.dcm \(CT Image Storage\) has no pixel"):
            call(path)


def test_an_image_that_pillow_refuses_to_open(tmp_path, monkeypatch):
    path = write(tmp_path, pattern(), "large.bmp")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ValueError, match=r"large.bmp: more pixels than Pillow opens .*MAX_IMAGE_PIXELS"):
        decode_image(path)


@pytest.mark.parametrize("suffix", ["bmp", "tif", "ppm", "webp", "gif", "jp2", "npy"])
@settings(max_examples=25, deadline=None)
@given(position=st.integers(0, 120), value=st.integers(0, 255))
def test_a_damaged_header_gives_an_error_that_names_the_file_or_an_image(tmp_path_factory, suffix, position, value):
    path = tmp_path_factory.mktemp("damaged") / f"image.{suffix}"
    np.save(path, pattern()) if suffix == "npy" else write(path.parent, pattern(), path.name)
    content = bytearray(path.read_bytes())
    content[position % len(content)] = value
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of tags and sizes
        for call in (decode_image, lambda path: ImageFiles([path])):
            text = path.name
            try:
                call(path)
            except (ValueError, OSError) as error:
                text = str(error)
            assert path.name in text


def test_a_folder_in_place_of_a_file(tmp_path):
    with pytest.raises(OSError, match="cannot be opened"):
        decode_image(tmp_path)
    write(tmp_path, pattern(), "good.png")
    with pytest.raises(OSError, match=r"row 1: .*cannot be opened"):
        ImageFiles([tmp_path / "good.png", tmp_path])[:]


def test_damaged_dicom_says_nothing_of_the_patient(tmp_path, write_dicom, identifiers):
    path = write_dicom(tmp_path / "slice.dcm", pattern().astype(np.uint16), **identifiers)
    content = path.read_bytes()
    for n_bytes in (len(content) - 10, len(content) // 3, 140):
        path.write_bytes(content[:n_bytes])
        with pytest.raises(ValueError, match=r"slice\.dcm") as caught:
            decode_image(path, size=8, channels=1)
        assert not any(value in str(caught.value) for value in identifiers.values())
    with pytest.raises(ValueError, match=r"slice\.dcm"):
        DecodeSettings(size=8).row_shape(str(path))
