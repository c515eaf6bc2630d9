"""Image files as people have them, each with the pixels that it holds.

The right pixels come from what was put in; where torchvision's own decoders (libpng, libjpeg, giflib,
libwebp) read the format, `test_decode.py` asks them too.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

RAMP = np.linspace(0, 65535, 48 * 32).round().astype(np.uint16).reshape(32, 48)


@dataclass(frozen=True)
class Odd:
    """A file, its pixels (uint8 [H, W, 3]), and by how many levels a lossy format may be off."""

    name: str
    content: bytes
    pixels: np.ndarray
    levels: int = 0


def picture(height: int = 32, width: int = 48) -> np.ndarray:
    """A smooth picture that is no mirror image of itself, uint8 [H, W, 3]."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([5 * x, 7 * y, 255 - 2 * x - 3 * y], axis=-1).clip(0, 255).astype(np.uint8)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[:, :, None], 3, axis=2).astype(np.uint8)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(values: np.ndarray, bits: int, colour: int, *extra: bytes) -> bytes:
    """A PNG made by hand: `values` [H, W, channels] with `bits` each; `extra` chunks before the pixels."""
    rows = (
        [packed(row[None], bits) for row in values[..., 0]]
        if bits < 8
        else [row.tobytes() for row in values.astype(">u2" if bits == 16 else np.uint8)]
    )
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, colour, 0, 0, 0)
    body = b"".join(b"\0" + row for row in rows)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", head), *extra, chunk(b"IDAT", zlib.compress(body)), chunk(b"IEND", b"")]
    )


def packed(values: np.ndarray, bits: int) -> bytes:
    """Rows of numbers of so many bits each, the highest bit first, rows filled up to whole bytes."""
    ones = (values[..., None].astype(np.uint32) >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(ones.reshape(len(values), -1).astype(np.uint8), axis=1).tobytes()


def tiff(values: np.ndarray, order: str, photometric: int, bits: int = 16) -> bytes:
    """A grey TIFF made by hand, little (`<`) or big (`>`) endian; photometric 0: white is zero."""
    height, width = values.shape
    body = values.astype(f"{order}u2").tobytes() if bits == 16 else packed(values, bits)
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric)]
    tags += [(273, 8), (277, 1), (278, height), (279, len(body))]
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8 + len(body))
    return head + body + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)


