"""The report in a real Chromium, from a file: real mouse events, pixels, and no request and no error."""

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from job.photos.decode import decode
from job.report import page
from job.storage import store
from tests.support import outputs, reports
from tests.support.outputs import Output
from tests.support.report_pages import (
    AXIS,
    COLOURS,
    COUNT,
    EXTENT,
    FRAMES,
    HOVERS,
    LISTED,
    MAP,
    PHONE,
    POINT,
    RANGE,
    UNDRAWN,
    Open,
    classify,
    colour,
    coloured,
    contrast,
    hover,
    packed,
    pixels,
    rewrite,
    swipe,
)

pytestmark = pytest.mark.browser


def test_the_photo_under_the_mouse_is_shown_with_its_name(reported: Output, open_page: Open) -> None:
    shown = open_page(reported.location)
    for number in (0, 20, len(reported.good) - 1):
        path = sorted(reported.good)[number]
        hover(shown, number)
        shown.wait_for_selector(f'#card-picture[data-drawn="{number}"]')
        middle = pixels(shown.locator("#card-picture"))[40:-40, 40:-40].mean(axis=(0, 1))
        np.testing.assert_allclose(middle, reports.colour_of(path), atol=8)
        assert path in (shown.locator("#card-text").text_content() or "")
    shown.mouse.move(5, 5)
    shown.wait_for_selector("#card", state="hidden")


def test_the_wheel_zooms_a_drag_moves_and_a_button_shows_all_again(reported: Output, open_page: Open) -> None:
    shown = open_page(reported.location)
    shown.locator("#stage").scroll_into_view_if_needed()
    before = shown.evaluate(RANGE)
    x, y = shown.evaluate(POINT, 10)
    shown.mouse.move(x, y)
    shown.mouse.wheel(0, -300)
    for low, high, first, last in zip(
        before[::2], before[1::2], *[iter(shown.evaluate(EXTENT))] * 2, strict=True
    ):
        assert [low, high] == pytest.approx(
            [first - (last - first) / 20, last + (last - first) / 20], rel=1e-4
        )
    width = "plot.x_range.end - plot.x_range.start"
    shown.wait_for_function(f"([low, high]) => {{ {MAP} return {width} < high - low; }}", arg=before)
    zoomed = shown.evaluate(RANGE)
    shown.mouse.down()
    shown.mouse.move(x + 80, y + 40, steps=5)
    shown.mouse.up()
    moved = shown.evaluate(RANGE)
    assert moved[0] < zoomed[0]
    assert moved[1] - moved[0] == pytest.approx(zoomed[1] - zoomed[0])
    shown.click("#whole")
    assert shown.evaluate(RANGE) == pytest.approx(before)


def test_filters_hide_points_and_list_the_photos_that_match(reported: Output, open_page: Open) -> None:
    shown = open_page(reported.location)
    count = shown.evaluate(COUNT)
    assert count == len(reported.good)
    all_pixels = coloured(shown)
    of_test = [path for path in reported.good if "/Test/" in path]
    shown.select_option("#split", label="Test")
    assert shown.evaluate(COUNT) == len(of_test)
    assert 0 < coloured(shown) < all_pixels / 2
    shown.select_option("#label", label="Banana")
    bananas = [path for path in of_test if "/Banana/" in path]
    assert shown.evaluate(COUNT) == len(bananas)
    shown.click("#clear")
    assert shown.evaluate(COUNT) == count
    shown.locator("#search").press_sequentially("banana/3.jpg")
    shown.wait_for_function("() => document.getElementById('matching').textContent.startsWith('2 of')")
    shown.click("summary:has-text('Photos that match')")
    rows = shown.locator("#matches tbody tr")
    assert [path for path in sorted(reported.good) if path.endswith("/Banana/3.jpg")] == [
        row.locator("td").first.text_content() for row in rows.all()
    ]
    shown.click("#clear")
    shown.select_option("#outcome", label="rejected")
    assert shown.evaluate(COUNT) == 0
    assert reported.bad[1] in (rows.first.text_content() or "") + (rows.last.text_content() or "")
    assert shown.locator("#matches th").last.text_content() == "Show"
    assert shown.locator("#matches th span").evaluate("(word) => word.offsetWidth") == 1
    shown.locator("#search").press_sequentially("Apple Red")
    shown.wait_for_function("() => document.getElementById('matching').textContent.startsWith('1 of')")
    assert shown.evaluate(LISTED)[0][0] == reported.bad[0]


