import base64
import hashlib
import json
import re
import time

import numpy as np
import pytest
from support.page_samples import ENVIRONMENT, EVIL, RECIPE, Reader, Recorder, data_of, failed, large, sample, scores

from harness.errors import UserError
from harness.metrics import mcnemar, robust_correct, wilson
from reports import build
from reports.formats.html import to_html
from reports.page import build_page, write_page
from reports.page.blocks import WORST, only_first
from reports.page.build import script_json
from reports.statistics.estimates import mean_accuracy

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def recorder():
    return sample()


@pytest.fixture(scope="module")
def page(recorder):
    collection = recorder.collection(**failed())
    return build_page(collection, tables=build(collection.cells, ["summary", "masking"]))


@pytest.fixture(scope="module")
def data(page):
    return data_of(page)


def chosen(recorder, **wanted):
    return [cell for cell in recorder.cells() if all(getattr(cell, name) == value for name, value in wanted.items())]


def found(data, key, seed=None, **wanted):
    (numbers,) = [
        numbers
        for entry, column, numbers in scores(data, seed)
        if entry == key and all(column[name] == value for name, value in wanted.items())
    ]
    return numbers


VANILLA = ("cifar10", "resnet18", "vanilla", "")


# The numbers


def test_a_mean_is_the_estimate_of_the_tables(recorder, data):
    members = chosen(recorder, suite="corruption", defense="vanilla", preprocess="none")
    estimate = mean_accuracy(members, members)

    numbers = found(data, VANILLA, group="Corruption", summary=True)

    assert numbers[:4] == [round(each, 1) for each in (estimate.value, estimate.low, estimate.high, estimate.std)]
    assert numbers[4:] == [2, 200, 10, 10]


def test_a_condition_of_one_seed_has_wilsons_interval(recorder, data):
    (cell,) = chosen(
        recorder, suite="low_resolution", condition="scale=1/2", defense="vanilla", preprocess="none", seed=1
    )

    numbers = found(data, VANILLA, seed=1, group="Low resolution", label="scale=1/2")

    percents = [cell.n_correct / 2, *(100 * end for end in wilson(cell.n_correct, 200))]
    assert numbers[:4] == [*(round(percent, 1) for percent in percents), None]


def test_robust_is_the_worst_case_of_each_image(recorder, data):
    attacked = chosen(recorder, suite="adversarial", threat="adaptive", defense="blur", seed=0, epsilon=8 / 255)
    survived = robust_correct([recorder.outcomes[cell.identity] for cell in attacked])

    key = ("cifar10", "resnet18", "blur", "blur")
    numbers = found(data, key, seed=0, label="worst case", threat="adaptive", detail="ε 8/255 pixel")

    assert numbers[0] == round(100 * survived.mean(), 1)


def test_the_numbers_of_the_summary_are_on_the_page(recorder, data):
    (table,) = build(recorder.cells(), ["summary"])
    shown = {numbers[0] for _, column, numbers in scores(data) if column["summary"]}

    in_table = {round(each.value, 1) for row in table.rows for each in row.entries if each}

    assert in_table == shown


def test_what_was_not_run_is_not_there(data):
    evil = {column["group"] for key, column, _ in scores(data) if key[2] == EVIL}

    assert evil == {"Clean", "Corruption", "Low resolution"}


def test_a_mean_over_fewer_conditions_says_so():
    recorder = Recorder()
    for defense, severities in (("vanilla", (1, 2, 3)), ("blur", (1,))):
        for severity in severities:
            recorder.add(0.5, suite="corruption", condition="fog", severity=severity, defense=defense)

    data = data_of(build_page(recorder.collection(), tables=()))

    counts = {key[2]: numbers[6:] for key, _, numbers in scores(data)}
    assert counts == {"vanilla": [3, 3], "blur": [1, 3]}


def test_images_of_another_number_are_another_column():
    recorder = Recorder()
    recorder.add(0.5)
    recorder.add(0.6, n_images=50, defense="blur")

    data = data_of(build_page(recorder.collection(), tables=()))

    assert [column["group"] for column in data["columns"]] == ["Clean, n = 50", "Clean, n = 200"]


def test_sources_of_images_are_never_averaged():
    recorder = Recorder()
    for source in ("official", "generated"):
        recorder.add(0.5, suite="corruption", condition="fog", severity=1, source=source)

    data = data_of(build_page(recorder.collection(), tables=()))

    assert [column["detail"] for column in data["columns"]] == ["generated", "official"]
    assert [condition["label"] for condition in data["conditions"]] == ["fog generated", "fog official"]


# Pairs


def pair(data, block, one, other):
    """b and c of two places of a block, as the page's script takes them from it."""
    count = len(block["entries"])
    place = [(i, j) for i in range(count) for j in range(i + 1, count)].index((one, other))
    b = int(block["only"].split(" ")[place])
    return b, b - block["right"][one] + block["right"][other]


