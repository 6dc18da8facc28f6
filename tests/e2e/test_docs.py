"""The pages: links lead somewhere, and nothing is promised that is not there."""

import re

import pytest
from helpers import PROXY, REPO, run

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


def flags_of_the_program():
    """{flag: default} by `proxy --help`; None without one."""
    text = run([PROXY, "--help"]).stdout
    entries = re.split(r"\n\s+(?:-\w, )?(?=--)", text.partition("\nOptions:")[2] or text)
    found = {}
    for entry in entries[1:]:
        default = re.search(r"\[default:\s+([^\]]+)\]", entry)
        found[re.match(r"--[\w-]+", entry)[0]] = default and re.sub(r"\s+", " ", default[1])
    return found


def test_the_page_of_flags_has_every_flag_with_its_default():
    told = dict(
        re.findall(
            r"^\| `(--[\w-]+)[^`]*` \| ([^|]+?) \|", (REPO / "docs" / "flags.md").read_text(), re.M
        )
    )
    program = flags_of_the_program()
    assert set(told) | {"--help", "--version"} == set(program)
    assert len(told) > 30
    for flag, default in program.items():
        # Where the page has code, it is the value itself; otherwise it says in words what it means.
        if default and told[flag].startswith("`"):
            assert told[flag] == f"`{default}`", flag


def test_the_readme_names_only_flags_that_exist():
    known = set(flags_of_the_program())
    # Of sub-commands and of other programs.
    known |= {"--once", "--impatient", "--release", "--path", "--tag", "--build", "--config"}
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", (REPO / "README.md").read_text()))
    assert named <= known, named - known