def test_each_outcome_is_that_which_the_list_and_the_card_tell(reported: Output, open_page: Open) -> None:
    texts = [text for text, _ in classify(reported)]
    shown = open_page(reported.location)
    paths = sorted(reported.good)
    of_outcome = {
        "recognized": [number for number, text in enumerate(texts) if text == "recognized"],
        "recognized, but unsure": [n for n, text in enumerate(texts) if text == "recognized, but unsure"],
        "taken for another label": [n for n, text in enumerate(texts) if text.startswith("taken for")],
        "unlike all labels": [n for n, text in enumerate(texts) if text.endswith("unlike all labels")],
        "without a label": list(range(0, len(paths), 5)),
    }
    for name, numbers in of_outcome.items():
        shown.select_option("#outcome", label=name)
        assert shown.evaluate(COUNT) == len(numbers) > 5
        assert shown.evaluate(LISTED) == [[paths[number], texts[number]] for number in numbers]
    shown.click("#clear")
    seen = set()
    for number in range(1, len(paths), 3):
        hover(shown, number)
        near = int(shown.locator("#card").get_attribute("data-photo") or "-1")
        lines = shown.locator("#card-text span").all_text_contents()
        assert lines[-2:] == [texts[near], paths[near]]
        seen.add(texts[near])
    assert len(seen) > 8


def test_a_french_page_writes_french_percentages(reported: Output, open_page: Open) -> None:
    share = next(share for text, share in classify(reported) if text.startswith("taken for"))
    text = reports.html(reported).replace('<html lang="en">', '<html lang="fr">')
    store.write_bytes(f"{reported.location}/report.html", text.encode())
    shown = open_page(reported.location)
    outcomes = [outcome for _, outcome in shown.evaluate(LISTED)]
    assert any(f"({share}\u202f%)" in outcome for outcome in outcomes)


def test_a_sample_says_that_it_is_one_and_labels_of_rejects_alone_can_be_chosen(
    reported: Output, open_page: Open
) -> None:
    rejects = [["/a/Kiwi/1.jpg", "Kiwi", "Extra", "empty"], ["/a/b.jpg", "", "", "empty"]]
    rewrite(reported, rejects=rejects, total=500_000, rejectTotal=1_000)
    shown = open_page(reported.location)
    held = len(reported.good) + 2
    matching = "{} of the {} photos on this page match; there are 501,000 photos in all"
    assert shown.text_content("#matching") == matching.format(held, held)
    for control, name in (("#label", "Kiwi"), ("#split", "Extra")):
        shown.select_option(control, label=name)
        assert shown.text_content("#matching") == matching.format(1, held)
        assert shown.evaluate(LISTED) == [["/a/Kiwi/1.jpg", "rejected: empty"]]
        shown.click("#clear")


def test_rare_species_share_a_button_and_all_colours_have_contrast_in_light_and_dark(
    reported: Output, open_page: Open
) -> None:
    count = len(reported.good)
    numbers = [number % 45 for number in range(count)]
    names = [f"Fruit{number:02}" for number in range(45)]
    columns = {name: packed(numbers) for name in ("label", "predicted")}
    rewrite(reported, labels=names, species=names, **columns)
    shown = open_page(reported.location, color_scheme="light")
    buttons = shown.locator("#species button")
    assert buttons.count() == 41
    assert buttons.last.text_content() == "5 other species"
    buttons.last.click()
    rare = [number for number in numbers if number >= 40]
    assert shown.evaluate(COUNT) == len(rare)
    buttons.first.click()
    assert shown.evaluate(COUNT) == len(rare) + numbers.count(0)
    buttons.last.click()
    assert shown.evaluate(COUNT) == numbers.count(0)
    shown.evaluate("""() => { for (const kind of ["hit", "miss"]) {
        const cell = document.createElement("span");
        cell.className = `cell ${kind}`;
        cell.style.setProperty("--share", "100%");
        document.querySelector("section").append(cell);
    } }""")
    for scheme in ("light", "dark"):
        shown.emulate_media(color_scheme=scheme)
        behind, text, *dots = map(colour, shown.evaluate(COLOURS, "#species i"))
        assert len({tuple(dot) for dot in dots}) == 21
        assert min(contrast(dot, behind) for dot in dots) >= 3
        cells = [colour(cell, behind) for cell in shown.evaluate(COLOURS, ".cell")[2:]]
        assert min(contrast(cell, text) for cell in cells) >= 4.5
        assert max(contrast(cell, behind) for cell in cells) > 1.3


