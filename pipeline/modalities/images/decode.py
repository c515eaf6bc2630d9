"""An image file's bytes to pixels: one decoder for the scan, for training and for prediction."""

import struct
import warnings
import zlib
from io import BytesIO

import numpy as np
from PIL import Image

# What names an image in a folder, and the formats behind it. Left open, Pillow would also try formats that
# run other programs (EPS: Ghostscript).
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp"),
    *(".gif", ".tif", ".tiff", ".avif"),
)
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF", "AVIF")
NO_IMAGE = "not an image of a format that is read (JPEG, PNG, BMP, WebP, GIF, TIFF, AVIF)"

# Pixels above which Pillow warns of a decompression bomb by default (a quarter of a GiB as RGB). Our own
# number: Pillow's is a global that any library may lift, and a warning stops nothing.
MAX_PIXELS = 89_478_485

# Bytes of a PNG's text or colour profile, unpacked, and of all of them; Pillow refuses a file with more
MAX_NOTE, MAX_NOTES = 2**20, 2**24
NOTES = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
ORIENTATION = 0x0112  # the EXIF tag
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow warns of harmless damage (EXIF, palettes), also from threads, where no context could keep it quiet.
# What matters is an error here.
warnings.filterwarnings("ignore", module=r"PIL\b")


class UnreadableError(ValueError):
    """Why a file gives no pixels, in a few words; the caller knows which file it is."""


def decode(content: bytes, scale: int = 1) -> np.ndarray:
    """The pixels of an image file, of its first frame where it has several.

    EXIF orientation is applied; broken EXIF counts as upright. What is transparent lies over black. 16-bit
    values are scaled to 8 bits. Colour profiles are not applied.

    Args:
        content: the file's bytes.
        scale: 1, 2, 4 or 8: a JPEG is decoded to so small a part of its sides, rounded up; another format as
            it is.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        UnreadableError: it is no image of `FORMATS`, is damaged, has more than `MAX_PIXELS` pixels, or values
            without a known range (32-bit numbers).
    """
    return read(content, scale)[0]


def read(content: bytes, scale: int = 1) -> tuple[np.ndarray, str]:
    """Like `decode`, and the name of the format as Pillow has it."""
    if not content:
        raise UnreadableError("empty file")
    try:
        with Image.open(BytesIO(_without_large_notes(content)), formats=FORMATS) as image:
            png = content[24:26] if image.format == "PNG" else b""  # bits and kind of colour
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise UnreadableError(f"{width} x {height} pixels, more than the limit of {MAX_PIXELS:,}")
            if scale > 1 and min(width, height) >= scale:
                image.draft(None, (width // scale, height // scale))  # nothing, but for a JPEG
            turn = None if image.format == "TIFF" else _turn(image)  # Pillow turns a TIFF itself
            image.load()
            _mend_transparency(image, png)
            pixels = np.asarray(_rgb(image) if turn is None else _rgb(image).transpose(turn))
            return pixels, str(image.format)
    except UnreadableError:
        raise
    except Image.UnidentifiedImageError:
        raise UnreadableError(NO_IMAGE) from None
    except Image.DecompressionBombError:
        raise UnreadableError(f"more pixels than the limit of {MAX_PIXELS:,}") from None
    except MemoryError:
        raise UnreadableError("more pixels than there is memory for") from None
    # On damaged bytes Pillow raises OSError, SyntaxError, ValueError, struct.error and more.
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UnreadableError(f"a damaged image ({reason})") from None


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What makes the image upright; None where it is, or where its EXIF cannot be read."""
    try:
        return TURNS.get(image.getexif().get(ORIENTATION))  # type: ignore[arg-type]
    except Exception:  # broken EXIF makes Pillow raise nearly anything
        return None


def _rgb(image: Image.Image) -> Image.Image:
    """A loaded image of any mode as RGB."""
    if image.mode in ("I", "F"):
        raise UnreadableError(
            f"32-bit or signed values (Pillow's mode {image.mode}), whose black and white nothing tells: "
            "save it with 8 or 16 bits"
        )
    if image.mode.startswith("I;16"):
        image = _eight_bits(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return image.convert("RGB")


def _mend_transparency(image: Image.Image, png: bytes) -> None:
    """Where a PNG has one transparent colour and other than 8 bits, Pillow compares it with other numbers.

    Args:
        png: its bits a value and its kind of colour (0: grey, 2: RGB); empty for another format.
    """
    if "transparency" not in image.info or len(png) < 2:
        return
    bits, kind = png
    if kind == 2 and bits == 16:  # the pixels have lost the lower bytes: none would be the right one
        del image.info["transparency"]
    elif kind == 0 and bits in (2, 4) and isinstance(image.info["transparency"], int):
        image.info["transparency"] *= 255 // (2**bits - 1)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 9 to 16 bits as 8-bit grey, rounded; Pillow would cut everything above 255 to white."""
    values, white = np.asarray(image).astype(np.uint32), 65535
    tags = image.tag_v2 if image.format == "TIFF" else {}  # type: ignore[attr-defined]
    if tags:
        white = 2 ** tags.get(258, (16,))[0] - 1  # BitsPerSample: 12 from many cameras
    grey = np.minimum(255, (2 * 255 * values + white) // (2 * white)).astype(np.uint8)
    if tags.get(262) == 0:
        grey = 255 - grey  # PhotometricInterpretation: WhiteIsZero, which Pillow heeds in 8 bits only
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):  # one value, in 16 bits
        grey = np.where(values == transparent, np.uint8(0), grey)
    return Image.fromarray(grey)


def _without_large_notes(content: bytes) -> bytes:
    """A PNG without texts and colour profiles beyond `MAX_NOTE` and `MAX_NOTES` bytes: they hold no pixels,
    and unpacked they may fill the memory. Any other file as it is, and a damaged one too.
    """
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return content
    kept, start, room = [content[:8]], 8, MAX_NOTES
    while start + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, start)
        end = start + 12 + length
        size = _unpacked(kind, content[start + 8 : end - 4]) if kind in NOTES else 0
        if size <= min(MAX_NOTE, room):
            kept.append(content[start:end])
            room -= size
        start = end
    return b"".join([*kept, content[start:]])


def _unpacked(kind: bytes, chunk: bytes) -> int:
    """How many bytes a text or a profile unpacks to, counted no further than `MAX_NOTE` + 1."""
    # the keyword and its zero come first, then one byte or more about what follows (PNG specification,
    # section 11.3)
    start = chunk.find(b"\0") + 1
    packed = kind != b"tEXt"
    if kind == b"iTXt":
        packed = chunk[start : start + 1] == b"\1"
        start = chunk.find(
            b"\0", chunk.find(b"\0", start + 2) + 1
        )  # behind the language and the keyword in it
    if not packed or len(chunk) > MAX_NOTE:
        return len(chunk)
    try:
        return len(zlib.decompressobj().decompress(chunk[start + 1 :], MAX_NOTE + 1))
    except zlib.error:
        return 0
