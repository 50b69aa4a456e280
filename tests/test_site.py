"""The site is built without a warning or a network, holds every public name, and every link in it leads somewhere."""

import html
import inspect
import os
import pkgutil
import re
import subprocess
import sys
import zlib
from pathlib import Path
from urllib.parse import unquote

import pytest

import ignite_recipes

pytestmark = pytest.mark.slow  # it is built in three quarters of a minute

ROOT = Path(__file__).parents[1]
MODULES = [m.name for m in pkgutil.walk_packages(ignite_recipes.__path__, "ignite_recipes.")]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "docs", str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    """The text of every page, by its path; those of the code that source links lead to are not among them."""
    found = {path.relative_to(site): path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    return {path: text for path, text in found.items() if path.parts[0] not in ("_modules", "_static")}


def test_the_reference_holds_every_public_name_and_no_other(site):
    entries = (site / "objects.inv").read_bytes().split(b"\n", 4)[-1]  # below four lines of header
    listed = [line.split()[:2] for line in zlib.decompress(entries).decode().splitlines()]
    names = [name.split(".") for name, kind in listed if kind.startswith("py:") and name.startswith("ignite_recipes.")]
    names = [name for name in names if ".".join(name) not in MODULES]
    assert {name for _, name, *members in names if not members} == set(ignite_recipes.__all__)


def test_every_public_name_has_its_version_and_a_link_to_its_source(pages):
    entries = {}
    for text in pages.values():
        for entry in re.split(r'(?=<dt class="sig sig-object py" id=")', text)[1:]:
            entries[re.search(r'id="([^"]+)"', entry)[1]] = entry
    text = "".join(pages.values())
    assert text.count("Added in version") == len(ignite_recipes.__all__)
    for name in ignite_recipes.__all__:
        value = getattr(ignite_recipes, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert '"_modules/' in entries[f"ignite_recipes.{name}"].split("</dt>")[0], name


def test_it_shows_the_help_of_every_command(site):
    from ignite_recipes.cli import _COMMANDS

    page = (site / "command.html").read_text(encoding="utf-8")
    assert [name for name in _COMMANDS if not re.search(rf"usage: ignite-recipes {name}\b", page)] == []


def test_it_needs_no_network(site, pages):
    outside = r"""=["'](?:https?:)?//"""
    loaded = (
        rf"<(?:script|img|iframe|source)[^>]*\ssrc{outside}|<link[^>]*(?:stylesheet|preload|icon)[^>]*\shref{outside}"
    )
    assert [str(path) for path, text in pages.items() if re.search(loaded, text)] == []
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"""(?:@import\s+|url\()["']?(?:https?:)?//""", styles) == []


def test_the_search_knows_the_pages(site):
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    for word in ("optuna", "nan", "slurm", "GradientClipper"):
        assert f'"{word}"' in index


def test_every_link_inside_it_leads_somewhere(site, pages):
    """To a file that is there, and to a place in it."""
    places = {path: {unquote(name) for name in re.findall(r'\sid="([^"]*)"', text)} for path, text in pages.items()}
    broken = []
    for path, text in pages.items():
        for link in re.findall(r'<(?:a|img|script|link)\s[^>]*?(?:href|src)="([^"]*)"', text):
            target, _, place = unquote(html.unescape(link)).partition("#")
            target = target.partition("?")[0]
            if re.match(r"[a-z]+:", target):
                continue
            aim = Path(os.path.normpath(path.parent / target)) if target else path
            if not (site / aim).exists() or (place and aim in places and place not in places[aim]):
                broken.append(f"{path}: {link}")
    assert broken == []
