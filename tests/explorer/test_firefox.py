"""The page in Firefox: what only a second browser shows. `pytest -m firefox`; docs/explore.md says how."""

import io

import numpy as np
import pytest
from firefox import FIREFOX, Firefox

import cornu
from cornu.explorer import Server, tour

pytestmark = [
    pytest.mark.firefox,
    pytest.mark.skipif(
        not FIREFOX, reason="no Firefox: install Debian's firefox-esr, or name it in CORNU_FIREFOX"
    ),
]


@pytest.fixture(scope="module", params=["light", "dark"])
def opened(request):
    pytest.importorskip("websockets", reason="Firefox is driven through websockets: pip install it")
    shown = tour.shown()
    with (
        Server(shown.network, shown.examples) as server,
        Firefox(1280, 900, request.param) as firefox,
    ):
        yield server.link, firefox, request.param
        assert firefox.errors == []


def test_draw_and_all_by_keys(opened):
    link, firefox, _ = opened
    firefox.open(link)
    firefox.until("document.body.dataset.runs")
    firefox.click("#tools button")
    x, y, width, height = firefox.box("#surface .holder")
    seven = [(0.25, 0.25), (0.5, 0.24), (0.74, 0.25), (0.6, 0.5), (0.5, 0.65), (0.42, 0.82)]
    firefox.mouse([(x + width * a, y + height * b) for a, b in seven], holds=True)
    firefox.until("document.querySelector('#answers li.best .name')?.innerText === '7'")
    firefox.click(".column:nth-of-type(1) .tile")
    firefox.value("document.querySelector('.tile[tabindex=\"0\"]').focus()")
    spoken = "document.activeElement.getAttribute('aria-label')"
    before = firefox.value(spoken)
    firefox.press("ArrowRight", "ArrowDown", "Enter")
    assert firefox.value(spoken) != before
    firefox.find("#inspector .cells")
    firefox.press("Escape")
    firefox.until("document.querySelector('#result').offsetParent === null")


def test_a_number_is_asked_and_the_view_saved(opened):
    link, firefox, scheme = opened
    firefox.open(f"{link}&layer=3&map=2&input=e10")
    firefox.find("#inspector .cells.products")
    firefox.hover("#inspector .cells.kernel td:nth-child(2)")
    firefox.until("document.querySelectorAll('.cells td.lit').length === 3")
    # All that belongs together is beside each other, and nothing wider than the screen.
    tops = (
        "[...document.querySelectorAll('.cells-row table')].map((e) => e.getBoundingClientRect().y)"
    )
    assert len(set(firefox.value(tops))) == 1
    assert firefox.value("document.documentElement.scrollWidth") <= 1280
    # Negative cells of a map are hatched: their colours are not all of one kind.
    hatched = "getComputedStyle(document.querySelector('.cells td.negative')).backgroundImage"
    assert "repeating-linear-gradient" in firefox.value(hatched)
    firefox.click("#page-tools button:nth-of-type(2)")
    image = np.asarray(cornu.utils.load_img(io.BytesIO(firefox.downloaded(".png"))))
    ground = (0x13, 0x15, 0x17) if scheme == "dark" else (255, 255, 255)
    assert image.shape[1] > 1280 and tuple(image[-20, 700]) == ground
    assert len(np.unique(image[::4, ::4].reshape(-1, 3), axis=0)) > 100
    firefox.click("#page-tools button:nth-of-type(3)")
    text = firefox.downloaded(".svg").decode()
    assert "The whole sum" in text and text.count("<image") > 8 and "<script" not in text


def test_the_other_views(opened):
    link, firefox, _ = opened
    firefox.open(f"{link}&view=backward&layer=3&map=2&input=e10")
    firefox.find(".backward .loss strong")
    firefox.click(".backward-bar button")
    firefox.find(".after-step table")
    firefox.click("#tab-gradient")
    firefox.find("#inspector [data-weight] .cell")
    firefox.open(f"{link}&view=play&layer=0&map=1&input=e4")
    firefox.find(".play .edit-cells input")
    firefox.click(".play button")
    firefox.find(".before-after canvas")
    firefox.open(f"{link}&view=tour&step=5")
    firefox.until("document.body.innerText.includes('Several channels')")
    firefox.press("Tab")
    assert firefox.value("document.activeElement !== document.body")
