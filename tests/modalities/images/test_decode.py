"""Every image that people have gives the pixels that it holds, or is refused with the reason."""

import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_image

from stillroom.modalities.images.decode import MAX_PIXELS, UnreadableError, decode
from tests.modalities.images.odd_images import RAMP, Odd, chunk, odd_images, oriented, picture, png, saved

ODD = list(odd_images())


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.name)
def test_an_odd_image_gives_the_pixels_that_it_holds(odd: Odd) -> None:
    pixels = decode(odd.content)
    assert pixels.dtype == np.uint8 and pixels.shape == odd.pixels.shape
    off = np.abs(pixels.astype(int) - odd.pixels)
    assert off.mean() <= odd.levels / 2 and off.max() <= 4 * odd.levels


# What torchvision has no decoder for, keeps (16 bits), leaves out (transparency) or reads its own way (EXIF)
APART = ("TIFF", "BMP", "AVIF", "animated WEBP", "16-bit", "RGBA", "transparent", "EXIF", ", WEBP")
OTHER = [odd for odd in ODD if not any(word in odd.name for word in APART)]


@pytest.mark.parametrize("odd", OTHER, ids=lambda odd: odd.name)
def test_another_decoder_sees_the_same(odd: Odd) -> None:
    content = torch.frombuffer(bytearray(odd.content), dtype=torch.uint8)
    theirs = decode_image(content, ImageReadMode.RGB, apply_exif_orientation=True)
    theirs = theirs[0] if theirs.ndim == 4 else theirs  # the first frame
    off = np.abs(decode(odd.content).astype(int) - theirs.permute(1, 2, 0).numpy())
    assert off.mean() <= 1 and off.max() <= 8


def test_16_bits_are_as_libpng_scales_them() -> None:
    theirs = decode_image(torch.frombuffer(bytearray(png(RAMP[:, :, None], 16, 0)), dtype=torch.uint8))
    assert theirs.dtype == torch.uint16 and np.array_equal(theirs[0].numpy(), RAMP)
    pixels = decode(png(RAMP[:, :, None], 16, 0))
    assert abs(float(pixels.mean()) - 127.5) < 0.6 and pixels.min() == 0 and pixels.max() == 255
    assert np.array_equal(pixels[:, :, 0], (RAMP / 257).round())


@pytest.mark.parametrize(("mode", "values"), [("I", np.int32), ("F", np.float32)])
def test_values_without_a_range_are_refused_by_their_mode(mode: str, values: type) -> None:
    with pytest.raises(UnreadableError, match=rf"32-bit or signed values \(Pillow's mode {mode}\)"):
        decode(saved(Image.fromarray(RAMP.astype(values)), "TIFF"))


@pytest.mark.parametrize(
    ("side", "reason"), [(9_500, f"9500 x 9500 .* {MAX_PIXELS:,}"), (30_000, "more pixels")]
)
def test_no_image_is_read_for_more_than_it_may_have(side: int, reason: str) -> None:
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(bytes(99))), chunk(b"IEND", b"")]
    with pytest.raises(UnreadableError, match=reason):
        decode(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


MANY = """
import resource, sys
from stillroom.modalities.images.decode import decode
content = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
decode(content)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_packed_texts_never_fill_the_memory() -> None:
    """Two hundred texts that unpack to 100 MB each: 20 GB; a file of 20 MB."""
    texts = [chunk(b"zTXt", b"k%d\0\0" % i + zlib.compress(bytes(100_000_000), 9)) for i in range(2)] * 100
    content = png(picture(), 8, 2, *texts)
    done = subprocess.run([sys.executable, "-c", MANY], input=content, capture_output=True, check=True)
    assert int(done.stdout) < 200, "MiB"


def test_broken_exif_is_upright_in_every_format() -> None:
    """Mutations of an orientation of 6: each image is read, upright or turned, and never refused."""
    draw = np.random.default_rng(0)
    image, exif = Image.fromarray(picture()), oriented(6)
    for kind in ("JPEG", "PNG", "WEBP"):
        seen = set()
        for _ in range(500):
            broken = bytearray(exif)
            for _ in range(draw.integers(1, 4)):
                broken[draw.integers(len(broken))] = draw.integers(256)
            seen.add(decode(saved(image, kind, exif=bytes(broken))).shape)
        assert seen == {(32, 48, 3), (48, 32, 3)}


def test_what_is_refused_is_refused_in_words() -> None:
    whole = saved(Image.fromarray(picture()), "PNG")
    for content, reason in (
        (b"", "empty file"),
        (b"<html>", "not an image of a format"),
        (whole[: len(whole) // 2], "a damaged image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "not an image of a format"),
    ):
        with pytest.raises(UnreadableError, match=reason):
            decode(content)


def test_harmless_damage_is_not_warned_of() -> None:
    """In a process of its own: pytest has filters of its own."""
    image = Image.fromarray(picture()).quantize(8)
    content = saved(image, "PNG", transparency=b"\0\1\2")
    code = (
        "import sys; from stillroom.modalities.images.decode import decode; decode(sys.stdin.buffer.read())"
    )
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", code], input=content, capture_output=True, check=True
    )
    assert done.stderr == b""