def test_printing_shows_every_picture_and_chart_in_light_colours(reported: Output, open_page: Open) -> None:
    shown = open_page(reported.location, color_scheme="dark")
    shown.wait_for_function(f"() => ({UNDRAWN})() === 0")  # without being scrolled to
    shown.evaluate("""() => {
        for (const canvas of document.querySelectorAll(".picture canvas")) {
            canvas.width = 1; // as if it had not been drawn yet
            delete canvas.dataset.drawn;
        }
        addEventListener("beforeprint", () => {
            const pixel = (canvas) => {
                const middle = canvas.width / 2;
                return [...canvas.getContext("2d").getImageData(middle, canvas.height / 2, 1, 1).data];
            };
            const pictures = [...document.querySelectorAll(".picture canvas")];
            const photos = pictures.map((canvas) => Number(canvas.dataset.photo));
            window.printed = {
                pictures: pictures.map((canvas, at) => [photos[at], pixel(canvas)]),
                charts: [...document.querySelectorAll(".printed")].map((chart) => chart.width),
                back: getComputedStyle(document.body).backgroundColor,
            };
        });
    }""")
    document = shown.pdf(format="A4")
    printed = shown.evaluate("window.printed")
    paths = sorted(reported.good)
    for number, pixel in printed["pictures"]:
        np.testing.assert_allclose(pixel[:3], reports.colour_of(paths[number]), atol=8)
    different = {number for number, _ in printed["pictures"]}
    assert document.count(b"/Subtype /Image") >= len(different) > 10
    assert min(printed["charts"]) > 300
    assert len(printed["charts"]) == 3
    assert min(colour(printed["back"])) > 0.9
    assert shown.locator(".printed").count() == 0
    assert pixels(shown).mean() < 80
    shown.emulate_media(media="print")
    hidden = (
        "() => [...document.querySelectorAll('.controls, #species, nav')].every((one) => !one.offsetHeight)"
    )
    assert shown.evaluate(hidden)
    boxes = "() => [...document.querySelectorAll('.scroll')].map((one) => getComputedStyle(one).overflowY)"
    assert set(shown.evaluate(boxes)) == {"visible"}


def test_species_are_filtered_with_the_keyboard_and_have_colours_of_their_own(
    reported: Output, open_page: Open
) -> None:
    shown = open_page(reported.location)
    buttons = shown.locator("#species button")
    colour = "(node) => getComputedStyle(node).backgroundColor"
    dots = {dot.evaluate(colour) for dot in buttons.locator("i").all()}
    assert len(dots) == buttons.count() >= 3
    banana = shown.locator("#species button", has_text="Banana")
    banana.focus()
    shown.keyboard.press("Enter")
    assert banana.get_attribute("aria-pressed") == "true"
    assert shown.evaluate(COUNT) == sum("/Banana/" in path for path in reported.good)
    shown.keyboard.press("Enter")
    assert shown.evaluate(COUNT) == len(reported.good)


def test_a_picture_below_is_drawn_and_leads_to_its_point(reported: Output, open_page: Open) -> None:
    shown = open_page(reported.location)
    picture = shown.locator("#outliers-section canvas").first
    picture.scroll_into_view_if_needed()
    number = int(picture.get_attribute("data-photo") or "-1")
    shown.wait_for_selector(f'#outliers-section canvas[data-drawn="{number}"]')
    path = sorted(reported.good)[number]
    assert picture.get_attribute("aria-label") == path
    middle = pixels(picture)[30:-30, 30:-30].mean(axis=(0, 1))
    np.testing.assert_allclose(middle, reports.colour_of(path), atol=8)
    picture.click()
    shown.wait_for_selector("#card:not([hidden])")
    assert path in (shown.locator("#card-text").text_content() or "")