def test_pair_counts_are_those_of_mcnemars_test(recorder, data):
    checked = 0
    for block in data["blocks"]:
        condition = data["conditions"][block["condition"]]
        if "only" not in block or condition["label"] == WORST:
            continue
        cells = [_cell(recorder, data, block, entry) for entry in block["entries"]]
        for other in range(1, len(cells)):
            test = mcnemar(*(recorder.outcomes[cells[place].identity] for place in (0, other)))
            assert pair(data, block, 0, other) == (test.b, test.c)
            checked += 1
    assert checked > 50


def _cell(recorder, data, block, entry):
    dataset, _, defense, preprocess = data["entries"][entry]
    condition = data["conditions"][block["condition"]]
    name = condition["label"] + (f" eps={condition['radius'].split()[1]}" if "threat" in condition else "")
    (cell,) = [
        cell
        for cell in chosen(recorder, dataset=data["datasets"][dataset], defense=data["defenses"][defense])
        if cell.condition == name
        and cell.severity == condition.get("severity")
        and cell.threat == condition.get("threat", "")
        and cell.seed == block["seed"]
        and cell.preprocess == (data["preprocessings"][preprocess] or "none")
        and cell.suite != "masking"
    ]
    return cell


def test_counting_pairs_by_a_product_of_matrices_is_counting_them():
    outcomes = np.random.default_rng(0).random((5, 97)) < 0.6

    counted = [[int((one & ~other).sum()) for other in outcomes] for one in outcomes]

    assert only_first(outcomes).tolist() == counted


def test_worst_cases_are_compared_only_under_the_same_attacks():
    recorder = Recorder()
    for defense, attacks in (("vanilla", ("fgsm", "pgd")), ("blur", ("fgsm", "pgd")), ("pni", ("fgsm",))):
        for attack in attacks:
            recorder.attack(0.4, attack, 8, "bare", defense=defense)

    data = data_of(build_page(recorder.collection(), tables=()))

    worst = [block for block in data["blocks"] if data["conditions"][block["condition"]]["label"] == WORST]
    assert sorted(len(block["entries"]) for block in worst) == [1, 2]


def test_two_under_different_attacks_are_compared_under_those_on_both():
    recorder = Recorder()
    attacks = {
        "vanilla": ("fgsm", "pgd", "autoattack"),
        "blur": ("fgsm", "autoattack:version=rand"),
        "pni": ("square",),
    }
    for defense, names in attacks.items():
        for attack in names:
            recorder.attack(0.4, attack, 8, "bare", defense=defense)

    data = data_of(build_page(recorder.collection(), tables=()))

    (block,) = [each for each in data["blocks"] if data["conditions"][each["condition"]].get("shared")]
    assert data["conditions"][block["condition"]]["label"] == f"{WORST} of the attacks on both: autoattack, fgsm"
    assert [data["defenses"][data["entries"][entry][2]] for entry in block["entries"]] == ["vanilla", "blur"]
    outcomes = list(recorder.outcomes.values())
    test = mcnemar(outcomes[0] & outcomes[2], outcomes[3] & outcomes[4])
    assert pair(data, block, 0, 1) == (test.b, test.c)


def test_masking_checks_are_not_compared_or_ranked(data):
    masking = [block for block in data["blocks"] if data["conditions"][block["condition"]].get("diagnostic")]

    assert masking
    assert not any("only" in block for block in masking)
    assert not any(column["group"] == "masking" for column in data["columns"])


def test_more_pairs_than_fit_are_left_out_and_counted(monkeypatch, recorder):
    monkeypatch.setattr("reports.page.blocks.PAIRS", 100)

    data = data_of(build_page(recorder.collection(), tables=()))

    kept = sum(len(block["only"].split(" ")) for block in data["blocks"] if "only" in block)
    assert 0 < kept <= 100
    assert data["left_out"] > 0


# What is said beside


def test_recipe_environment_flags_and_checks_are_there(data):
    network = next(each for each in data["networks"] if each["defense"] == data["defenses"].index("blur"))

    assert RECIPE.items() <= {name: int(v) if v.isdigit() else v for name, v in network["recipe"].items()}.items()
    assert [data["environments"][place]["device"] for place, _ in network["environments"]] == [ENVIRONMENT["device"]]
    assert network["flags"] == [["the gradient is zero", ["clean"]]]
    assert any("nothing left at large ε" in check for each in data["masking"] for check in each["checks"])


def test_masking_checks_are_taken_from_no_other_table(recorder, data):
    tables = build(recorder.cells(), ["summary", "paired", "masking"])

    assert data_of(build_page(recorder.collection(), tables=tables))["masking"] == data["masking"]


