import numpy as np
import pytest
from image_files import write_png
from PIL import Image

from patchindex import ImageSet
from patchindex.datasets.decode import decode_image, read_header
from patchindex.datasets.files import load_image_folder
from patchindex.errors import DatasetError

GREY = np.arange(0, 240, 2, dtype=np.uint8).reshape(10, 12)
COLOR = np.stack([GREY, GREY[::-1], 255 - GREY], axis=-1)


def test_sub_folders_are_classes_in_sorted_order(tmp_path):
    for i, name in enumerate(("dog/b.png", "cat/z.png", "dog/a.png", "cat/deep/er/x.PNG")):
        write_png(tmp_path / name, GREY + np.uint8(i))
    images = load_image_folder(tmp_path)
    assert images.class_names == ("cat", "dog")
    assert images.labels.tolist() == [0, 0, 1, 1]
    assert (images.pixels[:, 0, 0, 0]).tolist() == [3, 1, 2, 0]
    assert images.name == f"folder:{tmp_path}"


def test_a_flat_folder_has_no_labels(tmp_path):
    for i, name in enumerate(("b.png", "a.bmp", "c.webp")):
        write_png(tmp_path / name, COLOR if name == "a.bmp" else COLOR[..., ::-1] + np.uint8(i))
    images = ImageSet.load(f"folder:{tmp_path}")
    assert images.labels is None
    assert images.class_names == ()
    assert images.pixels.shape == (3, 3, 10, 12)
    assert np.array_equal(images.pixels[0], COLOR.transpose(2, 0, 1))


def test_grey_files_give_one_channel_and_a_mixture_gives_three(tmp_path):
    write_png(tmp_path / "a.png", GREY)
    assert np.array_equal(load_image_folder(tmp_path).pixels, GREY[None, None])
    write_png(tmp_path / "b.png", COLOR)
    mixture = load_image_folder(tmp_path).pixels
    assert np.array_equal(mixture[0], np.stack([GREY] * 3))
    assert np.array_equal(mixture[1], COLOR.transpose(2, 0, 1))


def test_images_of_different_sizes_need_a_resolution(tmp_path):
    write_png(tmp_path / "a.png", COLOR)
    write_png(tmp_path / "b.png", COLOR[:8])
    with pytest.raises(DatasetError, match=r"a\.png is 10x12, .*b\.png is 8x12.*--resolution"):
        ImageSet.load(f"folder:{tmp_path}")
    with pytest.raises(DatasetError, match="`native` needs images of one size; give --resolution"):
        ImageSet.load(f"folder:{tmp_path}", resolution="native")
    assert ImageSet.load(f"folder:{tmp_path}", resolution=6).pixels.shape == (2, 3, 6, 6)
    assert ImageSet.load(f"folder:{tmp_path}", resolution="5x7").pixels.shape == (2, 3, 5, 7)


def test_images_are_resized_as_pil_does_it(tmp_path):
    write_png(tmp_path / "a.png", COLOR)
    pixels = load_image_folder(tmp_path, size=(7, 5)).pixels[0].transpose(1, 2, 0)
    expected = Image.fromarray(COLOR).resize((5, 7), Image.Resampling.BILINEAR)
    assert np.abs(pixels.astype(int) - np.asarray(expected)).max() <= 1


def test_files_past_the_limit_are_not_opened(tmp_path, caplog):
    write_png(tmp_path / "cat" / "a.png", GREY)
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "broken.png").write_bytes(b"no image")
    assert load_image_folder(tmp_path, limit=1).labels.tolist() == [0]
    assert "the first 1 images are of 1 of the 2 classes only" in caplog.text


