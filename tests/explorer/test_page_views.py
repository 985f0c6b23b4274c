"""The views of the page in a browser: the way back and its steps, play, and the tour."""

import re

import numpy as np
import pytest
from test_page import CHROMIUM, browser, check_accessible, check_fits, open_page  # noqa: F401

import cornu
from cornu import explain, explorer
from cornu import layers as L
from cornu.explorer import Examples, Server, tour
from cornu.explorer.server import Network

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
WIDTHS = [(360, "light"), (1280, "dark")]


@pytest.fixture(scope="module")
def server():
    shown = tour.shown()
    with Server(shown.network, shown.examples) as server:
        yield server


def number(text: str) -> float:
    return float(text.replace("−", "-"))


@pytest.mark.parametrize("width, scheme", WIDTHS)
def test_a_step_back(open_page, server, width, scheme):  # noqa: F811
    model, x = tour.shown().network.model, tour.drawings().x[10]
    weights = [w.copy() for w in model.get_weights()]
    page = open_page(f"{server.link}&view=backward&layer=3&map=2&input=e10", width, scheme)
    page.wait_for_selector(".backward .loss strong")
    before = number(page.inner_text(".backward .loss strong"))
    assert before == pytest.approx(model.evaluate(x[None], np.array([1]), verbose=0), rel=1e-3)
    page.wait_for_selector("#graph-title + span:has-text('orange up')")
    # Every column is there without scrolling.
    if width > 400:
        assert (
            page.evaluate("(b => b.scrollWidth - b.clientWidth)(document.querySelector('.board'))")
            == 0
        )
    page.click("button:has-text('One step')")
    row = page.wait_for_selector(".after-step tbody tr:has-text('loss')").inner_text().split()
    twin = tour.model()
    twin.optimizer.learning_rate.assign(0.002)
    twin.train_on_batch(x[None], np.array([1]))
    after = twin.evaluate(x[None], np.array([1]), verbose=0)
    assert number(row[1]) == pytest.approx(before, rel=1e-3)
    assert number(row[2]) == pytest.approx(after, rel=1e-2) and "down" in row
    assert "was 7; now it is 1" in page.inner_text(".after-step")
    check_fits(page)
    check_accessible(page)
    # One weight, as the library explains it; then all is as it was.
    page.click("button:has-text('Undo')")
    page.wait_for_selector(".after-step:empty", state="attached")
    if width > 400:
        page.click("#tab-gradient")
        page.click(".weight-cells button[aria-label^='kernel 1, 2, 0, 2']")
        page.wait_for_selector(".one-weight h3:has-text('kernel[1, 2, 0, 2]')")
        shown = page.inner_text(".one-weight .steps")
        told = explain.weight_gradient(model, x, np.array(1), "conv2", (1, 2, 0, 2))
        assert f"{told.result:.4g}".replace("-", "−") in shown
        assert "121 places" in page.inner_text(".one-weight")
        check_accessible(page)
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_step_belongs_to_its_input(open_page, server):  # noqa: F811
    page = open_page(f"{server.link}&view=backward&input=e10")
    page.wait_for_selector(".backward .loss strong")
    page.click("button:has-text('One step')")
    page.wait_for_selector(".after-step table")
    assert "edits" in page.url
    page.click("#examples .example >> nth=4")
    page.wait_for_selector(".after-step:empty", state="attached")
    assert "edits" not in page.url
    page.click("button:has-text('One step')")
    page.wait_for_selector(".after-step table")
    page.click("#views button:has-text('Overview')")
    assert "edits" not in page.url


@pytest.mark.parametrize("width, scheme", WIDTHS)
def test_weights_are_changed_and_reset(open_page, server, width, scheme):  # noqa: F811
    model, x = tour.shown().network.model, tour.drawings().x[4]
    page = open_page(f"{server.link}&view=play&layer=0&map=1&input=e4", width, scheme)
    page.wait_for_selector(".edit-cells input")
    field = page.locator(".edit-cells input >> nth=0")
    kernel = model.get_layer("conv1").kernel.numpy()
    assert float(field.input_value()) == pytest.approx(float(kernel[0, 0, 0, 1]), rel=1e-3)
    page.click(".play button:has-text('vertical edges')")
    page.wait_for_selector(".play .before-after canvas >> nth=2")
    assert "9 changes" in page.inner_text(".play [role=status] >> nth=0")
    twin = tour.model()
    kernel[:, :, 0, 1] = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    twin.get_layer("conv1").kernel.assign(kernel)
    most = np.abs(explain.feature_maps(twin, x, "conv1")[0, ..., 1]).max()
    label = page.get_attribute(".play .before-after canvas >> nth=1", "aria-label")
    assert number(label.rpartition(" ")[2]) == pytest.approx(most, rel=1e-3)
    check_fits(page)
    check_accessible(page)
    page.click("button:has-text('Zero this map')")
    page.wait_for_selector(".play [role=status]:has-text('2 changes')")
    page.click("button:has-text('Reset all weights')")
    page.wait_for_selector(".play .before-after:empty", state="attached")
    first = float(model.get_layer("conv1").kernel.numpy()[0, 0, 0, 1])
    page.wait_for_function(
        """first => Math.abs(document.querySelector(".edit-cells input").value - first) < 1e-3""",
        arg=first,
    )


