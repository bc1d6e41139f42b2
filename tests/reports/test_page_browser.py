"""The page in a real browser, which is the system's; skipped where there is none or Playwright is not installed."""

import functools
import io
import statistics

import numpy as np
import pytest
from PIL import Image
from support.page_samples import EVIL, failed, large, sample

from harness.metrics import holm, mcnemar
from reports import build
from reports.page import write_page
from reports.page.build import ASSETS

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")

PHONE = {"width": 390, "height": 844}
ROWS = "#board-table tbody tr"
VIEWS = (
    "board",
    "board?open=Corruption~Robust&seed=all&dataset=all",
    "defense?defense=virolbi_fixed",
    "compare?a=vanilla~&b=virolbi_fixed~virolbi",
    "tables",
    "figures",
    "problems",
)


@pytest.fixture(scope="module")
def recorder():
    return sample()


@pytest.fixture(scope="module")
def report(tmp_path_factory, recorder):
    """The page's file."""
    collection = recorder.collection(**failed())
    picture = io.BytesIO()
    Image.new("RGB", (400, 300), "navy").save(picture, "PNG")
    return write_page(
        collection,
        tmp_path_factory.mktemp("page") / "index.html",
        tables=build(collection.cells, ["summary", "table1", "table2", "masking", "paired"]),
        figures=[("f", "A figure", "Its caption.", picture.getvalue()), ("g", "Another", "", b"x" * 3_000_000)],
        links={"summary": ["summary.csv"], "g": ["g.png"], "Records": ["cells.csv"]},
    )


@pytest.fixture
def visit(visit, report):
    """Opens a view of the report, unless another file is given."""
    return functools.partial(visit, file=report)


def names(page):
    return page.locator(f"{ROWS} th a").all_inner_texts()


def column(page, label):
    """The texts of a leaderboard's column, by the text of its header's button."""
    heads = page.locator("#board-table thead tr:last-child th").all_inner_texts()
    (place,) = [place for place, head in enumerate(heads) if head.replace("\n", " ").startswith(label)]
    return page.locator(f"{ROWS} td:nth-of-type({place + 1})").all_inner_texts()


def shown_numbers(texts):
    return [float(text.split()[0]) for text in texts if text[0].isdigit()]


def press(page, name, **options):
    page.get_by_role("button", name=name, **options).first.click()


# The leaderboard


def test_rows_are_sorted_by_any_column_both_ways_and_blanks_stay_last(visit):
    page = visit("board?open=Corruption")
    press(page, "gaussian_noise")
    down = column(page, "gaussian")
    head = page.locator("th[aria-sort]")

    assert head.get_attribute("aria-sort") == "descending"
    assert shown_numbers(down) == sorted(shown_numbers(down), reverse=True)

    press(page, "gaussian_noise")
    assert head.get_attribute("aria-sort") == "ascending"
    assert shown_numbers(column(page, "gaussian")) == sorted(shown_numbers(down))

    press(page, "worst case ε 8/255")
    assert [text[0] == "–" for text in column(page, "worst case ε 8/255")] == [False] * 3 + [True] * 5


def test_rows_are_sorted_by_name_in_the_tables_order(visit):
    page = visit()
    press(page, "Defense", exact=True)

    assert names(page) == [name for name in ("vanilla", "blur", "virolbi_fixed", EVIL) for _ in range(2)]


def test_a_filter_keeps_the_defenses_of_that_name_and_says_so(visit):
    page = visit()
    page.get_by_role("searchbox").fill("VIROLBI")

    assert set(names(page)) == {"virolbi_fixed"}
    page.locator("#status", has_text="2 of 8 rows").wait_for(state="attached")

    page.get_by_role("searchbox").fill("nobody")
    assert "No defense of that name" in page.locator(ROWS).inner_text()


def test_switches_change_what_is_shown(visit):
    page = visit()
    assert "Robust, adaptive" in page.locator("#board-table thead").inner_text()
    press(page, "bare")
    assert "Robust, bare" in page.locator("#board-table thead").inner_text()
    press(page, "with", exact=True)
    assert page.locator(ROWS).count() == 4
    page.get_by_label("Data set").select_option("cifar100")
    assert page.locator(ROWS).count() == 0 or names(page) == []
    press(page, "both")
    assert names(page) == ["vanilla"]


