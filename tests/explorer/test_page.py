"""The page in a browser: draw, classify, inspect, watch a training; by mouse and keys, wide and narrow."""

import base64
import contextlib
import io
import os
import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page = context.new_page()
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

    def close():
        """Before the server of the pages goes, whom they would ask again."""
        while opened:
            opened.pop().context.close()

    open_link.problems, open_link.close = problems, close
    yield open_link
    close()
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


def asked(page, what):
    """Waits until the inspector shows a number: layer, map, position."""
    page.wait_for_selector(f'body[data-asked="{what}"]', state="attached")


def until(page, expression):
    """Waits for a value that is true; the page's policy forbids Playwright's own way."""
    end = time.monotonic() + 20
    while not (value := page.evaluate(expression)) and time.monotonic() < end:
        time.sleep(0.05)
    assert value, expression


def number(text):
    return float(text.replace("−", "-").strip("= →≈"))


def tile(layer, number):
    return f".column:has(h3:text-is('{layer}')) .tile >> nth={number}"


@pytest.mark.parametrize("width, scheme", WIDTHS)
def test_draw_and_inspect(open_page, server, width, scheme):
    page = open_page(server.link, width, scheme)
    for height, name in ((0.29, "top"), (0.79, "bottom")):
        page.click("text=Clear")
        draw_bar(page, height)
        expect_best(page, name)
    page.click(tile("second", 2))
    page.wait_for_selector("#inspector .cells.products")
    # The panel is in view, wherever the page is scrolled to.
    for to in (0, 10_000):
        page.evaluate(f"scrollTo(0, {to})")
        box = page.locator("#result").bounding_box()
        assert 0 <= box["y"] < page.viewport_size["height"]
    # A link for each map that it reads, which ends in that map.
    page.wait_for_selector("svg.links .link.pinned")
    assert page.locator("svg.links .link.pinned").count() == 4
    assert page.evaluate(
        """() => [...document.querySelectorAll(".link.pinned")].every((link) => {
        const at = link.getPointAtLength(0).matrixTransform(link.getScreenCTM());
        const tiles = [...document.querySelectorAll(".tile.source")].map((t) => t.getBoundingClientRect());
        const within = (value, low, high) => value >= low - 2 && value <= high + 2;
        return tiles.some((b) => within(at.x, b.left, b.right) && within(at.y, b.top, b.bottom));
    })"""
    )
    page.wait_for_selector("#surface .frame.field")
    check_fits(page)
    check_accessible(page)
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    page.wait_for_timeout(200)
    check_fits(page)


