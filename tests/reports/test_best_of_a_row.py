from support.page_samples import Recorder

from reports import build
from reports.tables.engine.layout import BOLD


def caption_of(*accuracies):
    recorder = Recorder()
    for defense, accuracy in zip(("vanilla", "blur"), accuracies, strict=False):
        recorder.add(accuracy, defense=defense)
    (table,) = build(recorder.cells(), ["summary"])
    return table.caption


def test_bold_is_explained_where_there_is_some():
    assert BOLD in caption_of(0.5, 0.7)


def test_bold_is_not_explained_where_all_tie_or_nobody_competes():
    assert BOLD not in caption_of(2.0, 2.0)
    assert BOLD not in caption_of(0.5)