def test_seeds_are_averaged_or_single(visit):
    page = visit()
    assert "±" in page.locator(ROWS).first.inner_text()
    page.get_by_label("Seeds").select_option("seed 1")
    assert "±" not in page.locator(ROWS).first.inner_text()
    assert EVIL not in names(page)
    page.get_by_label("Seeds").select_option("each")
    assert page.locator(ROWS).count() == 14


def test_groups_of_columns_open_and_close(visit):
    page = visit()
    closed = page.locator("#board-table thead tr:last-child th").count()
    press(page, "Corruption")
    assert page.get_by_role("button", name="Corruption").first.get_attribute("aria-expanded") == "true"
    assert page.locator("#board-table thead tr:last-child th").count() == closed + 2
    press(page, "Corruption")
    assert page.locator("#board-table thead tr:last-child th").count() == closed


def test_an_interval_is_drawn_and_said(visit):
    page = visit("board?q=blur&seed=0")
    cell = page.locator(f"{ROWS} td").first
    low, value, high = (
        float(cell.locator(".bar").evaluate(f"bar => bar.style.getPropertyValue('--{end}')"))
        for end in ("low", "value", "high")
    )

    assert low < value < high
    assert f"95 % interval {low} to {high}, n = 200" in cell.locator(".unseen").inner_text()
    assert float(cell.locator(".value").inner_text()) == value


def test_what_was_not_run_is_blank(visit):
    page = visit("board?q=onerror")

    texts = page.locator(ROWS).first.locator("td").all_inner_texts()
    assert [text.strip().startswith("–") for text in texts] == [False, False, True, True, False]


def test_a_view_can_be_linked_to(visit):
    page = visit()
    press(page, "bare")
    press(page, "Corruption")
    page.get_by_role("searchbox").fill("blur")
    address = page.evaluate("location.hash.slice(1)")

    again = visit(address)

    assert names(again) == ["blur", "blur"]
    assert again.locator("#board-table").inner_text() == page.locator("#board-table").inner_text()


@pytest.mark.parametrize(
    "view", ["board?dataset=nobody&threat=x&seed=99&sort=y&q=%", "nobody", "defense?defense=nobody"]
)
def test_an_address_that_names_nothing_known_shows_the_usual(visit, view):
    page = visit(view)

    assert page.locator("main section:visible").count() >= 1


def test_an_address_within_a_view_shows_it(visit):
    page = visit("table-1")

    assert page.locator("#table-1").is_visible()
    assert not page.locator("#board").is_visible()


def test_markup_in_a_name_is_shown_as_it_is_written(visit):
    page = visit("board?q=onerror")
    assert set(names(page)) == {EVIL}
    page.locator(f"{ROWS} th a").first.click()

    assert page.locator("#defense-title").inner_text() == EVIL
    assert page.locator("img[src=x]").count() == 0


def test_a_defense_is_shown_with_all_that_is_known(visit):
    page = visit()
    page.get_by_role("link", name="virolbi_fixed").first.click()
    body = page.locator("#defense-body")

    assert page.locator("#defense-title").inner_text() == "virolbi_fixed"
    for text in (
        "Accuracy in percent",
        "Masking checks",
        "nothing left at large ε",
        "optimiser",
        "a test's CPU",
        "the gradient is zero",
    ):
        assert text in body.inner_text()
    assert body.locator("svg[role=img]").count() == 5


def test_a_chart_has_its_numbers_in_a_table(visit, recorder):
    page = visit("defense?defense=vanilla")
    chart = page.locator(".chart").first
    chart.locator("summary").click()
    accuracies = [
        cell.n_correct / 2
        for cell in recorder.cells()
        if (cell.defense, cell.dataset, cell.condition, cell.seed) == ("vanilla", "cifar10", "gaussian_noise", 0)
        and not cell.preprocessed
    ]

    shown = chart.locator("tbody td:nth-of-type(1)").all_inner_texts()

    assert [float(text.split(" ")[0]) for text in shown] == pytest.approx(accuracies)
    assert "table below" in chart.locator("svg[role=img]").get_attribute("aria-label")