def test_how_a_number_is_made(open_page, server, digits):
    model, x, y = digits
    page = open_page(server.link)
    page.click("#examples .example >> nth=7")
    page.wait_for_selector("#verdict:has-text('✓ right')")
    page.click(tile("second", 2))
    maps = explain.feature_maps(model, x[7], "second")[0, :, :, 2]
    row, column = np.unravel_index(np.abs(maps).argmax(), maps.shape)
    asked(page, f"2 2 {row},{column}")
    window = explain.window(model, x[7], "second", (row, column), 2)
    assert number(page.inner_text("#result")) == pytest.approx(window.expected, rel=1e-3)
    # The whole sum: as it is written, its terms add up.
    lines = page.locator(".sum li").all_inner_texts()
    *terms, total, result = [number(line.split("\n")[-1]) for line in lines]
    assert len(terms) == 5 and sum(terms) == pytest.approx(total, abs=1e-9)
    assert total == pytest.approx(window.terms.steps[1].value, abs=1e-2)
    assert result == pytest.approx(window.result, abs=1e-2)
    sums = window.products.sum((0, 1))
    assert max(terms[:4], key=abs) == pytest.approx(max(sums, key=abs), abs=1e-2)
    # The products with the map that adds most; another one by its line.
    first, other = np.argsort(-np.abs(sums))[:2]
    for channel in (first, other):
        if channel == other:
            page.click(f".sum-line:has-text('map {channel}')")
        page.wait_for_selector(f".grids h3:has-text('pool map {channel}')")
        cells = page.locator(".cells.kernel td").all()
        kernel = [number(cell.get_attribute("title")) for cell in cells]
        np.testing.assert_allclose(kernel, window.kernel[..., channel].ravel(), rtol=1e-3)
    # One cell lights up in all three, in the map, and in the input.
    page.hover(".cells.kernel td >> nth=4")
    assert page.locator(".cells td.lit").count() == 3
    page.wait_for_selector("#surface .frame.cell")
    assert page.locator(".seen-map .frame.cell").count() == 1
    seen = explain.receptive_field(model).window("pool", (row + 1, column + 1))
    box, surface = (
        page.locator(where).bounding_box() for where in ("#surface .frame.cell", "#surface .holder")
    )
    assert box["x"] - surface["x"] == pytest.approx(seen[1].start / 12 * surface["width"], abs=3)
    # A flattened number is a place on the maps; the scores of all classes are listed.
    page.click(tile("out", int(y[7])))
    asked(page, f"4 {y[7]} ")
    terms = explain.window(model, x[7], "out", (), int(y[7])).products
    r, c, m = np.unravel_index(np.abs(terms).argmax(), (4, 4, 6))
    assert f"map {m} ({r}, {c})" in page.inner_text(".sum li >> nth=0")
    assert page.locator(".product-map").count() == 6
    assert page.locator("[aria-label=Softmax] tbody tr").count() == 3
    page.click(".sum-line >> nth=0")
    asked(page, f"2 {m} {r},{c}")
    page.go_back()
    asked(page, f"4 {y[7]} ")
    page.click("#inspector >> text=Close")
    assert not page.is_visible("#result")
    # The input's own numbers.
    page.click(tile("input", 0))
    page.focus(".numbers-of")
    page.keyboard.press("ArrowDown")
    said = page.inner_text("#inspector .reading")
    r, c = (int(word.strip(",:")) for word in said.split()[1:4:2])
    assert number(said.split(": ")[1]) == pytest.approx(x[7, r, c, 0], abs=1e-3)
    assert number(page.inner_text("#inspector td.lit")) == pytest.approx(x[7, r, c, 0], abs=6e-3)
    check_accessible(page)


def test_the_window_slides(open_page, server):
    page = open_page(server.link)
    page.click(tile("first", 1))
    page.wait_for_selector("#inspector .frame.cursor")
    page.click("#inspector button:text-is('Slide')")
    places = set()
    end = time.monotonic() + 20
    while len(places) < 4 and time.monotonic() < end:
        places.add(page.inner_text("#place"))
        time.sleep(0.1)
    assert len(places) >= 4
    page.click("#inspector button:text-is('Hold')")
    time.sleep(0.5)
    stands = page.inner_text("#place")
    time.sleep(0.7)
    assert page.inner_text("#place") == stands


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
    page.focus(tile("second", 0))
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector("#place:has-text('map 1')")
    label = "document.activeElement.getAttribute('aria-label')"
    until(page, f"{label}.includes('most from pool map')")
    said = page.evaluate(label)
    assert said.startswith("second, map 1 of 6, strongest ")
    # Along the strongest link to what it is made of, and back.
    most = said.split("most from pool map ")[1]
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(label).startswith(f"pool, map {most} of 4")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(label).startswith("second, map 1")
    # Many units are one picture.
    page.focus(tile("flat", 0))
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector("#place:has-text('unit 1')")
    page.keyboard.press("Escape")
    page.wait_for_selector("#result", state="hidden")
    # By number, and place by place.
    page.focus(tile("first", 0))
    page.keyboard.press("Enter")
    page.fill("#inspected-map", "3")
    page.keyboard.press("Enter")
    page.wait_for_selector("#place:has-text('map 3')")
    page.focus("#inspector .map-part .holder")
    before = page.inner_text("#place")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    until(page, f"document.querySelector('#place').textContent !== '{before}'")
    # From tab to tab.
    page.focus("#tab-number")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(".kernels canvas")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#inspector-panel li:has-text('pool')")


