"""The latency of the page of `cornu explore`, and its pictures for docs/explore.md.

    python benchmarks/explorer.py [--pictures]

Draws into each of the lessons' networks in a browser, and writes the table of docs/explore.md. With
`--pictures`, it also trains the lecture's network on MNIST and takes the pictures. Needs Debian's chromium.
"""

import argparse
import importlib
import os
import shutil
import statistics
import sys
import threading
import time

import numpy as np
from common import ROOT, table, use
from fit import MODELS
from gallery import trained
from playwright.sync_api import sync_playwright

import cornu
from cornu import explorer
from cornu.explorer import Examples, Network, Server, Watch, tour

IMAGES = ROOT / "docs" / "images" / "explore"
DOCUMENT = ROOT / "docs" / "explore.md"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def draw(page, strokes, pause=0.0) -> None:
    """Draw lines through points given as shares of the input."""
    box = page.locator("#surface .holder").bounding_box()
    places = [
        [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        for stroke in strokes
    ]
    for stroke in places:
        page.mouse.move(*stroke[0])
        page.mouse.down()
        for place in stroke[1:]:
            page.mouse.move(*place, steps=6)
            time.sleep(pause)
        page.mouse.up()


SEVEN = [[(0.25, 0.25), (0.5, 0.24), (0.74, 0.25), (0.6, 0.5), (0.5, 0.65), (0.42, 0.82)]]
CIRCLE = [[(0.5 + 0.25 * np.sin(a), 0.5 - 0.3 * np.cos(a)) for a in np.linspace(0, 6.3, 40)]]


def latencies(browser, model) -> list[float]:
    """Milliseconds from a change of the drawing until answer and maps are on the page."""
    with explorer.explore(model) as server:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(server.link)
        page.wait_for_selector("body[data-runs]")
        draw(page, SEVEN)
        page.evaluate("performance.clearMeasures()")
        draw(page, CIRCLE, pause=0.02)
        time.sleep(0.5)
        found = page.evaluate("performance.getEntriesByName('shown').map((m) => m.duration)")
        page.close()
    return found


def measure(browser) -> None:
    use("Cornu")
    rows = []
    for name, (module, function, *_) in MODELS.items():
        model = getattr(importlib.import_module(module), function)()
        found = latencies(browser, model)
        rows.append(
            [
                name,
                f"{model.count_params():,}",
                str(len(found)),
                f"{statistics.median(found):.0f}",
                f"{np.quantile(found, 0.95):.0f}",
            ]
        )
        print(rows[-1], flush=True)
    table(
        DOCUMENT,
        "Latency",
        "`python benchmarks/explorer.py` draws a circle for each of the lessons' networks, in "
        "Chromium. It measures the time from a change of the drawing until the probabilities and the "
        "feature maps of all layers are on the page: server, transfer and painting, on one machine.",
        ["network", "parameters", "drawings", "median, ms", "95th percentile, ms"],
        rows,
    )


def shot(page, name) -> None:
    # Until what was asked for is there.
    time.sleep(1.5)
    page.screenshot(path=IMAGES / f"{name}.png")


def pictures_of_the_tour(browser) -> None:
    """Those of the network that comes with the package."""
    shown = tour.shown()
    with Server(shown.network, shown.examples) as server:

        def new_page(state):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(f"{server.link}&{state}")
            page.wait_for_selector("#inspector [role=tabpanel] section")
            return page

        shot(new_page("view=tour&step=5"), "tour")
        page = new_page("view=backward&layer=3&map=2&input=e10")
        page.wait_for_selector(".backward .loss strong")
        page.click("button:has-text('One step')")
        page.wait_for_selector(".after-step table")
        page.click("#tab-gradient")
        shot(page, "backward")
        page = new_page("view=play&layer=0&map=1&input=e4")
        page.click(".play button:has-text('vertical edges')")
        shot(page, "play")


def pictures(browser) -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    pictures_of_the_tour(browser)
    model, _, _, (x, y), (x_test, y_test) = trained()

    def new_page(link, width=1280, height=900, scheme="light"):
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        page.goto(link)
        return page

    with explorer.explore(model, x_test[:480], y_test[:480]) as server:
        layers = server.network.describe()["layers"]
        second = [n for n, layer in enumerate(layers) if layer["kind"] == "Conv2D"][1]
        page = new_page(f"{server.link}&layer={second}&map=6&input=e0")
        page.wait_for_selector("#inspector .cells.products")
        page.hover("#inspector .cells.kernel td >> nth=4")
        shot(page, "overview")
        page = new_page(f"{server.link}&layer={len(layers) - 1}&map=7&input=e0")
        page.wait_for_selector(".product-map")
        page.click("text=Clear")
        draw(page, SEVEN)
        page.wait_for_selector("#answers .best:has(.name:text-is('7'))")
        shot(page, "answer")
        page = new_page(f"{server.link}&layer={second}&map=6&input=e2", scheme="dark")
        page.wait_for_selector("#inspector .cells.products")
        page.select_option("#method", "grad_cam")
        shot(page, "grad-cam-dark")
        page = new_page(f"{server.link}&layer={second}&map=6&input=e0", 360, 800)
        page.wait_for_selector("#inspector .cells.products", state="attached")
        page.locator(".column").nth(3).scroll_into_view_if_needed()
        page.evaluate("scrollBy(0, -120)")
        page.click(".column >> nth=3 >> .tile >> nth=5")
        shot(page, "narrow")
    fresh = cornu.models.clone_model(model)
    fresh.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    network = Network(fresh)
    watch = Watch(network, x_test[:24], y_test[:24])
    with Server(network, Examples(x_test[:480], y_test[:480]), watch) as server:
        training = threading.Thread(
            target=lambda: fresh.fit(
                x, y, epochs=40, batch_size=64, validation_split=0.2, callbacks=[watch], verbose=0
            )
        )
        training.start()
        page = new_page(server.link, 1280, 1250)
        while len(watch.state()["rows"]) < 9:
            time.sleep(0.1)
        watch.control("pause")
        page.wait_for_selector("#status:has-text('Paused')")
        time.sleep(1)
        page.screenshot(path=IMAGES / "training.png")
        watch.control("stop")
        training.join()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--pictures", action="store_true")
    arguments = parser.parse_args()
    chromium = os.environ.get("CORNU_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        sys.exit("There is no Chromium. Install Debian's chromium, or name it in CORNU_CHROMIUM.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        if arguments.pictures:
            pictures(browser)
        measure(browser)
        browser.close()


if __name__ == "__main__":
    main()
