"""The page in a browser: draw, classify, inspect, watch a training; by mouse and keys, wide and narrow."""

import io
import os
import shutil
import threading
import time

import numpy as np
import pytest

import cornu
from cornu import explain, explorer
from cornu import layers as L
from cornu.explorer import Examples, Network, Server, Watch

CHROMIUM = os.environ.get("CORNU_CHROMIUM") or shutil.which("chromium")
pytestmark = pytest.mark.skipif(
    not CHROMIUM, reason="no Chromium: install Debian's chromium, or name it in CORNU_CHROMIUM"
)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WIDTHS = [(360, "light"), (768, "dark"), (1280, "light")]


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Opens links; afterwards nothing may have failed in the page, and nothing been asked elsewhere."""
    opened, problems = [], []

    def open_link(link, width=1280, scheme="light", waits="body[data-runs]"):
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
        home = link.split("#")[0]
        page.on(
            "request",
            lambda r: None if r.url.startswith((home, "blob:")) else problems.append(r.url),
        )
        opened.append(page)
        page.goto(link)
        if waits:
            page.wait_for_selector(waits)
        return page

    open_link.problems = problems
    yield open_link
    for page in opened:
        page.close()
    assert not problems


@pytest.fixture(scope="module")
def server(digits):
    model, x, y = digits
    with explorer.explore(model, x[:30], y[:30], ["top", "middle", "bottom"]) as server:
        yield server


def check_accessible(page):
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def check_fits(page):
    """Nothing is wider than the screen."""
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def draw_bar(page, height):
    """A thick line across the input, at a share of its height."""
    page.locator("#thickness").fill("1.5")
    holder = page.locator("#surface .holder")
    holder.scroll_into_view_if_needed()
    box = holder.bounding_box()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + height * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + height * box["height"], steps=8)
    page.mouse.up()


def expect_best(page, name):
    page.wait_for_selector(f"#answers li.best:has(.name:text-is('{name}'))")


@pytest.mark.parametrize("width, scheme", WIDTHS)
def test_draw_and_inspect(open_page, server, width, scheme):
    page = open_page(server.link, width, scheme)
    for height, name in ((0.29, "top"), (0.79, "bottom")):
        page.click("text=Clear")
        draw_bar(page, height)
        expect_best(page, name)
    page.click("article:has(h3:has-text('second')) .tile >> nth=2")
    page.wait_for_selector(".inspector .steps dd")
    assert "second, channel 2" in page.inner_text(".inspector h4")
    assert page.locator(".inspector figure").count() == 4
    page.wait_for_selector("#surface .frame.field")
    check_fits(page)
    check_accessible(page)


def test_an_example_and_how_its_values_are_computed(open_page, server, digits):
    model, x, _ = digits
    page = open_page(server.link)
    page.click("#examples .tile >> nth=7")
    page.wait_for_selector("#verdict:has-text('✓ right')")
    page.click("article:has(h3:has-text('second')) .tile >> nth=2")
    page.wait_for_selector(".inspector .frame.cursor")
    maps = explain.feature_maps(model, x[7], "second")[0, :, :, 2]
    row, column = np.unravel_index(np.abs(maps).argmax(), maps.shape)
    page.wait_for_selector(f"#result-help:has-text('At ({row}, {column})')")
    shown = page.inner_text(".inspector .steps")
    window = explain.window(model, x[7], "second", (row, column), 2)
    for step in window.terms.steps:
        assert step.name in shown and f"{step.value:.4g}" in shown
    # The numbers of the first channel, as in the table.
    cells = page.locator(".numbers details >> nth=0").locator("table >> nth=1").locator("td")
    kernel = [float(text) for text in cells.all_inner_texts()]
    np.testing.assert_allclose(kernel, window.kernel[..., 0].ravel(), rtol=6e-3)
    # The others are there, too.
    page.click("text=the other 3")
    assert page.locator(".numbers details.grid").count() == 4
    # By keys to its neighbour.
    page.focus(".inspector .result .holder")
    key, to = ("ArrowLeft", column - 1) if column else ("ArrowRight", column + 1)
    page.keyboard.press(key)
    page.wait_for_selector(f"#result-help:has-text('At ({row}, {to})')")
    # Pointing follows the receptive field back to the image.
    frame = page.locator("#surface .frame.field")
    before = frame.bounding_box()
    box = page.locator(".inspector .result .holder").bounding_box()
    page.mouse.move(box["x"] + box["width"] - 3, box["y"] + box["height"] - 3)
    page.wait_for_selector("#result-help:has-text('At (3, 3)')")
    after = frame.bounding_box()
    assert (after["x"], after["y"]) != (before["x"], before["y"])
    seen = explain.receptive_field(model).window("second", (3, 3))
    surface = page.locator("#surface .holder").bounding_box()
    assert after["x"] - surface["x"] == pytest.approx(seen[1].start / 12 * surface["width"], abs=2)
    assert after["width"] == pytest.approx(
        (seen[1].stop - seen[1].start) / 12 * surface["width"], abs=2
    )
    page.click("text=Close")
    assert page.locator(".inspector").count() == 0


def test_the_window_slides(open_page, server):
    page = open_page(server.link)
    page.click("article:has(h3:has-text('first')) .tile >> nth=1")
    page.wait_for_selector(".inspector .frame.cursor")
    page.click("text=Slide")
    places = set()
    end = time.monotonic() + 20
    while len(places) < 4 and time.monotonic() < end:
        places.add(page.inner_text("#result-help").split(":")[0])
        time.sleep(0.1)
    assert len(places) >= 4
    page.click("text=Hold")
    time.sleep(0.5)
    stands = page.inner_text("#result-help")
    time.sleep(0.7)
    assert page.inner_text("#result-help") == stands


def test_all_by_keys(open_page, server):
    page = open_page(server.link)
    page.click("text=Clear")
    page.focus("#surface .holder")
    for _ in range(3):
        page.keyboard.press("ArrowUp")
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    for _ in range(8):
        page.keyboard.press("Space")
        page.keyboard.press("ArrowRight")
    expect_best(page, "top")
    # What it says is spoken.
    page.wait_for_selector("#spoken:has-text('top')", state="attached")
    first = page.locator("article:has(h3:has-text('first')) .tile >> nth=0")
    first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector(".inspector h4:has-text('channel 1')")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "inspected-channel"
    page.keyboard.press("Control+a")
    page.keyboard.type("3")
    page.keyboard.press("Enter")
    page.wait_for_selector(".inspector h4:has-text('channel 3')")
    # Many units are one picture.
    page.focus("article:has(h3:has-text('flat')) .units")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector(".inspector h4:has-text('unit 1')")


def test_where_the_answer_comes_from(open_page, server):
    page = open_page(server.link)
    page.click("#examples .tile >> nth=3")
    strong = """() => { const c = document.querySelector("canvas.over");
        if (c.hidden || !c.width) return 0;
        const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
        return d.filter((v, n) => n % 4 === 3 && v > 100).length; }"""
    for method in ("saliency", "grad_cam", "grad_cam_plus_plus"):
        page.select_option("#method", method)
        end = time.monotonic() + 20
        while not page.evaluate(strong) and time.monotonic() < end:
            time.sleep(0.1)
        assert page.evaluate(strong) > 0
        assert page.text_content("#map-says") == ""
    page.select_option("#method", "")
    page.wait_for_selector("canvas.over[hidden]", state="attached")


def test_an_image_is_opened(open_page, server, digits, tmp_path):
    _, x, y = digits
    path = tmp_path / "digit.png"
    cornu.utils.save_img(path, np.kron(x[4] * 255, np.ones((5, 5, 1))), scale=False)
    page = open_page(server.link)
    page.set_input_files("#file", path)
    expect_best(page, ["top", "middle", "bottom"][y[4]])
    # The browser tells of a request that was refused; that is what is meant here.
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": b"no image"})
    page.wait_for_selector("#problem:has-text('not an image')")
    open_page.problems.clear()
    page.click("text=Clear")
    page.wait_for_selector("#problem:empty", state="attached")


def test_a_link_without_its_token(open_page, server):
    page = open_page(server.link.split("#")[0], waits=None)
    page.wait_for_selector("#problem:has-text('token')")
    open_page.problems.clear()


def test_a_server_that_is_gone(open_page, digits):
    server = explorer.explore(digits[0])
    page = open_page(server.link)
    server.stop()
    page.click("text=Invert")
    page.wait_for_selector("#problem:has-text('does not answer')")
    open_page.problems.clear()


def test_a_signal_is_drawn_and_read(open_page):
    cornu.utils.set_random_seed(0)
    model = cornu.Sequential(
        [cornu.Input((50, 1)), L.Conv1D(3, 5, name="conv"), L.GlobalMaxPooling1D(), L.Dense(2)]
    )
    curves = np.sin(np.linspace(0, 9, 50))[None, :, None] * np.ones((3, 1, 1))
    with explorer.explore(model, curves, white=None) as server:
        page = open_page(server.link, 360)
        box = page.locator("#surface .holder").bounding_box()
        page.mouse.move(box["x"] + 1, box["y"] + box["height"] * 0.25)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] - 1, box["y"] + box["height"] * 0.25, steps=5)
        page.mouse.up()
        page.click("article:has(h3:has-text('conv')) .tile >> nth=0")
        page.wait_for_selector(".inspector .steps dd")
        expected = explain.window(model, np.full((50, 1), 0.5), "conv", (20,), 0)
        shown = page.inner_text(".inspector .steps dd >> nth=-1")
        assert float(shown) == pytest.approx(expected.result, rel=0.05)
        text = "\n".join(str(n / 100) for n in range(100)).encode()
        page.set_input_files("#file", {"name": "a.csv", "mimeType": "text/csv", "buffer": text})
        page.wait_for_selector("#problem:empty", state="attached")
        page.set_input_files(
            "#file", {"name": "a.csv", "mimeType": "text/csv", "buffer": b"1,2\n3,4"}
        )
        page.wait_for_selector("#problem:has-text('1 numbers')")
        check_fits(page)
        check_accessible(page)


@pytest.mark.parametrize("width, scheme", WIDTHS)
def test_a_training_is_watched(open_page, digits, width, scheme):
    first, x, y = digits
    cornu.utils.set_random_seed(2)
    model = cornu.models.clone_model(first)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    network = Network(model, class_names=["top", "middle", "bottom"])
    watch = Watch(network, x[:12], y[:12])
    with Server(network, Examples(x, y), watch) as server:
        training = threading.Thread(
            target=lambda: model.fit(
                x, y, epochs=100_000, validation_split=0.2, callbacks=[watch], verbose=0
            ),
            daemon=True,
        )
        training.start()
        page = open_page(server.link, width, scheme, waits="#curves svg")
        page.wait_for_selector("#followed li strong")
        assert page.locator("#followed li").count() == 12
        assert page.locator("#filters canvas").count() == 4
        page.click("#pause")
        page.wait_for_selector("#status:has-text('Paused')")
        assert page.locator("#followed li canvas").count() == 12
        check_fits(page)
        check_accessible(page)
        page.click("#to-explore")
        page.click("#examples .tile >> nth=1")
        page.wait_for_selector("#verdict:has-text('The example is')")
        check_fits(page)
        check_accessible(page)
        # A message stays, though the training goes on telling.
        page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": b"none"})
        page.wait_for_selector("#problem:has-text('not an image')")
        page.click("#to-training")
        page.wait_for_timeout(2500 if width == 1280 else 0)
        assert "not an image" in page.inner_text("#problem")
        open_page.problems.clear()
        # Another viewer looks, but does not control.
        other = open_page(server.viewer_link, width, scheme, waits="#curves svg")
        assert not other.is_visible("#pause") and not other.is_visible("#stop")
        page.click("#pause")
        page.wait_for_selector("#status:has-text('Running')")
        page.click("#stop")
        training.join(60)
        assert not training.is_alive()
        page.wait_for_selector("#status:has-text('Stopped')")
        assert page.is_disabled("#stop")
        # Before the server goes, whom they would ask again.
        page.close()
        other.close()


def test_zoomed_text_still_fits(open_page, server):
    page = open_page(server.link, 360)
    page.evaluate("document.documentElement.style.fontSize = '150%'")
    check_fits(page)


def test_images_are_pasted_or_dropped(open_page, server, digits):
    _, x, y = digits
    stream = io.BytesIO()
    cornu.utils.save_img(stream, x[9] * 255, file_format="png", scale=False)
    page = open_page(server.link)
    page.evaluate(
        """bytes => { const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], "a.png", { type: "image/png" }));
        dispatchEvent(new DragEvent("drop", { dataTransfer: data, cancelable: true })); }""",
        list(stream.getvalue()),
    )
    expect_best(page, ["top", "middle", "bottom"][y[9]])
