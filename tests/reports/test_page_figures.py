"""How a defense's view leads to the figures that show it, in a real browser."""

import io

from PIL import Image
from support.page_samples import Recorder

from reports.page import write_page


def test_a_defense_leads_to_its_figures_and_not_to_another_networks(visit, tmp_path):
    recorder, picture = Recorder(), io.BytesIO()
    for defense in ("vanilla", "blur:sigma=1,size=3"):
        recorder.add(0.5, defense=defense)
    Image.new("RGB", (40, 30), "white").save(picture, "PNG")
    figures = [
        ("overview", "Every measure", "Everyone.", picture.getvalue()),
        ("figure3", "Relevance", "Seen. Network: vanilla, resnet18.", picture.getvalue()),
        ("figure3:page=2", "Relevance", "Seen. Network: blur:sigma=1,size=3, resnet18.", picture.getvalue()),
    ]
    file = write_page(recorder.collection(), tmp_path / "index.html", tables=(), figures=figures)

    page = visit("defense?defense=blur:sigma=1,size=3", file=file)

    links = page.locator("#defense-body a")
    assert links.all_inner_texts() == ["Every measure", "Relevance, page 2"]
    links.last.click()
    page.wait_for_selector("#figure-2:visible")
    assert "blur" in page.locator("#figure-2").inner_text()
