"""`make docs`: the pages as a site that asks no network for anything."""

import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.conftest import BIN, ROOT, environment
from tests.docs.blocks import PAGES

pytestmark = pytest.mark.slow


class Fetched(HTMLParser):
    """The addresses that a browser fetches of itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "embed"):
            self.found.add(values.get("src") or "")
        if tag == "link" and values.get("rel") not in ("canonical", "prev", "next"):
            self.found.add(values.get("href") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build = [str(BIN / "mkdocs"), "build", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(
        build, cwd=ROOT, env=environment() | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_there_and_its_links_lead_somewhere(site: Path) -> None:
    for page in PAGES:
        path = page.relative_to(ROOT).as_posix().replace("README.md", "index.md").replace(".md", ".html")
        html = (site / path).read_text(encoding="utf-8")
        local = re.findall(r'href="(?!https?:|#|mailto:|data:)([^"#]+)', html)
        lost = {one for one in local if not ((site / path).parent / one).exists()}
        assert not lost, f"{path}: {sorted(lost)}"


def test_nothing_comes_from_a_network(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        seen = Fetched()
        seen.feed(page.read_text(encoding="utf-8"))
        assert not [one for one in seen.found if re.match(r"(https?:)?//", one)], page
        assert 'class="mermaid"' not in page.read_text(encoding="utf-8")  # its library would be fetched
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def test_the_reference_has_what_a_program_calls(site: Path) -> None:
    html = (site / "reference/library.html").read_text(encoding="utf-8")
    for name in ("open_cache", "CachedDataset", "load_model", "losses.load"):
        assert f'id="stillroom.{name}"' in html
    assert "set_epoch" in html
