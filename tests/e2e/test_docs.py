"""The pages: links lead somewhere, and nothing is promised that is not there."""

import re

import pytest
from helpers import REPO

PAGES = sorted(
    path
    for path in [
        *REPO.glob("*.md"),
        *(REPO / "docs").rglob("*.md"),
        *(REPO / "examples").rglob("*.md"),
    ]
)


def anchors(text):
    """As the usual renderers make them from headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(REPO)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not target.startswith(("http:", "https:")):
            file, _, anchor = target.partition("#")
            found = (page.parent / file).resolve() if file else page
            assert found.exists(), target
            assert not anchor or anchor in anchors(found.read_text()), target


def test_paths_that_commands_name_exist():
    for page in PAGES:
        for path in re.findall(
            r"(?<![\w/])((?:examples|docs|tests|benches|image|fuzz)/[\w./-]*\w)", page.read_text()
        ):
            if "//" not in path:
                assert (REPO / path).exists() or (page.parent / path).exists(), (
                    f"{path} in {page.name}"
                )
