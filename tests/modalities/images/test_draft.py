"""Large JPEGs decoded at a part of their size, where a crop stays as large as the view."""

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stillroom.modalities.images import MODALITY
from stillroom.modalities.images.decode import decode
from stillroom.modalities.images.fields import View, pack, unpack
from stillroom.modalities.images.policies import make_recipe
from stillroom.modalities.images.render import onto, reduction, render
from stillroom.modalities.images.samples import Sample
from stillroom.samples import Samples
from tests.conftest import run_in

SIZE = 32
DRAFT = {"name": "crop", "draft": True}


def picture(width: int, height: int) -> Image.Image:
    """Smooth shades, which differ everywhere."""
    random = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)
    return Image.fromarray(random).resize((width, height), Image.Resampling.BICUBIC)


def as_bytes(image: Image.Image, kind: str = "JPEG", **more: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **({"quality": 95} if kind == "JPEG" else {}), **more)
    return stream.getvalue()


@pytest.fixture
def samples(tmp_path: Path) -> Samples:
    rows = []
    for name, content, size in (
        ("large", as_bytes(picture(403, 301)), (403, 301)),
        ("lossless", as_bytes(picture(403, 301), "PNG"), (403, 301)),
        ("small", as_bytes(picture(40, 33)), (40, 33)),
        ("turned", as_bytes(picture(301, 403), exif=turned()), (403, 301)),
    ):
        (tmp_path / name).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        rows.append(Sample(name, name, "train", 0, None, size, digest))
    return Samples("folder", ("a", "b"), tuple(rows), tmp_path)


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


@pytest.mark.parametrize(
    ("box", "draft", "scale"),
    [
        ((0, 0, 400, 300), 0, 1),
        ((0, 0, 400, 300), 1, 8),
        ((0, 0, 400, 255), 1, 4),
        ((5, 5, 69, 200), 1, 2),
        ((5, 5, 68, 200), 1, 1),
        ((0, 0, 10, 10), 1, 1),
    ],
)
def test_a_crop_stays_as_large_as_the_view(box: tuple, draft: int, scale: int) -> None:
    assert reduction(View(box, draft=draft), SIZE) == scale


def test_a_box_on_a_reduced_image_is_never_empty() -> None:
    assert onto(View((0, 0, 403, 301)), (403, 301), (38, 51)).box == (0, 0, 51, 38)
    assert onto(View((101, 3, 102, 4)), (403, 301), (38, 51)).box == (13, 0, 14, 1)
    assert onto(View((402, 300, 403, 301)), (403, 301), (38, 51)).box == (50, 37, 51, 38)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_only_a_jpeg_is_reduced(scale: int) -> None:
    whole = picture(403, 301)
    assert decode(as_bytes(whole), scale).shape == (-(-301 // scale), -(-403 // scale), 3)
    assert decode(as_bytes(whole, "PNG"), scale).shape == (301, 403, 3)
    assert decode(as_bytes(picture(3, 1)), scale).shape == (1, 3, 3), "too small to be divided"


@pytest.mark.parametrize("key", ["large", "lossless", "small", "turned"])
def test_a_draft_shows_the_same_picture(samples: Samples, key: str) -> None:
    policy, plain = make_recipe(DRAFT), make_recipe({"name": "crop"})
    row, spec = samples.rows[samples.row_of(key)], {"size": SIZE}
    reader = MODALITY.reader(samples)
    for view in range(8):
        request, other = (one.request(3, samples, row, view) for one in (policy, plain))
        assert request.parameters == replace(other.parameters, draft=1)
        mine, theirs = (MODALITY.render(reader, one, spec).astype(int) for one in (request, other))
        assert np.abs(mine - theirs).mean() < 8 < np.abs(mine[:, ::-1] - theirs).mean()
        if key in ("lossless", "small"):
            np.testing.assert_array_equal(mine, theirs)


def test_what_is_stored_renders_the_same(samples: Samples) -> None:
    policy, reader = make_recipe(DRAFT), MODALITY.reader(samples)
    requests = [policy.request(3, samples, row, 0) for row in samples.rows]
    arrays = pack([one.parameters for one in requests], policy.fields())
    assert arrays["draft"].tolist() == [1] * 4
    stored = MODALITY.stored(arrays, samples)
    for number, request in enumerate(requests):
        assert unpack(arrays, number) == request.parameters
        again = MODALITY.render(reader, stored[number], {"size": SIZE})
        np.testing.assert_array_equal(again, MODALITY.render(reader, request, {"size": SIZE}))


def test_a_reduced_image_takes_so_much_less_memory(samples: Samples) -> None:
    reader = MODALITY.reader(samples, budget=60_000)
    row = samples.rows[samples.row_of("large")]
    assert reader.reduced(row, 8) is reader.reduced(row, 8), "kept"  # type: ignore[attr-defined]
    assert reader[row] is not reader[row], "too large to be kept"


def test_identities_without_it_are_as_they_were() -> None:
    assert "draft" not in make_recipe({"name": "crop"}).describe()
    assert make_recipe(DRAFT).describe()["draft"] is True
    assert "draft" not in make_recipe({"name": "crop"}).fields()


@pytest.mark.slow
def test_a_student_sees_the_drafts_that_its_teacher_saw(project: Path) -> None:
    """Rendered pictures are kept for `store audit`, which draws and asks again."""
    options = ("--set", "views.recipe={name: crop, draft: true}")
    run_in(project, "stillroom", "cache", "--replace", *options)
    run_in(project, "stillroom", "store", "audit", *options)
    manifest = json.loads((project / "artifacts/cache/manifest.json").read_text())
    assert manifest["identity"]["views"]["recipe"]["draft"] is True
    said = run_in(project, "stillroom", "student", "--family", "vit", "--arm", "kd", code=1).stderr
    assert "views.recipe" in said
    run_in(project, "stillroom", "student", "--family", "vit", "--arm", "kd", *options)


def test_render_itself_knows_no_drafts() -> None:
    image = np.asarray(picture(403, 301))
    view = View((0, 0, 403, 301))
    np.testing.assert_array_equal(render(image, view, SIZE), render(image, replace(view, draft=1), SIZE))