def test_hidden_files_and_other_files_are_no_images(tmp_path):
    write_png(tmp_path / "a.png", GREY)
    for name in ("._a.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"no image")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "a.png").write_bytes(b"no image")
    (tmp_path / "folder.png").mkdir()
    assert len(load_image_folder(tmp_path)) == 1


def test_images_beside_class_folders_are_left_out_with_a_warning(tmp_path, caplog):
    write_png(tmp_path / "cat" / "a.png", GREY)
    write_png(tmp_path / "loose.png", GREY)
    assert len(load_image_folder(tmp_path)) == 1
    assert "1 images lie beside the class folders and are left out, such as loose" in caplog.text


def test_links_to_folders_are_followed(tmp_path):
    write_png(tmp_path / "elsewhere" / "a.png", GREY)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "cat").symlink_to(tmp_path / "elsewhere")
    assert load_image_folder(tmp_path / "root").class_names == ("cat",)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=f"the image folder {tmp_path}/absent does not exist"):
        ImageSet.load(f"folder:{tmp_path}/absent")


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "a.zip").touch()
    with pytest.raises(DatasetError, match=r"a\.zip is a file, not a folder"):
        ImageSet.load(f"folder:{tmp_path}/a.zip")


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        DatasetError, match=r"no image in .*Files with these suffixes .*\.jpg, .*png"
    ):
        ImageSet.load(f"folder:{tmp_path}")


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "tiff", "ppm"])
@pytest.mark.parametrize("kept", [0, 3, 0.2, 0.6])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # what Pillow says before it gives up
def test_a_cut_off_image_is_named(tmp_path, rng, suffix, kept):
    write_png(tmp_path / "a" / f"good.{suffix}", COLOR)
    path = tmp_path / "b" / f"broken.{suffix}"
    write_png(path, rng.integers(0, 256, (10, 12, 3), dtype=np.uint8))
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if kept < 1 else kept])
    with pytest.raises(DatasetError, match=rf"cannot read the image .*b/broken\.{suffix}: .*Mend"):
        load_image_folder(tmp_path)


def test_all_broken_images_are_named_at_once_whatever_breaks_them(tmp_path, rng):
    for number in range(14):
        path = tmp_path / f"{number:02}.png"
        write_png(path, rng.integers(0, 256, (10, 12, 3), dtype=np.uint8))
        if number % 2:  # no header, and a whole header without all pixels
            path.write_bytes(b"no image" if number % 4 == 1 else path.read_bytes()[:-100])
    with pytest.raises(DatasetError) as caught:
        load_image_folder(tmp_path)
    told = str(caught.value)
    assert told.startswith(f"7 of 14 images in {tmp_path} cannot be read: 01.png (it is not an ")
    assert told.index("01.png") < told.index("03.png (") < told.index("05.png (it is not")
    assert "13.png" in told
    assert "bytes not processed" not in told
    assert told.endswith("Mend the files or take them away.")


def test_of_many_broken_images_ten_are_named(tmp_path):
    for number in range(12):
        (tmp_path / f"{number:02}.png").write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"12 of 12 .* 09\.png \([^,]*, [^,]*\), and 2 more\. M"):
        load_image_folder(tmp_path)


def test_what_a_broken_file_lacks_is_told_in_words(tmp_path):
    write_png(tmp_path / "a.png", COLOR)
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:-40])
    with pytest.raises(DatasetError, match=r"a\.png: image file is truncated\. Mend"):
        load_image_folder(tmp_path)


def test_files_that_are_no_images_are_counted(tmp_path, caplog):
    write_png(tmp_path / "a.png", GREY)
    for name in ("notes.txt", "sums.csv", ".hidden"):
        (tmp_path / name).write_text("text")
    with caplog.at_level("INFO"):
        load_image_folder(tmp_path)
    assert "left out by their names: 2 files that are no images, such as notes.txt" in caplog.text


def test_sixteen_bit_grey_is_scaled_to_eight(tmp_path):
    path = tmp_path / "a.png"
    write_png(path, GREY.astype(np.uint16) * 257)
    assert read_header(path).channels == 1
    assert np.array_equal(decode_image(path, channels=1)[0], GREY)
    assert np.array_equal(decode_image(path, channels=3), np.stack([GREY] * 3))