def test_the_discriminants_plane_is_the_other_map(reported: Output, open_page: Open) -> None:
    shown = open_page(reported.location)
    first = shown.evaluate(POINT, 0)
    assert shown.evaluate(AXIS)[0].startswith("component 1 (")
    shown.select_option("#plane", "discriminant")
    assert shown.evaluate(AXIS)[0] == "discriminant 1"
    assert shown.evaluate(POINT, 0) != first
    hover(shown, 5)
    assert sorted(reported.good)[5] in (shown.locator("#card-text").text_content() or "")


def test_light_and_dark_follow_the_system_and_change_the_charts(reported: Output, open_page: Open) -> None:
    shown = open_page(reported.location, color_scheme="light")
    light, light_axis = pixels(shown).mean(), shown.evaluate(AXIS)[1]
    shown.emulate_media(color_scheme="dark")
    is_new = f"(old) => {{ {MAP} return plot.below[0].axis_label_text_color !== old; }}"
    shown.wait_for_function(is_new, arg=light_axis)
    assert light > 200
    assert pixels(shown).mean() < 80


def test_a_phone_shows_all_without_scrolling_sideways_and_a_tap_shows_a_photo(
    reported: Output, open_page: Open
) -> None:
    shown = open_page(reported.location, PHONE, has_touch=True, is_mobile=True)
    assert shown.evaluate("[document.documentElement.scrollWidth, innerWidth]") == [390, 390]
    shown.locator("#stage").scroll_into_view_if_needed()
    x, y = shown.evaluate(POINT, 7)
    shown.touchscreen.tap(x, y)
    shown.wait_for_selector("#card:not([hidden])")
    card, stage = shown.locator("#card").bounding_box(), shown.locator("#stage").bounding_box()
    assert card is not None
    assert stage is not None
    assert stage["x"] <= card["x"]
    assert card["x"] + card["width"] <= stage["x"] + stage["width"]
    ends = "() => [...document.querySelectorAll('meter')].map((one) => one.getBoundingClientRect().right)"
    assert 0 < max(shown.evaluate(ends)) < 390


def test_a_finger_scrolls_the_page_over_the_map_or_moves_it_sideways_and_two_zoom(
    reported: Output, open_page: Open
) -> None:
    shown = open_page(reported.location, PHONE, has_touch=True, is_mobile=True)
    shown.locator("#stage").scroll_into_view_if_needed()
    whole, top = shown.evaluate(RANGE), shown.evaluate("scrollY")
    swipe(shown, [(195, 450)], [(0, -15)])
    shown.wait_for_function("(top) => scrollY > top + 100", arg=top)
    assert shown.evaluate(RANGE) == whole
    shown.evaluate("(top) => scrollTo(0, top)", top)
    swipe(shown, [(195, 450)], [(-8, 0)])
    moved = shown.evaluate(RANGE)
    assert moved[0] > whole[0]
    assert moved[1] - moved[0] == pytest.approx(whole[1] - whole[0])
    swipe(shown, [(185, 450), (205, 450)], [(-8, 0), (8, 0)])
    zoomed = shown.evaluate(RANGE)
    assert zoomed[1] - zoomed[0] < 0.8 * (moved[1] - moved[0])
    assert shown.evaluate("visualViewport.scale") == 1


def test_a_name_that_is_a_script_runs_nowhere(reported: Output, open_page: Open) -> None:
    shown = open_page(reported.location)
    shown.locator("#search").press_sequentially("document.title")
    shown.wait_for_function("() => document.getElementById('matching').textContent.startsWith('3 of')")
    shown.click("summary:has-text('Photos that match')")
    shown.click("summary:has-text('Rejected photos')")
    assert shown.locator("#matches img, #matches script, #matches b").count() == 0
    assert shown.locator("#rejects-section img, #rejects-section script").count() == 0
    shown.click("#clear")
    for number, path in enumerate(sorted(reported.good)):
        if "document.title" in path:
            hover(shown, number)
            assert path in (shown.locator("#card-text").text_content() or "")
    assert shown.title() == "Fruits: report of a run"


