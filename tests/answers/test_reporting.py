"""A report is one page that needs nothing else, says what was measured, and takes nothing of a user's for HTML."""

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise

import polars as pl
import pytest
from PIL import Image
from support.commands import run
from support.experiments import NAMES, OF_TABLES
from support.tables import TABLE

from ignite_recipes import evaluate, report
from ignite_recipes.answers.report_page import Section, Table, write_page

HEADINGS = {
    "vae": ["Measures", "Reconstructions", "Latent map", "Latent dimensions"],
    "traffic": ["Measures", "Against the baselines", "Flags", "Number of transmissions", "Deadband"],
    "classify": ["Measures", "Confusion matrix", "Classes", "Calibration", "Worst examples"],
    "classes": ["Measures", "Confusion matrix", "Classes", "Calibration", "Worst examples"],
    "numbers": ["Measures", "Residuals", "Worst rows"],
}
ALWAYS = ["Curves", "What was trained on what", "Settings"]


class Page(HTMLParser):
    """The tags, headings, cells and pictures of a page; each tag is closed."""

    VOID = frozenset({"meta", "img"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.attributes, self.headings, self.cells = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attributes]
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["h2"]:
            self.headings.append(data)
        if self.open[-1:] == ["td"]:
            self.cells[-1] += data


@pytest.fixture(scope="module")
def pages(experiments, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    runs = experiments / "runs"
    return {of: report(NAMES[of], folder / f"{of}.html", runs_dir=runs, device="cpu") for of in HEADINGS}


@pytest.mark.parametrize("of", HEADINGS)
def test_a_report_has_its_sections_and_needs_nothing_else(of, pages):
    text = pages[of].read_text(encoding="utf-8")
    page = Page(text)
    assert page.headings == [*HEADINGS[of], *ALWAYS]
    assert not {"script", "link", "iframe", "object", "base", "form"} & set(page.tags)
    sources = [value for _, name, value in page.attributes if name in ("src", "href")]
    assert all(value.startswith(("data:image/png;base64,", "#")) for value in sources)
    assert "http://" not in text
    assert "https://" not in text
    assert all(name[:2] != "on" for _, name, _ in page.attributes)
    anchors = {value for _, name, value in page.attributes if name == "id"}
    assert {value[1:] for value in sources if value.startswith("#")} == anchors


@pytest.mark.parametrize("of", HEADINGS)
def test_its_pictures_can_be_read_and_have_a_text(of, pages):
    page = Page(pages[of].read_text(encoding="utf-8"))
    pictures = [value for tag, name, value in page.attributes if (tag, name) == ("img", "src")]
    assert len(pictures) >= 2
    for source in pictures:
        picture = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))
        assert len(set(picture.convert("L").getextrema())) == 2  # something is drawn
    texts = [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")]
    assert len(texts) == len(pictures)
    assert all(len(text) > 20 for text in texts)


@pytest.mark.parametrize("of", ["classes", "numbers", "classify"])
def test_it_says_the_measures_that_evaluate_gives(of, pages, runs):
    cells = Page(pages[of].read_text(encoding="utf-8")).cells
    measures = evaluate(NAMES[of], runs_dir=runs, device="cpu")
    assert [cells[5 * k + 1] for k in range(len(measures))] == [f"{value:.4g}" for value in measures.values()]
    for k in range(len(measures)):
        value, low, high = (float(cell) for cell in cells[5 * k + 1 : 5 * k + 4])
        assert low <= value <= high


def test_it_says_what_was_trained_on_what(pages, experiments):
    import hashlib

    cells = Page(pages["classes"].read_text(encoding="utf-8")).cells
    said = dict(pairwise(cells))
    contents = (experiments / "table.csv").read_bytes()
    assert said["SHA-256"] == hashlib.sha256(contents).hexdigest()
    assert said["size"] == f"{len(contents):,} bytes"
    assert said["data"] == str(experiments / "table.csv")
    assert said["model"].startswith("multilayer_perceptron, ")
    assert "torch 2." in said["versions"]
    assert any(cell.startswith(f"ignite-recipes supervised {experiments}/table.csv --target kind") for cell in cells)


@pytest.mark.slow
def test_two_reports_are_the_same(experiments, pages, tmp_path):
    again = report("exp5", tmp_path / "r.html", runs_dir=experiments / "runs", device="cpu")
    assert again.read_bytes() == pages["classes"].read_bytes()


EVIL = "<script>alert(1)</script>"


def test_what_a_user_wrote_never_becomes_html_or_a_formula(capsys, tmp_path):
    table = TABLE.with_columns(
        **{
            f"{EVIL}&": pl.Series([f"{EVIL}{k % 3}" for k in range(200)]),
            "kind": pl.Series([f"{EVIL}$x^" if k % 2 else '"><img src=x onerror=alert(1)>$' for k in range(200)]),
        }
    )
    table.write_csv(tmp_path / "evil.csv")
    code, _, err = run(
        capsys, "supervised", str(tmp_path / "evil.csv"), "--target", "kind", *OF_TABLES, "--runs-dir", str(tmp_path)
    )
    assert code == 0, err
    text = report("exp1", runs_dir=tmp_path, device="cpu").read_text(encoding="utf-8")
    page = Page(text)
    assert "script" not in page.tags
    assert all(name[:2] != "on" for _, name, _ in page.attributes)
    assert any(EVIL in cell for cell in page.cells)


def test_where_the_validation_data_are_gone_the_rest_is_reported(capsys, tmp_path):
    TABLE.write_csv(tmp_path / "t.csv")
    run(capsys, "supervised", str(tmp_path / "t.csv"), "--target", "kind", *OF_TABLES, "--runs-dir", str(tmp_path))
    (tmp_path / "t.csv").unlink()
    code, out, _ = run(capsys, "report", "exp1", "--runs-dir", str(tmp_path), "--device", "cpu")
    assert (code, out) == (0, f"The report on exp1 is in {tmp_path}/exp1/report.html: open it in a browser\n")
    text = (tmp_path / "exp1" / "report.html").read_text()
    assert "Nothing was measured: data must be a file; there is none at" in text
    assert Page(text).headings == ["Measures", *ALWAYS]


@pytest.mark.slow
def test_it_is_written_on_data_of_ones_own_too(experiments, tmp_path):
    TABLE[:30].write_csv(tmp_path / "known.csv")
    path = report("exp5", tmp_path / "r.html", data=tmp_path / "known.csv", runs_dir=experiments / "runs", device="cpu")
    assert "on 30 samples" in path.read_text()
    given = {"data": TABLE[:30].drop("kind"), "targets": TABLE["kind"][:30]}
    again = report("exp5", tmp_path / "r2.html", **given, runs_dir=experiments / "runs", device="cpu")
    assert again.read_bytes() == path.read_bytes()
    with pytest.raises(ValueError, match="must have the target's column 'kind' to report on it"):
        report("exp5", tmp_path / "x.html", data=TABLE.drop("kind"), runs_dir=experiments / "runs", device="cpu")
    with pytest.raises(ValueError, match=r"must be written to a file that ends in \.html"):
        report("exp5", tmp_path / "x.pdf", runs_dir=experiments / "runs", device="cpu")
    assert not (tmp_path / "x.html").exists()


@pytest.mark.slow
def test_without_a_log_and_what_it_was_started_with_there_is_a_report(experiments, tmp_path):
    shutil.copytree(experiments / "runs" / "exp3", tmp_path / "exp3")
    (tmp_path / "exp3" / "training_log.csv").write_text("damaged\n1\n")
    (tmp_path / "exp3" / "provenance.json").write_text("{")
    text = report("exp3", runs_dir=tmp_path, device="cpu").read_text()
    assert "were not kept" in text
    assert Page(text).headings == [*HEADINGS["classify"], *ALWAYS[1:]]
    strange = {"command": 1, "git": "abc", "versions": [], "data": {"path": "x"}}
    (tmp_path / "exp3" / "provenance.json").write_text(json.dumps({"starts": [strange]}))
    assert Page(report("exp3", runs_dir=tmp_path, device="cpu").read_text()).headings == Page(text).headings


def test_cells_are_escaped_short_and_aligned():
    table = Table(["a & b", "n"], [["<b>", 1.5], ["x" * 999, None]])
    page = write_page("t", "s", "", [Section("One & two", [table, "a < b"])])
    assert "a &amp; b" in page
    assert "&lt;b&gt;" in page
    assert re.search(r'<td class="number">-</td>', page)
    assert "x" * 199 + "…" in page
    assert "x" * 200 not in page
    assert '<h2 id="one-two">' in page
