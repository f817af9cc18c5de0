"""The page: what it says, what it may load, and that no name of a photo becomes markup."""

import base64
import errno
import hashlib
import json
import re
import shutil
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from job.errors import JobError
from job.maths.grouped_moments import GroupedMoments, TableMoments
from job.model import classifier
from job.report import contents, page, sections, thumbnails
from job.report.markup import element, json_script
from job.report.words import LANGUAGES, TEXTS, Words
from job.storage import store
from job.table import layout
from tests.support import outputs, reports, tables
from tests.support.outputs import Output

FIELD = re.compile(r"{(\w+)}")
RUN = outputs.RUN_IDS[0]


class Elements(HTMLParser):
    """The elements of a page as a browser sees them, and the scripts in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.text, self.is_script = "", False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs
        self.is_script = tag == "script"
        if self.is_script:
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self.is_script = self.is_script and tag != "script"

    def handle_data(self, data: str) -> None:
        if self.is_script:
            kind, before = self.scripts[-1]
            self.scripts[-1] = (kind, before + data)
        else:
            self.text += data


def gathered(output: Output) -> contents.Contents:
    record = json.loads((Path(output.location) / "runs").joinpath(f"{RUN}.json").read_text())
    shown = contents.gather(output.location, record, tables.snapshot(output.location))
    return contents.with_pictures(shown, 7_000_000)


def test_every_text_has_the_same_fields_in_both_languages() -> None:
    for key, (english, french) in TEXTS.items():
        assert set(FIELD.findall(english)) == set(FIELD.findall(french)), key
        assert english
        assert french


def test_numbers_are_written_as_each_language_writes_them() -> None:
    english, french = (Words(language) for language in LANGUAGES)
    assert (english.number(1234567.891, 2), french.number(1234567.891, 2)) == (
        "1,234,567.89",
        "1\u202f234\u202f567,89",
    )
    assert (english.percent(0.9501), french.percent(0.9501)) == ("95.0%", "95,0\u202f%")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_section_is_there_in_the_language_that_was_asked_for(language: Any, reported: Output) -> None:
    text = page.page(gathered(reported), language, "0")
    words = Words(language)
    seen = Elements(text)
    assert ("lang", language) in seen.attributes
    for name in sections.SECTIONS:
        assert words(name) in seen.text
        assert ("id", f"{name}-section") in seen.attributes
    assert words("truncated") in seen.text, "the meaning of a rejection"


def test_the_policy_names_every_script_and_nothing_is_fetched(reported: Output) -> None:
    text = reports.html(reported)
    seen = Elements(text)
    texts = [value or "" for name, value in seen.attributes if name == "content"]
    policies = next(text for text in texts if "script-src" in text).split("; ")
    policy = dict(part.split(" ", 1) for part in policies)
    assert policy["default-src"] == "'none'"
    assert policy["img-src"] == "data:"
    assert "unsafe" not in policy["script-src"]
    code = [script for attributes, script in seen.scripts if "type" not in attributes]
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in code]
    assert policy["script-src"].split() == [f"'sha256-{value}'" for value in hashes]
    assert len(code) == 3
    assert not [name for name, _ in seen.attributes if name in ("src", "srcset", "data", "action")]
    assert all(value and value.startswith("#") for name, value in seen.attributes if name == "href")
    assert not {"link", "iframe", "img", "object", "base", "form"} & set(seen.names)


def test_names_of_photos_are_text_and_never_markup(reported: Output) -> None:
    text = reports.html(reported)
    seen = Elements(text)
    assert len(seen.scripts) == 5, "three of code, two of JSON"
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert "b" in seen.names, "labels are bold, so a name that begins a bold text would not be seen"
    assert "<b></script>" not in text
    blocks = {kind["id"]: json.loads(script) for kind, script in seen.scripts if "type" in kind}
    data = blocks["data"]
    folders = [f"{reported.source}/{name.rpartition('/')[0]}" for name in reports.HOSTILE]
    assert folders[1] in data["folders"]
    assert {name.rpartition("/")[2] for name in reports.HOSTILE[1:]} < set(data["names"])
    assert reported.bad[1] in [path for path, *_ in data["rejects"]]
    assert not set("<>&\u2028\u2029") & set(
        "".join(script for kind, script in seen.scripts if "type" in kind)
    )


@pytest.mark.parametrize("text", ["</script>", "<!--", "&lt;", "\u2028\u2029", '"\\', "\ud800"])
def test_a_block_of_json_holds_any_text(text: str) -> None:
    block = json_script("data", [text])
    inside = block.removeprefix('<script type="application/json" id="data">').removesuffix("</script>")
    assert not set("<>&\u2028\u2029") & set(inside)
    assert json.loads(inside) == [text]


def test_an_element_escapes_its_text_and_its_attributes() -> None:
    shown = element("p", "<b>", element("i", "&"), class_='"x"', data_show=3)
    assert shown == '<p class="&quot;x&quot;" data-show="3">&lt;b&gt;<i>&amp;</i></p>'


def test_the_same_output_gives_the_same_page(reported: Output) -> None:
    first, second = (page.page(gathered(reported), "en", "0") for _ in range(2))
    assert first == second


def test_a_page_is_current_until_the_photos_or_the_language_change(reported: Output) -> None:
    file = Path(reported.location) / layout.REPORT
    before = file.stat().st_ino
    assert reports.run(reported)["counts"]["unchanged"] == len(reported.good) + len(reported.bad)
    assert file.stat().st_ino == before, "nothing new: the page stays"
    reports.run(reported, "--language", "fr")
    assert '<html lang="fr">' in reports.html(reported)
    record = reports.run(reported, "--no-report")
    assert not file.exists()
    assert record["report"] is None


def test_a_page_is_made_anew_for_a_new_photo(reported: Output, tmp_path: Path) -> None:
    source = tmp_path / "photos"
    shutil.copytree(reported.source, source)
    new = source / "Test/Plum/new one.jpg"
    output = replace(reported, source=str(source))
    reports.run(output, "--overwrite")
    assert "new one.jpg" not in reports.html(output)
    new.write_bytes(reports.jpeg_of(str(new)))
    reports.run(output)
    assert "new one.jpg" in reports.html(output)


def test_the_page_says_what_the_record_says(reported: Output) -> None:
    shown = gathered(reported)
    seen = Elements(page.page(shown, "en", "0"))
    count = len(reported.good) + len(reported.bad)
    assert f"Every listed photo is accounted for: {count} = {len(reported.good)} + 2 + 0." in seen.text
    assert shown.record["backbone"] in seen.text
    assert shown.record["versions"]["numpy"] in seen.text
    assert "The price of these machines is not known here" in seen.text
    record = {**shown.record, "settings": {**shown.record["settings"], "hourly_cost": 0.36}}
    record |= {"photos_per_second": 100.0, "seconds": {"featurize": 90.0, "total": 100.0}}
    seen = Elements(page.page(replace(shown, record=record), "en", "0"))
    assert "cost $0.36 an hour, so this run cost $0.0100" in seen.text
    assert "100 photos a second on 2 cores: at this rate, a million photos take 2.8 hours" in seen.text
    assert "A million photos would cost $1.00." in seen.text


def test_a_page_is_no_larger_than_it_may_be(reported: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    record = gathered(reported).record
    write = partial(
        page.write, reported.location, record, tables.snapshot(reported.location), "en", lambda: None
    )
    whole = write()
    assert whole < page.MOST_BYTES
    for most in (whole - 1, whole - 10_000, 1_000):
        monkeypatch.setattr(page, "MOST_BYTES", most)
        size = write()
        assert size < max(most, whole - 5_000)
        assert size == (Path(reported.location) / layout.REPORT).stat().st_size
    assert "have no picture here" in reports.html(reported)


def test_with_longer_names_the_map_shows_fewer_photos(
    reported: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [Path(path).name for path in reported.good]
    monkeypatch.setattr(contents, "MOST_TEXT_BYTES", sum(len(name) + 3 for name in names) // 2 + 700)
    shown = gathered(reported)
    assert 0.3 < len(shown.photos) / len(names) < 0.6
    seen = Elements(page.page(shown, "en", "0"))
    assert (
        f"It shows {len(shown.photos)} of the {len(names)} photos with features: a sample by label"
        in seen.text
    )
    assert {"Apple Red", "Apple Green", "Banana", "Plum"} <= set(shown.photos.labels)


def test_a_page_of_photos_in_a_folder_each_is_no_larger_than_it_may_be(reported: Output) -> None:
    shown, count = gathered(reported), 100_000
    read = shown.photos.take(np.arange(count) % len(shown.photos))
    folders = [f"/{'x' * 100}/{number:06}" for number in range(count)]
    many = replace(
        read,
        paths=[f"{folder}/{number}.jpg" for number, folder in enumerate(folders)],
        labels=[f"{number:06} {'y' * 80}" for number in range(count)],
        predictions=None,
    )
    photos = many.take(contents.choose_shown(many, [7, 99_999], None))
    assert {folders[7], folders[99_999]} < {path.rpartition("/")[0] for path in photos.paths}
    whole = replace(
        shown,
        photos=photos,
        labels=sorted(set(photos.labels)),
        predicted=None,
        sheets=thumbnails.no_pictures(len(photos)),
    )
    size = len(page.page(whole, "en", "0").encode())
    small = len(page.page(shown, "en", "0").encode())
    assert 2_900_000 < size - small < 3_600_000
    assert size < page.MOST_BYTES


def test_every_reason_for_no_classifier_has_its_french() -> None:
    words = Words("fr")
    moments = TableMoments(GroupedMoments(2, {}, {}), None)
    texts = [
        classifier.obstacle(moments),
        classifier.obstacle(replace(moments, roots=moments.features)),
        "there are too few photos of each label to calibrate a classifier",
    ]
    assert [words.reason(text or "") for text in texts] == [
        "il y a plus de 1\u202f000 étiquettes",
        "un classifieur a besoin de deux étiquettes, et il y en a 0",
        "il y a trop peu de photos de chaque étiquette pour calibrer un classifieur",
    ]
    assert words.reason("something else") == "something else"
    assert Words("en").reason(texts[0] or "") == texts[0]


def test_a_french_page_has_french_words_for_steps_and_settings(reported: Output) -> None:
    shown = gathered(reported)
    seconds = {"featurize": 8.0, "total": 9.0}
    text = page.page(replace(shown, record={**shown.record, "seconds": seconds}), "fr", "0")
    assert 'aria-label="lire les photos, calculer les descripteurs"' in text
    settings = text.split("<caption>Réglages</caption>")[1].partition("</table>")[0]
    assert ">non<" in settings
    assert ">non défini<" in settings
    assert not {"True", "False", "None"} & set(re.findall(r"\w+", settings))
    assert '<th scope="col"></th>' not in text


def test_an_idle_run_has_the_price_of_the_last_that_read_photos_and_writes_the_page_once(
    reported: Output,
) -> None:
    file = Path(reported.location) / layout.REPORT
    newest = json.loads(Path(reported.location, layout.RUNS, f"{RUN}.json").read_text())
    newest["settings"]["hourly_cost"] = 3.6
    store.write_bytes(f"{reported.location}/{layout.RUNS}/{RUN}.json", json.dumps(newest).encode())
    reports.run(reported, "--run-id", "idle-1", "--language", "fr")
    assert "Les machines coûtent 3,60 $ l'heure" in Elements(reports.html(reported)).text
    before = file.stat().st_ino
    reports.run(reported, "--run-id", "idle-2", "--language", "fr")
    assert file.stat().st_ino == before
    reports.run(reported, "--run-id", "idle-3", "--language", "fr", "--hourly-cost", "0")
    assert "Les machines coûtent 0,00 $ l'heure" in Elements(reports.html(reported)).text


def test_an_idle_run_shows_the_times_of_the_last_that_read_photos(reported: Output) -> None:
    first = gathered(reported).record
    idle = reports.run(reported, "--language", "fr", "--run-id", "idle", "--hourly-cost", "0.5")
    assert idle["photos_per_second"] is None
    assert "featurize" not in idle["seconds"], "its own record has its own times"
    seen = Elements(reports.html(reported)).text
    words = Words("fr")
    assert words("timed_run", run=first["run_id"]) in seen
    assert words("no_photo_read") not in seen
    assert words("step_featurize") in seen
    assert f"{words.number(first['photos_per_second'])} photos par seconde sur 2 cœurs" in seen


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), None])
def test_a_page_that_cannot_be_written_costs_the_run_no_record(
    error: OSError | None, reported: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Path(reported.location) / layout.REPORT
    write_bytes = store.write_bytes

    def write(location: str, data: bytes, only_if_new: bool = False) -> bool:
        if error is not None and location.endswith(layout.REPORT):
            raise error
        return write_bytes(location, data, only_if_new)

    monkeypatch.setattr(store, "write_bytes", write)
    if error is None:
        file.unlink()
        file.mkdir()
    for number, options in enumerate([("--language", "fr"), ("--language", "fr", "--no-report")]):
        record = reports.run(reported, "--run-id", f"later-{number}", *options)
        assert record["report"] is None
        saved = json.loads(Path(reported.location, record["record"]).read_text())
        assert saved["run_id"] == f"later-{number}"
        assert not file.is_file(), "the page showed an earlier state"


def test_no_metadata_of_a_photo_reaches_the_page(reported: Output) -> None:
    text = reports.html(reported)
    uris = re.findall(r"data:image/webp;base64,([\w+/=]+)", text)
    assert uris
    assert all(
        b"Secret" not in base64.b64decode(uri) and b"EXIF" not in base64.b64decode(uri) for uri in uris
    )
    assert "Secret" not in text


def test_a_report_without_a_model_is_refused(reported: Output) -> None:
    (Path(reported.location) / layout.CURRENT_MODEL).unlink()
    with pytest.raises(JobError, match="has no model yet: the report needs a run that has ended"):
        gathered(reported)
