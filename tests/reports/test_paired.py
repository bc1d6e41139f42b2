from support.page_samples import Recorder

from harness.metrics import mcnemar
from reports import build


def compared(recorder):
    """Verdicts by measure and defense, and the header."""
    (table,) = build(recorder.cells(), ["paired"])
    found = {
        (row.labels[2], column.name): entry
        for row in table.rows
        for column, entry in zip(table.columns, row.entries, strict=True)
    }
    return found, table.columns


def test_measures_on_other_numbers_of_images_share_their_columns():
    recorder = Recorder()
    for defense in ("vanilla", "blur", "pni"):
        recorder.add(0.5, defense=defense)
        recorder.attack(0.3, "pgd", 8, "bare", defense=defense, n_images=100)

    found, columns = compared(recorder)

    assert [(column.group, column.name) for column in columns] == [("cifar10", "blur"), ("cifar10", "pni")]
    assert None not in found.values()


def test_one_measure_on_two_numbers_of_images_has_a_row_for_each():
    recorder = Recorder()
    for images in (100, 200):
        for defense in ("vanilla", "blur"):
            recorder.add(0.5, defense=defense, n_images=images)

    found, _ = compared(recorder)

    for place, images in ((0, 100), (2, 200)):
        vanilla, blur = (recorder.outcomes[f"{number:05d}"] for number in (place, place + 1))
        test = mcnemar(blur, vanilla)
        assert found[f"clean, n = {images}", "blur"].evidence.startswith(f"{test.b} : {test.c},")


def test_losses_have_a_minus_sign_and_no_difference_is_no_loss():
    recorder = Recorder()
    for defense, accuracy in (("vanilla", 2.0), ("blur", 0.3), ("pni", 2.0)):
        recorder.add(accuracy, defense=defense)

    found, _ = compared(recorder)

    assert found["clean", "blur"].verdict.startswith("−")
    assert found["clean", "pni"].verdict == "+0.0"
