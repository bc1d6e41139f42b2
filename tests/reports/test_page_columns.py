"""What the leaderboard's columns are called."""

from support.page_samples import Recorder, data_of

from reports.page import build_page


def test_a_suites_parameters_are_said_only_where_it_was_run_with_several():
    recorder = Recorder()
    recorder.add(0.5, suite="clean:limit=200")
    assert _groups(recorder) == ["Clean"]

    recorder.add(0.5, suite="clean", n_images=100)
    assert _groups(recorder) == ["Clean (default)", "Clean (limit=200)"]


def _groups(recorder):
    return sorted(column["group"] for column in data_of(build_page(recorder.collection(), tables=()))["columns"])