def oriented(number: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = number
    return exif.tobytes()


def upright(pixels: np.ndarray, number: int) -> np.ndarray:
    """What EXIF orientation `number` asks for (EXIF 2.32, section 4.6.5, Orientation), in NumPy's words."""
    return {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(pixels, 1),
    }[number]


def without_adobe_marker(jpeg: bytes) -> bytes:
    start = jpeg.index(b"\xff\xee")
    return jpeg[:start] + jpeg[start + 2 + int.from_bytes(jpeg[start + 2 : start + 4], "big") :]


def odd_images() -> Iterator[Odd]:
    rgb = picture()
    image = Image.fromarray(rgb)
    levels = ((RAMP.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)  # as libpng rounds

    # formats
    for kind, off in (("PNG", 0), ("BMP", 0), ("TIFF", 0), ("JPEG", 6), ("WEBP", 8), ("AVIF", 8)):
        quality = {} if off == 0 else {"quality": 100}
        yield Odd(f"plain {kind}", saved(image, kind, **quality), rgb, off)
    yield Odd("lossless WebP", saved(image, "WEBP", lossless=True), rgb)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "group4"):
        if compression == "group4":
            bits = Image.fromarray(rgb[:, :, 0] > 99)
            yield Odd("fax TIFF", saved(bits, "TIFF", compression="group4"), grey(255 * (rgb[:, :, 0] > 99)))
        else:
            yield Odd(f"{compression} TIFF", saved(image, "TIFF", compression=compression), rgb)
    few = Image.fromarray(rgb // 128 * 128)
    first = np.asarray(few.quantize(8).convert("RGB"))
    yield Odd("GIF", saved(few.quantize(8), "GIF"), first)
    other = Image.fromarray(255 - first)
    for kind in ("GIF", "WEBP", "PNG"):
        options: dict = {"save_all": True, "append_images": [other], "duration": 50}
        options |= {"lossless": True} if kind == "WEBP" else {}
        yield Odd(f"animated {kind}", saved(Image.fromarray(first), kind, **options), first)
    yield Odd("TIFF of two pages", saved(image, "TIFF", save_all=True, append_images=[other]), rgb)
    yield Odd(
        "MPO, as phones save it",
        saved(image, "MPO", save_all=True, append_images=[other], quality=100),
        rgb,
        6,
    )
    yield Odd("progressive JPEG", saved(image, "JPEG", quality=100, progressive=True), rgb, 6)

    # modes
    yield Odd("16-bit grey PNG", png(RAMP[:, :, None], 16, 0), grey(levels))
    yield Odd(
        "16-bit grey PNG, one value transparent",
        png(RAMP[:, :, None], 16, 0, chunk(b"tRNS", b"\xff\xff")),
        grey(np.where(RAMP == 65535, 0, levels)),
    )
    wide = np.stack([RAMP, RAMP.T.reshape(RAMP.shape), RAMP[::-1]], axis=-1)
    yield Odd("16-bit RGB PNG", png(wide, 16, 2), (wide / 257).round().astype(np.uint8), 1)
    alpha = np.concatenate([wide, np.full_like(wide[:, :, :1], 65535)], axis=-1)
    yield Odd("16-bit RGBA PNG", png(alpha, 16, 6), (wide / 257).round().astype(np.uint8), 1)
    yield Odd(
        "16-bit grey and alpha PNG", png(np.stack([RAMP, RAMP * 0 + 65535], axis=-1), 16, 4), grey(levels), 1
    )
    for order in "<>":
        yield Odd(f"16-bit grey TIFF, {order}", tiff(RAMP, order, 1), grey(levels))
    yield Odd("16-bit grey TIFF, white is zero", tiff(RAMP, "<", 0), grey(255 - levels))
    yield Odd(
        "16-bit grey TIFF, LZW", saved(Image.fromarray(RAMP), "TIFF", compression="tiff_lzw"), grey(levels)
    )
    twelve = RAMP >> 4
    yield Odd("12-bit TIFF", tiff(twelve, "<", 1, bits=12), grey((twelve / 4095 * 255).round()))
    yield Odd(
        "4-bit grey PNG, white transparent",
        png(np.arange(16).reshape(4, 4, 1), 4, 0, chunk(b"tRNS", b"\0\x0f")),
        grey(np.arange(16).reshape(4, 4) * 17 % 255),
    )
    white = np.full((2, 2, 3), 65535)
    white[0, 0] = 0x12FF
    yield Odd(
        "16-bit RGB PNG with a transparent colour",
        png(white, 16, 2, chunk(b"tRNS", b"\x12\xff" * 3)),
        (white >> 8).astype(np.uint8),
    )
    yield Odd("8-bit grey", saved(Image.fromarray(rgb[:, :, 0]), "PNG"), grey(rgb[:, :, 0]))
    yield Odd("1-bit", saved(Image.fromarray(rgb[:, :, 0] > 99), "PNG"), grey(255 * (rgb[:, :, 0] > 99)))
    yield Odd("palette", saved(few.quantize(8), "PNG"), first)
    share = np.linspace(0, 255, 48).round().astype(np.uint8)[None, :, None].repeat(32, axis=0)
    over_black = (rgb.astype(np.uint32) * share / 255).round().astype(np.uint8)
    yield Odd(
        "RGBA over black", saved(Image.fromarray(np.concatenate([rgb, share], axis=2)), "PNG"), over_black, 1
    )
    yield Odd(
        "RGBA WebP",
        saved(Image.fromarray(np.concatenate([rgb, share], axis=2)), "WEBP", lossless=True, exact=True),
        over_black,
        1,
    )
    gone = saved(few.quantize(8), "PNG", transparency=0)
    table = np.asarray(few.quantize(8))
    yield Odd("palette with a transparent colour", gone, np.where((table == 0)[:, :, None], 0, first))
    # ink on paper: (255 - C)(255 - K) / 255. In a JPEG it is stored inverted, as Adobe does; where the marker
    # that says so is gone, Pillow, torchvision, ImageMagick and browsers read it so all the same
    ink = np.concatenate([255 - rgb, np.zeros_like(rgb[:, :, :1])], axis=2)
    adobe = saved(Image.fromarray(ink, "CMYK"), "JPEG", quality=100, subsampling=0)
    yield Odd("CMYK JPEG of Adobe's", adobe, rgb, 4)
    yield Odd("CMYK JPEG without Adobe's marker", without_adobe_marker(adobe), rgb, 4)
    yield Odd("CMYK TIFF", saved(Image.fromarray(ink, "CMYK"), "TIFF"), rgb, 1)
    yield Odd("grey JPEG", saved(Image.fromarray(rgb[:, :, 0]), "JPEG", quality=100), grey(rgb[:, :, 0]), 3)

    # EXIF, whole and broken
    for number in range(1, 9):
        turned = upright(rgb, number)
        for kind, options in (("PNG", {}), ("WEBP", {"lossless": True})):
            yield Odd(
                f"orientation {number}, {kind}", saved(image, kind, exif=oriented(number), **options), turned
            )
        yield Odd(
            f"orientation {number}, JPEG", saved(image, "JPEG", quality=100, exif=oriented(number)), turned, 6
        )
        yield Odd(f"orientation {number}, TIFF", saved(image, "TIFF", tiffinfo={0x0112: number}), turned)
        yield Odd(
            f"orientation {number}, AVIF", saved(image, "AVIF", quality=100, exif=oriented(number)), turned, 8
        )
    for what, exif in (
        ("no TIFF header", b"Exif\0\0nonsense, and more of it"),
        ("cut short", oriented(6)[:-9]),
        ("an orientation of 77", oriented(77)),
        ("empty", b"Exif\0\0"),
    ):
        yield Odd(f"EXIF: {what}, JPEG", saved(image, "JPEG", quality=100, exif=exif), rgb, 6)
        yield Odd(f"EXIF: {what}, PNG", saved(image, "PNG", exif=exif), rgb)
        yield Odd(f"EXIF: {what}, WebP", saved(image, "WEBP", lossless=True, exif=exif), rgb)

    # texts and profiles
    notes = PngImagePlugin.PngInfo()
    notes.add_text("prompt", "x" * 3_000_000)
    notes.add_text("packed", "y" * 30_000_000, zip=True)
    notes.add_itxt("international", "z" * 2_000_000, zip=True)
    notes.add_itxt("plain", "z" * 2_000_000)
    yield Odd("PNG with texts above a megabyte", saved(image, "PNG", pnginfo=notes), rgb)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    yield Odd("PNG with a colour profile", saved(image, "PNG", icc_profile=profile), rgb)
    large = np.random.default_rng(0).bytes(3_000_000)
    for kind, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})):
        content = saved(image, kind, icc_profile=profile + large, **options)
        yield Odd(f"{kind} with a colour profile of three megabytes", content, rgb)
    yield Odd(
        "JPEG with a colour profile of three megabytes",
        saved(image, "JPEG", quality=100, icc_profile=profile + large),
        rgb,
        6,
    )
    yield Odd(
        "orientation 6 behind a large text",
        saved(image, "PNG", pnginfo=notes, exif=oriented(6)),
        upright(rgb, 6),
    )
