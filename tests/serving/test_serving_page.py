"""The server's page in a browser: pictures, numbers, the token; wide and narrow, light and dark."""

import os
import shutil

import pytest
from serving_tools import NAMES, doubling, picture, write_run

from cornu.cli.serve import _servable
from cornu.serving import Server, Settings

CHROMIUM = os.environ.get("CORNU_CHROMIUM") or shutil.which("chromium")
pytestmark = pytest.mark.skipif(
    not CHROMIUM, reason="no Chromium: install Debian's chromium, or name it in CORNU_CHROMIUM"
)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def test_the_page(classifier, tmp_path):
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    sources = {
        "photos": write_run(tmp_path / "photos", classifier),
        "numbers": tmp_path / "n.keras",
    }
    (tmp_path / "n.keras").write_bytes(b"")
    load = lambda path: doubling() if path.suffix else _servable(path)
    settings = Settings(port=0, max_batch=1, drain=0, token="secret-token")
    for name, content in [("a.png", picture()), ("b.png", b"no picture"), ("c.tiff", b"")]:
        (tmp_path / name).write_bytes(content)
    problems = []
    with Server(sources, load, settings) as server, sync_playwright() as playwright:
        server.load()
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for width, scheme in [(360, "dark"), (1280, "light")]:
            page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            page.set_default_timeout(20_000)
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on(
                "request",
                lambda r: r.url.startswith((server.address, "blob:")) or problems.append(r.url),
            )
            page.goto(server.address)
            # Without its token, it asks for it.
            page.get_by_label("Token").fill("secret-token")
            page.get_by_role("button", name="Use").click()
            page.wait_for_selector("body[data-ready]")
            page.set_input_files("#file", [tmp_path / "a.png", tmp_path / "b.png"])
            page.wait_for_selector("body[data-answers='2']")
            bad, good = page.locator("#results > li").all()
            assert "not an image" in bad.inner_text() and "a.png" in good.inner_text()
            assert good.locator("ol li").count() == 3 and NAMES[0] in good.inner_text()
            check(page, Axe, width)
            if folder := os.environ.get("CORNU_PICTURES"):
                page.screenshot(path=f"{folder}/serving-{width}-{scheme}.png", full_page=True)
            page.get_by_label("Model").select_option("numbers")
            assert page.locator("#json").input_value() == '{"instances":[[0,0]]}'
            page.locator("#json").fill('{"instances":[[1.5,2]]}')
            page.get_by_role("button", name="Predict").click()
            page.wait_for_selector("#answer:not([hidden])")
            assert (
                "".join(page.locator("#answer").inner_text().split()) == '{"predictions":[[3,4]]}'
            )
            page.locator("#json").fill("{")
            page.get_by_role("button", name="Predict").click()
            page.wait_for_selector("#problem:not(:empty)")
            assert "not JSON" in page.locator("#problem").inner_text()
            check(page, Axe, width)
            if folder:
                page.screenshot(path=f"{folder}/numbers-{width}-{scheme}.png", full_page=True)
            # The token can be in the link, where it does not stay.
            page.evaluate("sessionStorage.clear()")
            page.goto(f"{server.address}/?again#secret-token")
            page.wait_for_selector("body[data-ready]")
            assert "secret" not in page.url and not page.locator("#token-form").is_visible()
            page.close()
        browser.close()
    assert not problems


def check(page, Axe, width):
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
