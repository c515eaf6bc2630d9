"""How `make docs` sees the repository: its Markdown where it lies, so that links lead from page to page as
they do on disk, the files that pages link to, and a reference made of the docstrings.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md", "artifacts/README.md")
# page -> (title, what a program or an extension uses, by its full name)
REFERENCE = {
    "library": (
        "The library",
        [
            *("stillroom.open_cache", "stillroom.cache.read.store.Store"),
            *("stillroom.CachedDataset", "stillroom.BatchOrder", "stillroom.load_model"),
            *("stillroom.losses.load", "stillroom.losses.Loss", "stillroom.errors"),
        ],
    ),
    "extend": (
        "To extend it",
        [
            *("stillroom.modalities.base.Modality", "stillroom.modalities.base.Model"),
            *("stillroom.modalities.base.Policy", "stillroom.modalities.base.Corruption"),
            "stillroom.modalities.base.Views",
        ],
    ),
}
LINK = re.compile(r"\]\(([^)#:\s]+)(#[^)\s]*)?\)")
# Their library would come from a network at view time; the tables beside them hold the same figures
DIAGRAM = re.compile(r"^```mermaid\n.*?^```\n", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The pages by their paths in the repository, and all that they link to."""
    kept = [file for file in files if not (Path(config.docs_dir) / file.src_uri).is_file()]  # the theme's
    pages = [ROOT / page for page in PAGES] + sorted((ROOT / "docs").glob("*.md"))
    linked = {
        (page.parent / link).resolve()
        for page in pages
        for link, _ in LINK.findall(page.read_text(encoding="utf-8"))
    }
    for path in [*pages, *sorted(one for one in linked if one.is_file() and one not in pages)]:
        kept.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    for name, (title, objects) in REFERENCE.items():
        text = "\n\n".join([f"# {title}", *(f"::: {one}" for one in objects)])
        kept.append(File.generated(config, f"reference/{name}.md", content=f"{text}\n"))
    return Files(kept)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A page as the site has it: links to folders lead to their page, and no diagram is left."""
    folder = (ROOT / page.file.src_uri).parent

    def link(found: re.Match[str]) -> str:
        index = folder / found[1] / "README.md"
        target = f"{found[1].rstrip('/')}/README.md" if index.is_file() else found[1]
        return f"]({target}{found[2] or ''})"

    return LINK.sub(link, DIAGRAM.sub("", markdown))