def test_a_link_keeps_what_is_seen(open_page, server, digits):
    model, x, _ = digits
    page = open_page(server.link + "&layer=2&map=4&place=1,3&input=e5")
    asked(page, "2 4 1,3")
    expected = explain.window(model, x[5], "second", (1, 3), 4).expected
    shown = float(page.inner_text("#result").replace("−", "-"))
    assert shown == pytest.approx(expected, rel=1e-3, abs=1e-6)
    draw_bar(page, 0.79)
    until(page, "location.hash.includes('input=d')")
    drawn = page.evaluate("location.hash")
    answers = page.inner_text("#answers")
    other = open_page(server.viewer_link.split("#")[0] + drawn)
    asked(other, "2 4 1,3")
    assert other.inner_text("#answers") == answers
    # The link that is copied is a viewer's.
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("text=Copy link")
    page.wait_for_selector("text=Copied.")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == server.viewer_link + drawn[drawn.index("&") :]


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_view_is_saved_as_a_picture(open_page, server, tmp_path, kind):
    page = open_page(server.link + "&layer=2&map=1", scheme="dark")
    page.wait_for_selector("#inspector .cells.products")
    with page.expect_download() as download:
        page.click(f"#page-tools >> text={kind.upper()}")
    download.value.save_as(path := tmp_path / f"view.{kind}")
    if kind == "svg":
        text = path.read_text()
        assert "<script" not in text and 'href="http' not in text
        assert "The whole sum" in text and text.count("<image") > 8
        other = page.context.new_page()
        other.goto(path.as_uri())
        assert other.evaluate("document.documentElement.tagName") == "svg"
        other.close()
    else:
        image = np.asarray(cornu.utils.load_img(path))
        # Dark ground, and the colours of maps.
        assert image.shape[1] > 1280 and tuple(image[-20, 700]) == (0x13, 0x15, 0x17)
        assert len(np.unique(image[::2, ::2].astype(int) @ [1, 256, 65536])) > 100


def test_colours_say_the_sign_and_so_does_the_form(open_page):
    """Pixels read back: zero is the ground of its scheme, negative cells are hatched, tiles cut."""
    model = cornu.Sequential(
        [cornu.Input((4, 4, 1)), L.Conv2D(2, 1, use_bias=False, name="conv"), L.Flatten()]
    )
    model.set_weights([np.array([1.0, -1.0]).reshape(1, 1, 1, 2)])
    x = np.zeros((1, 4, 4, 1), "float32")
    x[0, 1, 2] = 1

    def pixels(canvas):
        data = canvas.evaluate("(canvas) => canvas.toDataURL()").split(",")[1]
        return np.asarray(cornu.utils.load_img(io.BytesIO(base64.b64decode(data))))

    with explorer.explore(model, x) as server:
        # The scheme, what zero is, the channel, and what the strongest number is.
        for scheme, zero, channel, end in (("light", 0xF7, 0, 0x54), ("dark", 0x1F, 1, 0xDB)):
            page = open_page(server.link + f"&layer=0&map={channel}&place=1,2", 1280, scheme)
            asked(page, f"0 {channel} 1,2")
            image = pixels(page.locator("#inspector .map-part canvas").first)
            side = len(image)
            cell = side // 4
            assert (image[0, 0, 0], image[-1, -1, 0]) == (zero, zero)
            inside = image[cell : 2 * cell, 2 * cell : 3 * cell].reshape(-1, 3)
            assert end in inside[:, 0]
            assert (len(np.unique(inside, axis=0)) > 1) == (channel == 1)
        tiles = pixels(page.locator(".column:has(h3:text-is('conv')) canvas"))
        # The first tile is whole, of the second a corner is cut.
        second = (
            page.locator(tile("conv", 1)).bounding_box()["y"]
            - page.locator(tile("conv", 0)).bounding_box()["y"]
        )
        assert tuple(tiles[1, 1]) == (0x1F, 0x21, 0x24)
        assert tuple(tiles[int(second) + 1, 1]) == (0x13, 0x15, 0x17)
        open_page.close()