def test_without_a_classifier_and_without_photos_on_disk_the_page_still_works(
    reported: Output, open_page: Open, tmp_path: Path
) -> None:
    output = outputs.copied(reported, str(tmp_path / "other"))
    (Path(output.location) / "report.html").unlink()
    (Path(output.location) / "models/current_classifier.json").unlink()
    text = reports.report_without_photos(output, tmp_path / "away")
    assert "There is no classifier" in text
    assert "labels recognized" not in text
    shown = open_page(output.location)
    assert shown.locator("#plane option").count() == 1
    hover(shown, 3)
    shown.wait_for_selector('#card-picture[data-drawn="3"]')


def test_a_hundred_thousand_points_stay_usable(reported: Output, open_page: Open, tmp_path: Path) -> None:
    output = outputs.copied(reported, str(tmp_path / "many"))
    size = reports.enlarge(output, 100_000)
    assert size < page.MOST_BYTES
    start = time.monotonic()
    shown = open_page(output.location)
    load = time.monotonic() - start
    assert shown.evaluate(COUNT) == 100_000
    shown.locator("#stage").scroll_into_view_if_needed()
    x, y = shown.evaluate(POINT, 50_000)
    shown.mouse.move(x, y)
    shown.evaluate(FRAMES)
    shown.mouse.down()
    for step in range(30):
        shown.mouse.move(x + 3 * step, y + step)
        shown.wait_for_timeout(16)
    shown.mouse.up()
    frame = statistics.median(shown.evaluate("window.frames_ms"))
    shown.evaluate(HOVERS)
    for number in range(1_000, 100_000, 5_000):
        shown.mouse.move(*shown.evaluate(POINT, number))
        shown.wait_for_timeout(100)
    hover_time = statistics.median(shown.evaluate("window.hovers_ms"))
    print(f"{size / 1e6:.1f} MB: load {load:.1f} s, frame {frame:.0f} ms, hover {hover_time:.0f} ms")
    assert load < 30
    assert frame < 150
    assert hover_time < 300


@pytest.mark.spark
def test_the_report_of_a_run_on_real_photos_shows_them(whole: Path, sample: Path, open_page: Open) -> None:
    shown = open_page(str(whole))
    photos = sorted(str(file) for file in sample.rglob("*.jpg"))
    assert shown.evaluate(COUNT) == len(photos)
    shown.select_option("#label", index=1)
    label = shown.input_value("#label").removeprefix("=")
    of_label = [path for path in photos if Path(path).parent.name == label]
    assert shown.evaluate(COUNT) == len(of_label)
    for place in (0, len(of_label) // 2):
        path = of_label[place]
        hover(shown, place)
        number = shown.locator("#card").get_attribute("data-photo") or ""
        shown.wait_for_selector(f'#card-picture[data-drawn="{number}"]')
        near = photos[int(number)]  # it may hide the one that was aimed at
        assert near in (shown.locator("#card-text").text_content() or "")
        expected = quarters(decode(Path(near).read_bytes()).pixels)
        np.testing.assert_allclose(
            quarters(pixels(shown.locator("#card-picture"))), expected, atol=12, err_msg=path
        )
    sections = [section.get_attribute("id") for section in shown.locator("section").all()]
    assert len(sections) == 10
    assert shown.locator("#duplicates-section .duplicate").count() >= 10
    assert "photos a second on 2 cores: at this rate, a million photos take" in (
        shown.text_content("#cost-section") or ""
    )


def quarters(picture: NDArray[Any]) -> NDArray[np.float64]:
    """Return the mean colours of a picture's four quarters ``(2, 2, 3)``."""
    height, width = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2
    means: NDArray[np.float64] = (
        picture[:height, :width].reshape(2, height // 2, 2, width // 2, 3).mean(axis=(1, 3))
    )
    return means