@pytest.mark.parametrize("width, scheme", WIDTHS)
def test_a_batch_step_by_step(open_page, server, width, scheme):  # noqa: F811
    """One press shows all phases; their numbers are those of `train_on_batch`."""
    page = open_page(f"{server.link}&view=batches&layer=3&map=2", width, scheme)
    page.select_option(".view label:has-text('Examples a batch') select", "4")
    page.click("text=Next batch")
    examples, twin = tour.drawings(), tour.model()
    loss = twin.train_on_batch(examples.x[:4], examples.y[:4])
    phases = page.locator("[aria-label='Phases of a step'] button")
    page.wait_for_selector(".batch li >> nth=3")
    # By itself to the last phase, then back by hand.
    page.wait_for_selector(".batch .one-weight .steps")
    assert page.locator(".batch tbody tr").count() == len(twin.trainable_variables)
    check_fits(page)
    check_accessible(page)
    phases.nth(1).click()
    page.wait_for_selector(".view [role=status]:has-text('train_on_batch says')")
    said = page.inner_text(".view [role=status] >> visible=true >> nth=0")
    assert number(re.search("says ([0-9.]+)", said)[1].rstrip(".")) == pytest.approx(
        float(loss), rel=1e-5
    )
    phases.nth(2).click()
    page.wait_for_selector("#graph-title + span:has-text('orange up')")
    page.click("text=Undo batch")
    page.wait_for_selector(".batch:empty", state="attached")
    assert "edits" not in page.url


def test_the_input_is_changed(open_page, server):  # noqa: F811
    page = open_page(f"{server.link}&view=play&input=e4")
    ink = """() => {
        const canvas = document.querySelector('#surface canvas');
        const { data } = canvas.getContext('2d').getImageData(0, 0, 28, 28);
        let [m, y, x] = [0, 0, 0];
        for (let n = 0; n < 784; n++) {
            m += data[4 * n]; y += data[4 * n] * Math.floor(n / 28); x += data[4 * n] * (n % 28);
        }
        return [m, y / m, x / m]; }"""
    mass, row, column = page.evaluate(ink)
    page.locator(".play input[type=range] >> nth=0").fill("4")
    moved = page.evaluate(ink)
    assert moved == pytest.approx([mass, row, column + 4], rel=1e-3)
    page.check(".tick input")
    page.wait_for_function(f"() => ({ink})()[2] < 15")
    assert page.evaluate(ink)[1:] == pytest.approx([13.5, 13.5], abs=0.3)
    assert not page.is_visible(".invert")
    page.click("#tools button:has-text('Invert')")
    page.wait_for_selector(".invert:has-text('light on dark')")
    page.uncheck(".tick input")
    page.click(".invert button")
    page.wait_for_selector(".invert", state="hidden")


def test_the_tour_by_keys(open_page, server):  # noqa: F811
    page = open_page(f"{server.link}&view=overview&layer=5&map=1&input=e6")
    page.click("#views button:has-text('Tour')")
    titles = []
    for step in range(1, 11):
        page.wait_for_selector(f".card .quiet:has-text('{step} of 10')")
        page.wait_for_selector(".guess button")
        titles.append(page.inner_text(".card h2"))
        if step == 2:
            assert not page.is_visible("#inspector .inspector-body")
            # A wrong guess, then the right one.
            buttons = page.locator(".guess .row button:not(.plain)")
            for n in range(buttons.count()):
                if "Right" not in page.inner_text(".guess [role=status]"):
                    buttons.nth(n).focus()
                    page.keyboard.press("Enter")
            page.wait_for_selector(".guess [role=status]:has-text('Right')")
            page.wait_for_selector("#inspector .inspector-body", state="visible")
        if step < 10:
            page.focus(".card .next")
            page.keyboard.press("Enter")
    assert len(set(titles)) == 10 and titles[0] == "A picture is numbers"
    assert "step=10" in page.url
    page.go_back()
    page.wait_for_selector(".card h2:has-text('Softmax and loss')")
    check_accessible(page)
    # Who leaves finds what was there before.
    page.click("text=Leave the tour")
    page.wait_for_selector("#answers li.best:has(.name:text-is('6'))")
    assert re.search("layer=5&map=1", page.url) and "step" not in page.url