def test_transparency_is_laid_over_white(tmp_path):
    alpha = np.full((10, 12, 1), 255, dtype=np.uint8)
    alpha[:5] = 0
    write_png(tmp_path / "rgba.png", np.concatenate([COLOR, alpha], axis=-1))
    pixels = decode_image(tmp_path / "rgba.png", channels=3)
    assert (pixels[:, :5] == 255).all()
    assert np.array_equal(pixels[:, 5:], COLOR.transpose(2, 0, 1)[:, 5:])
    Image.fromarray(np.concatenate([GREY[..., None], alpha], axis=-1)).save(tmp_path / "la.png")
    assert read_header(tmp_path / "la.png").channels == 1
    grey = decode_image(tmp_path / "la.png", channels=1)[0]
    assert np.array_equal(grey, np.where(alpha[..., 0] == 0, 255, GREY))


def test_palettes_are_looked_up(tmp_path):
    image = Image.fromarray(GREY // 120).convert("P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.save(tmp_path / "a.png")
    assert read_header(tmp_path / "a.png").channels == 3
    expected = np.where(GREY[..., None] < 120, (10, 20, 30), (200, 100, 50))
    pixels = decode_image(tmp_path / "a.png", channels=3)
    assert np.array_equal(pixels.transpose(1, 2, 0), expected)


def test_black_and_white_is_grey(tmp_path):
    Image.fromarray(GREY > 100).save(tmp_path / "a.png")
    assert np.array_equal(load_image_folder(tmp_path).pixels[0, 0], 255 * (GREY > 100))


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff"])
def test_photographs_are_turned_upright(tmp_path, suffix):
    exif = Image.Exif()
    exif[274] = 6  # the camera was held so that the picture must be turned clockwise
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(COLOR).save(path, exif=exif, lossless=True)
    header = read_header(path)
    assert (header.height, header.width) == (12, 10)
    turned = np.rot90(COLOR, k=-1).transpose(2, 0, 1)
    assert np.array_equal(load_image_folder(tmp_path).pixels[0], turned)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (GREY.astype(np.float32), "floating point numbers"),
        (GREY.astype(np.int32) - 100, r"32 bit integers outside 0\.\.65535"),
    ],
)
def test_values_with_no_agreed_range_are_refused(tmp_path, pixels, message):
    Image.fromarray(pixels).save(tmp_path / "a.tiff")
    with pytest.raises(DatasetError, match=message):
        load_image_folder(tmp_path)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tiff"])
def test_of_an_animation_the_first_picture_is_taken_and_said(tmp_path, caplog, suffix):
    frames = [Image.fromarray(np.full((10, 12, 3), value, dtype=np.uint8)) for value in (9, 200)]
    path = tmp_path / f"a.{'png' if suffix == 'gif' else suffix}"
    format_name = {"tiff": "TIFF", "gif": "GIF", "webp": "WEBP", "png": "PNG"}[suffix]
    frames[0].save(path, format_name, save_all=True, append_images=frames[1:], lossless=True)
    assert np.abs(load_image_folder(tmp_path).pixels.astype(int) - 9).max() <= 1
    assert f"1 files hold several pictures, such as {path.name}: the first" in caplog.text


def test_cmyk_is_turned_to_colors(tmp_path):
    Image.new("CMYK", (5, 4), (255, 0, 0, 0)).save(tmp_path / "a.jpg", quality=100)
    assert load_image_folder(tmp_path).pixels[0, :, 0, 0].tolist() == [0, 255, 255]


def test_a_palette_with_a_transparent_color_is_laid_over_white(tmp_path):
    image = Image.fromarray(GREY // 120).convert("P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.save(tmp_path / "a.png", transparency=0)
    pixels = decode_image(tmp_path / "a.png", channels=3).transpose(1, 2, 0)
    assert np.array_equal(pixels, np.where(GREY[..., None] < 120, (255, 255, 255), (200, 100, 50)))


def test_images_of_a_folder_are_named_by_their_files(tmp_path):
    for name in ("b/two.png", "a/one.png", "a/deep/x.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / name)
    images = ImageSet.load(f"folder:{tmp_path}")
    assert sorted(images.names) == ["a/deep/x.png", "a/one.png", "b/two.png"]
    assert images.with_label(1).names == ("b/two.png",)
    assert ImageSet.load(f"folder:{tmp_path}", limit=2).names == images.names[:2]
    with pytest.raises(DatasetError, match=r"there are 1 names for 3 images. Give one for each"):
        ImageSet.from_array(images.pixels, names=["x"], layout="nchw")