def test_large_networks_fold_and_many_maps_are_a_sheet(open_page):
    layers = []
    for block in range(8):
        layers += [L.Conv2D(20, 1, name=f"conv{block}"), L.BatchNormalization(), L.ReLU()]
        layers += [L.AveragePooling2D(name=f"pool{block}")] if block in (3, 6) else []
    model = cornu.Sequential(
        [
            cornu.Input((8, 8, 1)),
            *layers,
            L.Conv2D(80, 1, name="many"),
            L.MaxPooling2D(name="top"),
            L.Conv2D(20, 1),
            L.Conv2D(20, 1),
            L.Conv2D(20, 1),
            L.Conv2D(20, 1),
            L.Flatten(),
            L.Dense(3),
        ]
    )
    with explorer.explore(model) as server:
        page = open_page(server.link)
        folded = page.locator(".column.folded").count()
        assert folded >= 3 and page.locator(".column").count() <= 9
        page.click(".fold >> nth=0")
        page.wait_for_selector(".column:has(h3:text-is('conv1'))")
        assert page.locator(".column.folded").count() == folded - 1
        # A norm and an activation are in the column of the convolution before them.
        page.click(".column:has(h3:text-is('conv0')) .chip:text-is('norm')")
        page.wait_for_selector(".column:has(h3:text-is('conv0')) .tiles[aria-label*=normalization]")
        # A layer within a folded stage is found by its number.
        names = [layer["name"] for layer in server.network.describe()["layers"]]
        page.goto(server.link + f"&layer={names.index('many')}&map=70")
        page.wait_for_selector("#place:has-text('map 70')")
        page.click(".column:has(h3:text-is('many')) .more")
        page.check("#by-strength")
        page.wait_for_selector(".sheet-map >> nth=63")
        check_accessible(page)
        x = np.zeros((8, 8, 1), "float32")
        strength = np.abs(explain.feature_maps(model, x, "many")[0]).max((0, 1))
        shown = [int(t) for t in page.locator(".sheet-map").all_inner_texts()]
        assert (np.diff(strength[shown]) <= 1e-9).all()
        page.click("dialog >> text=Next")
        page.wait_for_selector("dialog >> text=65 to 80 of 80")
        page.click(".sheet-map >> nth=2")
        page.wait_for_selector("dialog", state="hidden")
        check_fits(page)
        open_page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_forced_colours_motion_and_touch(browser, server, scheme):
    page = browser.new_page(
        viewport={"width": 1280, "height": 800}, color_scheme=scheme, forced_colors="active",
        reduced_motion="reduce",
    )  # fmt: skip
    page.goto(server.link + "&layer=4&map=1")
    page.wait_for_selector(".product-map")
    check_accessible(page)
    page.click("text=Larger text")
    page.click(tile("second", 3))
    page.wait_for_selector("#inspector .cells.products")
    assert page.evaluate("document.getAnimations().length") == 0
    check_fits(page)
    page.close()


def test_where_the_answer_comes_from(open_page, server):
    page = open_page(server.link)
    page.click("#examples .example >> nth=3")
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
    page = open_page(server.link, waits="body[data-asked]")
    server.stop()
    page.click("text=Invert")
    page.wait_for_selector("#problem:has-text('does not answer')")
    # Nothing more is asked, and the browser's own word on it has come.
    page.close()
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
        page.click(tile("conv", 0))
        page.wait_for_selector("#inspector .cells.products")
        expected = explain.window(model, np.full((50, 1), 0.5), "conv", (20,), 0)
        shown = float(page.inner_text("#result").replace("−", "-"))
        assert shown == pytest.approx(expected.result, rel=0.05)
        text = "\n".join(str(n / 100) for n in range(100)).encode()
        page.set_input_files("#file", {"name": "a.csv", "mimeType": "text/csv", "buffer": text})
        page.wait_for_selector("#problem:empty", state="attached")
        page.set_input_files(
            "#file", {"name": "a.csv", "mimeType": "text/csv", "buffer": b"1,2\n3,4"}
        )
        page.wait_for_selector("#problem:has-text('1 numbers')")
        check_fits(page)
        check_accessible(page)
        open_page.close()


