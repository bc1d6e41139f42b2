"""Tables as HTML: what a browser and a screen reader find in them, and that names stay text."""

from __future__ import annotations

from html.parser import HTMLParser

from support.table_samples import NASTY, number, single, table

from reports.formats.html import to_html, to_page
from reports.paper.numbers import PaperNumber
from reports.tables.engine.base import Column, Finding, Row, Table

MARKUP = "\"><script>alert(1)</script>'&"


class Elements(HTMLParser):
    """Every element by its tag, with its attributes and all the text inside."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open = [], []
        self.feed(text)
        assert not [tag for tag, *_ in self.open if tag not in ("meta",)]

    def handle_starttag(self, tag, attributes):
        element = (tag, dict(attributes), [])
        self.found.append(element)
        if tag != "meta":
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for _, _, texts in self.open:
            texts.append(data)

    def of(self, tag, **wanted):
        """Attributes and text of the elements of a tag that have these attributes."""
        return [
            (attributes, "".join(texts))
            for name, attributes, texts in self.found
            if name == tag and wanted.items() <= attributes.items()
        ]


def test_every_place_is_a_cell_and_every_label_a_header_with_a_scope():
    shown = table(datasets=("cifar10", "cifar100"), backbones=("resnet18", "vit_tiny"))

    elements = Elements(to_html(shown))

    assert len(elements.of("td")) == len(shown.rows) * len(shown.columns)
    assert len(elements.of("th", scope="row")) == len(shown.rows) * len(shown.row_header)
    assert [(text, a["colspan"]) for a, text in elements.of("th", scope="colgroup")] == [
        ("cifar10", "6"),
        ("cifar100", "6"),
    ]
    assert len(elements.of("th", scope="col")) == len(shown.row_header) + len(shown.columns)
    assert elements.of("caption")[0][1] == f"{shown.title} {' '.join(shown.caption)}"


def test_a_repeated_label_is_there_for_who_listens():
    shown = table(backbones=("resnet18", "vit_tiny"))

    labels = [text for _, text in Elements(to_html(shown)).of("th", scope="row")]

    assert labels[3:6] == ["resnet18", "gaussian_noise", "with"]


def test_cells_sort_by_their_unrounded_number_and_what_was_not_run_by_none():
    shown = table(defenses=("vanilla", "blur"), missing=[(0, 1)])

    (first, text), (second, dash) = Elements(to_html(shown)).of("td")[:2]

    assert (first["data-sort"], first["data-defense"]) == ("40.0000", "vanilla")
    assert text == "40.0 [35.8, 44.2] paper 45.90† −5.9 (✗)"
    assert (second["data-sort"], second["class"], dash) == ("", "blank", "–")


def test_the_papers_number_is_marked_as_covered_or_not():
    texts = [to_html(single(number(paper=PaperNumber(paper)))) for paper in (51.0, 60.0)]

    assert [Elements(text).of("span", **{"class": "difference"}) for text in texts] == [
        [({"class": "difference", "data-covered": "true"}, "−1.0 ✓")],
        [({"class": "difference", "data-covered": "false"}, "−10.0 ✗")],
    ]


def test_the_best_and_a_verdict_can_be_styled():
    best = Elements(to_html(single(number(best=True)))).of("td")[0][0]
    finding = Elements(to_html(single(Finding(verdict="does not hold", evidence="+1 < 2")))).of("td")[0]

    assert best["class"] == "number best"
    assert (finding[0]["data-verdict"], finding[1]) == ("does not hold", "does not hold +1 < 2")


def test_names_full_of_markup_stay_text():
    for name in (MARKUP, NASTY):
        shown = Table(
            name=name,
            title=name,
            caption=(name,),
            row_header=(name,),
            columns=(Column(name, name),),
            rows=(Row((name,), (Finding(verdict=name, evidence=name),)), Row((name,), (None,))),
        )

        elements = Elements(to_page(shown))

        assert not elements.of("script")
        assert {text for _, text in elements.of("th")} == {name}
        assert elements.of("td")[0] == (
            {"class": "finding", "data-sort": name, "data-verdict": name, "data-dataset": name, "data-defense": name},
            f"{name} {name}",
        )


def test_a_page_needs_nothing_else_and_says_its_language_and_title():
    shown = table()

    elements = Elements(to_page(shown))

    assert [attributes["lang"] for attributes, _ in elements.of("html")] == ["en"]
    assert elements.of("title")[0][1] == elements.of("h1")[0][1] == f"{shown.title}, backbone resnet18"
    assert not [a for _, a, _ in elements.found if "src" in a or "href" in a]
    assert "url(" not in elements.of("style")[0][1]