def test_a_comparison_has_mcnemars_test_of_every_condition(visit, recorder):
    page = visit("compare?a=virolbi_fixed~virolbi&b=vanilla~&of=Corruption")
    one, other = (
        {
            (cell.condition, cell.severity): recorder.outcomes[cell.identity]
            for cell in recorder.cells()
            if (cell.suite, cell.defense, cell.preprocess, cell.seed) == wanted
        }
        for wanted in (("corruption", "virolbi_fixed", "virolbi", 0), ("corruption", "vanilla", "none", 0))
    )
    tests = [mcnemar(one[key], other[key]) for key in sorted(one)]

    rows = page.locator("#compare-body tbody tr").filter(has=page.locator("td")).all()
    shown = [row.locator("td").all_inner_texts() for row in rows]
    ps = [[float(cell.get_attribute("data-p")) for cell in row.locator("td[data-p]").all()] for row in rows]

    assert [(int(texts[3]), int(texts[4])) for texts in shown] == [(test.b, test.c) for test in tests]
    assert [p for p, _ in ps] == pytest.approx([test.p_value for test in tests], rel=1e-9)
    assert [p for _, p in ps] == pytest.approx(holm([test.p_value for test in tests]), rel=1e-9)


def test_p_values_are_exact_up_to_ten_thousand_images(browser):
    counts = [(0, 0), (0, 1), (5, 5), (3, 12), (12, 3), (40, 71), (480, 520), (900, 1000), (4000, 6000), (0, 10_000)]
    source = (ASSETS / "stats.js").read_text(encoding="utf-8")
    page = browser.new_page()

    found = page.evaluate(f"(counts) => {{ {source}; return counts.map(([b, c]) => mcnemar(b, c)); }}", counts)
    page.close()

    for (b, c), p in zip(counts, found, strict=True):
        assert p == pytest.approx(_mcnemar(b, c), rel=1e-9, abs=1e-300)


def _mcnemar(b, c):
    first = np.concatenate([np.ones(b, bool), np.zeros(c, bool), [True]])
    second = np.concatenate([np.zeros(b, bool), np.ones(c, bool), [True]])
    return mcnemar(first, second).p_value


# Everybody


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_nothing_stands_in_the_way_of_assistive_technology(visit, view, scheme):
    page = visit(view, color_scheme=scheme)
    for summary in page.locator("details > summary:visible").all():
        summary.click()

    violations = axe.Axe().run(page).response["violations"]

    assert [(each["id"], each["nodes"][0]["html"]) for each in violations] == []


@pytest.mark.parametrize("view", VIEWS)
def test_on_a_phone_only_tables_scroll_sideways(visit, view):
    page = visit(view, viewport=PHONE)

    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_on_a_phone_the_first_column_stays(visit):
    page = visit("board?open=Corruption", viewport=PHONE)
    name = page.locator(f"{ROWS} th").first
    before = name.bounding_box()["x"]
    page.locator("#board-table").evaluate("region => region.scrollLeft = 300")

    assert name.bounding_box()["x"] == pytest.approx(before, abs=1)


def test_the_keyboard_reaches_everything(visit):
    page = visit("")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_role("button", name="Corruption").first.focus()
    page.keyboard.press("Enter")

    assert page.get_by_role("button", name="Corruption").first.get_attribute("aria-expanded") == "true"
    assert page.evaluate("document.activeElement.textContent").startswith("Corruption")


def test_light_and_dark_follow_the_system_until_they_are_chosen(visit):
    page = visit(color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    page.locator("#theme").click()

    assert page.evaluate(background) == visit(color_scheme="light").evaluate(background) != dark


def test_problems_are_named_on_every_view_and_lead_to_their_table(visit):
    page = visit("compare")
    page.get_by_role("link", name="See which and why").click()

    page.wait_for_selector("#problems:not([hidden])")
    assert "out of memory <b>" in page.locator("#problems").inner_text()


def test_without_scripts_tables_and_figures_are_there(visit, browser, report):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())

    assert page.locator("#tables table").first.is_visible()
    assert page.locator("#figures img").is_visible()
    context.close()


@pytest.mark.parametrize(("defenses", "conditions"), [(20, 100), (5, 400)])
def test_a_large_report_can_be_used_within_a_second(visit, tmp_path, defenses, conditions):
    file = write_page(large(defenses, conditions).collection(), tmp_path / "index.html", tables=())
    pages = [visit(view, file=file) for view in ("board", "board?open=Corruption", "compare")]

    taken = [page.evaluate("performance.getEntriesByName('interactive')[0].startTime") for page in pages]

    assert statistics.median(taken) < 1000  # 0.15 s on an idle core