@pytest.mark.parametrize("width, scheme", WIDTHS)
def test_a_training_is_watched(open_page, digits, width, scheme):
    first, x, y = digits
    cornu.utils.set_random_seed(2)
    model = cornu.models.clone_model(first)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    network = Network(model, class_names=["top", "middle", "bottom"])
    watch = Watch(network, x[:12], y[:12])
    compare = {"before": {"loss": [2.0, 0.5], "val_loss": [2.5, 0.75]}}
    ends = contextlib.ExitStack()
    # Whatever happens: a training that goes on draws from the random numbers of other tests.
    ends.callback(setattr, model, "stop_training", True)
    with Server(network, Examples(x, y), watch, compare=compare) as server, ends:
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
        page.wait_for_selector("#filters canvas")
        assert page.locator("#filters canvas").count() == 4
        page.wait_for_selector(".ridges svg >> nth=1")
        page.wait_for_selector(".confusion td.diagonal >> nth=2")
        page.click("#pause")
        page.wait_for_selector("#status:has-text('Paused')")
        assert page.locator("#followed li canvas").count() == 12
        # Both trainings in one chart; a value of each where one points.
        loss = page.locator(".curve:has(h2:text-is('loss'))")
        assert loss.locator(".line.run-0").count() == loss.locator(".line.run-1").count() == 2
        loss.locator(".chart").focus()
        page.keyboard.press("Home")
        said = loss.locator(".reading").inner_text()
        assert "this training train" in said and "before train 2, validation 2.5" in said
        page.uncheck(".runs label:has-text('1 this training') input")
        page.wait_for_selector(".line.run-0", state="detached")
        page.select_option(".curve-tools select", "train")
        assert loss.locator(".line").count() == 1
        check_fits(page)
        check_accessible(page)
        page.click("#views >> text=Overview")
        page.click("#examples .example >> nth=1")
        page.wait_for_selector("#verdict:has-text('it is')")
        check_fits(page)
        check_accessible(page)
        # A message stays, though the training goes on telling.
        page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": b"none"})
        page.wait_for_selector("#problem:has-text('not an image')")
        page.click("#views >> text=Training")
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


def test_in_the_cell_of_a_notebook(browser, digits):
    model, x, y = digits
    server = explorer.explore(model, x[:3], y[:3])
    cell = server._repr_html_().encode()

    # Notebooks are pages of another server.
    class Notebook(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(cell)

        def log_message(self, *_):
            pass

    page = browser.new_page(viewport={"width": 1100, "height": 800})
    with ThreadingHTTPServer(("127.0.0.1", 0), Notebook) as jupyter:
        threading.Thread(target=jupyter.serve_forever).start()
        page.goto(f"http://localhost:{jupyter.server_port}/")
        frame = page.frames[1]
        frame.wait_for_selector("body[data-runs]")
        box = page.locator("object").bounding_box()
        assert box["width"] > 1000 and box["height"] == pytest.approx(0.85 * 800, abs=2)
        frame.click(".column:has(h3:text-is('second')) .tile >> nth=2")
        frame.wait_for_selector("#inspector .cells.products", state="attached")
        # Without the kernel.
        server.stop()
        page.reload()
        page.wait_for_selector("object >> text=cannot be reached from here")
        assert page.locator("object img").bounding_box()["width"] > 300
        page.close()
        jupyter.shutdown()
