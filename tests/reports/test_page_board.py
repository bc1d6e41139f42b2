"""Who competes with whom on the page's leaderboard, in a real browser."""

import pytest
from support.page_samples import Recorder

from reports.page import write_page

ROWS = "#board-table tbody tr"


@pytest.fixture
def board(visit, tmp_path):
    """Opens the leaderboard of what a recorder holds; returns its rows, each (defense, rank, bold columns)."""

    def board(recorder, view="board"):
        page = visit(view, file=write_page(recorder.collection(), tmp_path / "index.html", tables=()))
        return [_row(row) for row in page.locator(ROWS).all()]

    return board


def _row(row):
    bold = [
        place for place, cell in enumerate(row.locator("td").all()) if "best" in cell.get_attribute("class").split()
    ]
    return row.locator("th a").inner_text(), row.locator(".rank").inner_text(), bold


def attacked(**by_defense):
    """A recorder with a worst case of each defense: name = [accuracy under each attack]."""
    recorder = Recorder()
    for defense, accuracies in by_defense.items():
        for attack, accuracy in zip(("fgsm", "pgd"), accuracies, strict=False):
            recorder.attack(accuracy, attack, 8, "bare", defense=defense)
    return recorder


@pytest.mark.parametrize(("way", "complete"), [("", ["blur", "vanilla"]), ("&up=1", ["vanilla", "blur"])])
def test_a_worst_case_over_fewer_attacks_stands_behind_the_complete_ones_without_a_rank(board, way, complete):
    recorder = attacked(vanilla=[0.5, 0.1], blur=[0.6, 0.3], pni=[0.9])

    rows = board(recorder, f"board?sort=Robust/worst case/ε 8/255 pixel/bare{way}")

    assert [name for name, _, _ in rows] == [*complete, "pni"]
    assert {name: rank for name, rank, _ in rows} == {"blur": "1", "vanilla": "2", "pni": ""}
    assert {name: bool(bold) for name, _, bold in rows} == {"blur": True, "vanilla": False, "pni": False}


def test_a_defense_competes_on_its_own_data_set_backbone_and_treatment_only(board):
    recorder = Recorder()
    plain = {"dataset": "cifar10", "family": "cifar10", "backbone": "resnet18", "preprocess": "none"}
    others = ({}, {"dataset": "cifar100", "family": "cifar100"}, {"backbone": "vit"}, {"preprocess": "blur"})
    for place, other in enumerate(others):
        for defense, better in (("vanilla", 0), ("blur", 0.1)):
            recorder.add(0.2 + 0.2 * place + better, defense=defense, **plain | other)

    rows = board(recorder, "board?dataset=all&backbone=all")

    assert sorted(rows) == sorted([("blur", "1", [0]), ("vanilla", "2", [])] * 4)


def test_ties_share_a_rank_and_a_filter_changes_none(board):
    recorder = Recorder()
    for defense, accuracy in (("vanilla", 2.0), ("blur", 2.0), ("pni", 0.3)):  # beyond 1.3 every image is right
        recorder.add(accuracy, defense=defense)

    assert {name: rank for name, rank, _ in board(recorder)} == {"vanilla": "1", "blur": "1", "pni": "3"}
    assert board(recorder, "board?q=pni") == [("pni", "3", [])]


def test_sorted_by_name_nobody_has_a_rank(board):
    recorder = attacked(vanilla=[0.5], blur=[0.6])

    assert {rank for _, rank, _ in board(recorder, "board?sort=defense&up=1")} == {""}


def test_a_comparison_under_shared_attacks_is_shown_where_two_are_compared_only(visit, tmp_path):
    recorder = attacked(vanilla=[0.5, 0.1], blur=[0.6])
    for defense in ("vanilla", "blur"):
        recorder.attack(0.1, "fgsm", 16, "bare", defense=defense)
    file = write_page(recorder.collection(), tmp_path / "index.html", tables=())

    compared = visit("compare?a=vanilla~&b=blur~", file=file).locator("#compare-body").inner_text()
    alone = visit("defense?defense=vanilla", file=file).locator("#defense-body").inner_text()

    assert "worst case of the attacks on both: fgsm" in compared
    assert "worst case" in alone
    assert "on both" not in alone