@pytest.mark.parametrize("step", [1, 2, 4, 6, 9, 10])
def test_steps_fit_a_phone(open_page, server, step):  # noqa: F811
    page = open_page(f"{server.link}&view=tour&step={step}", 360, "dark")
    page.wait_for_selector(".guess button")
    if step > 1:
        page.wait_for_selector("#inspector .brief:not(:empty)", state="attached")
    # What is to be read is seen, and the panel does not tell what is to be guessed.
    page.wait_for_timeout(400)
    title = page.locator(".card h2").bounding_box()
    assert 0 <= title["y"] < 400
    assert page.is_visible("#inspector .brief") == (step not in (1, 2))
    page.click("text=Show me")
    page.wait_for_selector(".guess [role=status]:has-text('The answer')")
    check_fits(page)
    check_accessible(page)


def test_numbers_and_maps_as_answers(open_page):  # noqa: F811
    """What is no choice between classes has a target, too; and Play shows maps without an answer."""
    random = np.random.default_rng(0)
    one = cornu.Sequential([cornu.Input((6,)), L.Dense(5, "tanh"), L.Dense(1, name="out")])
    one.compile("sgd", "mse")
    x = random.standard_normal((3, 6)).astype("float32")
    with explorer.explore(one, x, [0.25, 1.5, 3]) as server:
        page = open_page(f"{server.link}&view=backward&layer=1&map=0&input=e1")
        page.wait_for_selector("#verdict:has-text('should be 1.5')")
        expected = one.evaluate(x[1:2], np.array([1.5]), verbose=0)
        page.wait_for_selector(".backward .loss strong")
        assert number(page.inner_text(".backward .loss strong")) == pytest.approx(
            expected, rel=1e-3
        )
        page.click("#tab-gradient")
        steps = page.wait_for_selector(".one-weight .steps").inner_text()
        assert "gradient" in steps and "the model says" in steps
        open_page.close()
    maps = cornu.Sequential([cornu.Input((6, 6, 1)), L.Conv2D(2, 3, name="conv")])
    with explorer.explore(maps, random.uniform(size=(2, 6, 6, 1)).astype("float32")) as server:
        page = open_page(f"{server.link}&view=backward&layer=0&map=1")
        page.wait_for_selector(".backward label:has-text('All should be')")
        page.wait_for_selector(".backward .loss strong")
        page.click("#views button:has-text('Play')")
        page.click(".play button:has-text('blur')")
        page.wait_for_selector(".play .before-after canvas >> nth=2")
        open_page.close()


def test_of_a_volume_the_same_slice_everywhere(open_page):  # noqa: F811
    model = cornu.Sequential([cornu.Input((4, 5, 5, 1)), L.Conv3D(2, 3, name="conv")])
    x = np.zeros((1, 4, 5, 5, 1), "float32")
    x[0, 2] = np.arange(25).reshape(5, 5, 1)
    with explorer.explore(model, x) as server:
        page = open_page(f"{server.link}&layer=0&map=1")
        page.wait_for_selector(".seen-map canvas")
        drawn = [
            page.eval_on_selector(f"{where} canvas", "canvas => canvas.toDataURL()")
            for where in ("#surface", ".seen-map")
        ]
        assert drawn[0] == drawn[1]
        open_page.close()


def test_a_view_is_seen_on_a_phone(open_page, server):  # noqa: F811
    page = open_page(f"{server.link}&layer=3&map=2&input=e4", 360)
    page.wait_for_selector("#inspector .brief:not(:empty)")
    page.click("#tab-sources")
    page.click("[aria-label='Make the panel lower']")
    page.click("#views button:has-text('Play')")
    page.wait_for_selector(".edit-cells input")
    assert 0 <= page.locator(".play h2 >> nth=0").bounding_box()["y"] < 400
    assert page.evaluate("document.getElementById('inspector').scrollTop") == 0


def test_the_tour_from_another_model(open_page, digits):  # noqa: F811
    model, x, y = digits
    with Server(Network(model), Examples(x[:5], y[:5])) as server:
        page = open_page(f"{server.link}&layer=2&map=3&input=e2")
        page.click("#views button:has-text('Tour')")
        page.wait_for_selector(".card h2:has-text('A picture is numbers')")
        assert page.inner_text("#title") == "digits"
        page.click("text=Leave the tour")
        page.wait_for_selector("#title:has-text('bars')")
        page.wait_for_selector("body[data-runs]")
        assert "layer=2&map=3" in page.url and "net=" not in page.url
        # As with `--tour`: the served model is what is behind it.
        page = open_page(f"{server.viewer_link}&net=tour&view=tour&step=9")
        # Until the step's own input has gone through, it is the loss of another: 4.77e−7.
        page.wait_for_function(
            "() => /ln\\(0/.test(document.querySelector('.part .loss')?.innerText)"
        )
        share, loss = re.findall(r"[\d.]+", page.inner_text(".part .loss"))
        assert -np.log(float(share)) == pytest.approx(float(loss), rel=1e-3)
        page.click("text=Leave the tour")
        page.wait_for_selector("#title:has-text('bars')")
        open_page.close()