def test_failures_and_conflicts_are_announced_above_everything(page):
    notice = page.index('class="notice"><strong>1 cell failed · 1 cell in conflict.')

    assert notice < page.index('<main id="main"')
    assert "out of memory &lt;b&gt;" in page
    assert "<td>run-a</td><td>run-a: 120; run-b: 118</td>" in page
    assert "4 of 200" in page


def test_an_incomplete_run_is_announced_and_leads_to_no_failures(recorder):
    page = build_page(recorder.collection(unfinished={"<demo>": (44, 72)}), tables=())

    said = "&lt;demo&gt; is incomplete: 44 of 72 planned cells are recorded."
    assert f'<p class="notice"><strong>{said}</strong></p>' in page


def test_without_problems_there_is_no_notice(recorder):
    assert 'class="notice"><strong>' not in build_page(recorder.collection(), tables=())


def test_tables_are_shown_with_links_to_their_files(recorder):
    (table,) = build(recorder.cells(), ["summary"])
    links = {"summary": ["tables/summary.csv", "a name: with % and space.md"], "Records": ["cells.csv"]}

    page = build_page(recorder.collection(), tables=[table], links=links)

    assert to_html(table) in page
    targets = [attributes["href"] for tag, attributes in Reader(page).tags if tag == "a"]
    assert {"./tables/summary.csv", "./a%20name%3A%20with%20%25%20and%20space.md", "./cells.csv"} <= set(targets)


# Figures


def test_figures_are_embedded_until_the_page_is_full(recorder):
    figures = [("one", "One", "A caption", b"x" * 2_000_000), ("two", "Two", "", b"y" * 2_000_000)]

    page = build_page(recorder.collection(), tables=(), figures=figures, links={"two": ["two.png"]})

    images = [attributes for tag, attributes in Reader(page).tags if tag == "img"]
    assert [image["alt"] for image in images] == ["One"]
    assert base64.b64decode(images[0]["src"].partition(",")[2]) == figures[0][3]
    assert 'href="./two.png"' in page
    assert len(page.encode()) < 3 * MEGABYTE


# Nothing but the page


def test_whatever_a_name_holds_is_only_text(page):
    reader = Reader(page)

    assert not [tag for tag, _ in reader.tags if tag == "img"]
    assert "<img src=x" not in page
    assert {name for _, attributes in reader.tags for name in attributes if name.startswith("on")} == set()
    assert EVIL in data_of(page)["defenses"]


def test_data_cannot_end_its_script():
    text = script_json({"name": "</script><!--\u2028\u2029&"})

    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text)["name"] == "</script><!--\u2028\u2029&"


def test_only_our_own_style_and_script_may_act(page):
    reader = Reader(page)
    (policy,) = [a["content"] for tag, a in reader.tags if a.get("http-equiv") == "Content-Security-Policy"]

    assert policy.startswith("default-src 'none'")
    for kind in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(reader.raw[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_nothing_is_fetched(page):
    for tag, attributes in Reader(page).tags:
        assert not attributes.get("src", "data:").startswith(("http", "//")), tag
        assert not attributes.get("href", "#").startswith(("http", "//")), tag
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest", page)


def test_the_same_records_give_the_same_page(recorder):
    assert build_page(sample().collection(), tables=()) == build_page(recorder.collection(), tables=())


# Files and scale


def test_the_page_replaces_an_older_one_whole(tmp_path, recorder):
    path = tmp_path / "deep" / "index.html"
    for _ in range(2):
        assert write_page(recorder.collection(), path, tables=()) == path

    assert [each.name for each in path.parent.iterdir()] == ["index.html"]
    assert path.read_text(encoding="utf-8").endswith("</html>\n")


def test_a_folder_that_cannot_be_made_is_said(tmp_path, recorder):
    (tmp_path / "file").write_text("")

    with pytest.raises(UserError, match=r"cannot be written.*--out"):
        write_page(recorder.collection(), tmp_path / "file" / "index.html", tables=())


def seconds_of_work(collection) -> tuple[float, str]:
    """The time this process itself works on a page, whatever else the machine does, and the page."""
    start = time.process_time()
    page = build_page(collection, tables=())
    return time.process_time() - start, page


@pytest.mark.parametrize(("defenses", "conditions"), [(20, 100), (5, 400)])
def test_two_thousand_cells_make_a_small_page_in_time_that_grows_with_their_number(defenses, conditions):
    collection = large(defenses, conditions).collection()

    taken, page = seconds_of_work(collection)
    fewer, _ = seconds_of_work(large(defenses, conditions // 4).collection())

    assert len(page.encode()) < MEGABYTE
    assert taken < 10 * fewer  # a quarter of the cells on the same machine; were it quadratic, 16 times
