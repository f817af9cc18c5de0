"""The sections of the report, from the contents: headings, tables and places for charts and pictures."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from job.model.classifier import species_of
from job.network import weights
from job.report import duplicates
from job.report.confusions import Confusion
from job.report.contents import MOST_OUTLIERS, Contents
from job.report.markup import Html, element, facts, join, picture, table
from job.report.words import Words

MOST_SPECIES: Final = 30  # in the table of confusions
MOST_LABELS: Final = 400  # in the table of counts
WORST_SHOWN: Final = 15
MILLION: Final = 1_000_000

Section = Callable[[Contents, Words], Html]


def summary(contents: Contents, words: Words) -> Html:
    """Return the figures at the top."""
    record = contents.record
    rejected, test = contents.rejects.total, _test(record)
    variance = record["model"]["variance_kept"]
    kept = words("variance_of", share=words.percent(variance, 2))
    if variance < 0:
        kept = words("explains_little")
    figures: list[tuple[str, str, str]] = [
        (words.number(contents.total + rejected), words("photos"), ""),
        (words.number(contents.total), words("with_features"), ""),
        (words.number(rejected), words("rejected"), ""),
        (words.number(contents.k), words("components"), kept),
    ]
    if test:
        of_test = words("of_test", count=words.number(test["photos"]))
        figures.append((words.percent(test["label_accuracy"]), words("label_accuracy"), of_test))
        figures.append((words.percent(test["species_accuracy"]), words("species_accuracy"), of_test))
    if record["photos_per_second"]:
        cores = words("on_cores", cores=record["cores"])
        figures.append((words.number(record["photos_per_second"]), words("photos_per_second"), cores))
    cards = [
        element("li", element("strong", value), " ", name, element("small", note))
        for value, name, note in figures
    ]
    return element("ul", *cards, class_="cards")


def photo_map(contents: Contents, words: Words) -> Html:
    """Return the map with its filters; the page's script fills both."""
    shown, number = len(contents.photos), words.number
    about = [words("map_about")]
    if shown == contents.total:
        about.append(words("all_shown", count=number(shown)))
    else:
        most = number(MOST_OUTLIERS)
        about.append(words("sampled", shown=number(shown), total=number(contents.total), outliers=most))
    if contents.read < contents.total:
        about.append(words("partly_read", read=number(contents.read), total=number(contents.total)))
    if len(contents.pictured) < shown:
        about.append(words("pictures_sampled", count=number(len(contents.pictured))))
    missing = int((contents.sheets.places < 0).sum()) - (shown - len(contents.pictured))
    if missing > 0:
        about.append(words("without_picture", count=number(missing)))
    plane = [element("option", words("plane_pca"), value="pca")]
    if contents.photos.plane is not None:
        plane.append(element("option", words("plane_discriminant"), value="discriminant"))
    controls = [
        element("label", words("search"), element("input", type="search", id="search", autocomplete="off")),
        *(
            element("label", words(name), element("select", *options, id=name))
            for name, options in (("plane", plane), ("label", []), ("split", []), ("outcome", []))
        ),
        element("button", words("clear"), type="button", id="clear"),
        element("button", words("whole_map"), type="button", id="whole"),
    ]
    card_text = element("div", id="card-text", aria_live="polite")
    card = element("div", element("canvas", id="card-picture"), card_text, id="card", hidden="")
    chart = element("div", id="map-chart", role="group", aria_label=words("map_label"))
    matches = element("p", id="matching", role="status", aria_live="polite")
    listed = element(
        "details", element("summary", words("list")), element("div", id="matches", class_="scroll")
    )
    return join(
        [
            element("p", " ".join(about)),
            element("div", *controls, class_="controls"),
            element("div", chart, card, id="stage"),
            element("div", id="species", role="group", aria_label=words("species")),
            matches,
            listed,
        ]
    )


def scree(contents: Contents, words: Words) -> Html:
    """Return the places of the two charts, and how many components keep certain shares."""
    sums, variance = contents.ratios.cumsum(), contents.record["model"]["variance_kept"]
    counts = []
    for share in (0.5, 0.9, 0.99):
        count = min(int((sums < share).sum()) + 1, len(sums))
        name = "half_at_one" if count == 1 else "half_at"
        counts.append(words(name, count=words.number(count), share=words.percent(share, 0)))
    text = words(
        "scree_kept" if variance >= 0 else "scree_little_kept",
        k=words.number(contents.k),
        kept=words.percent(variance, 2),
        rank=words.number(len(sums)),
    )
    charts = [
        element("div", id=f"scree-{name}-chart", role="group", aria_label=words(label), class_="chart")
        for name, label in (("share", "scree_label"), ("sum", "scree_sum_label"))
    ]
    return join([element("p", f"{text} {'; '.join(counts)}."), element("div", *charts, class_="pair")])


def accuracy(contents: Contents, words: Words) -> Html:
    """Return how good the classifier is on photos of Test, and what it confuses."""
    record = contents.record.get("classifier") or {}
    if "labels" not in record:
        reason = record.get("reason")
        return element(
            "p", words("no_classifier", reason=words.reason(reason)) if reason else words("no_classifier_yet")
        )
    count = {name: words.number(record[name]) for name in ("labels", "species", "photos")}
    parts: list[Html] = [element("p", words("fitted_on", **count))]
    test = _test(contents.record)
    if not test:
        return join([*parts, element("p", words("no_test"))])
    states = [
        (words(f"state_{name}"), words.number(photos)) for name, photos in test.get("states", {}).items()
    ]
    pairs = [
        (words("test_photos"), words.number(test["photos"])),
        (words("label_accuracy"), words.percent(test["label_accuracy"], 2)),
        (words("species_accuracy"), words.percent(test["species_accuracy"], 2)),
        (words("calibration_error"), words.percent(test["calibration_error"], 2)),
        *states,
    ]
    parts += [facts(pairs), _species_table(contents, words), _worst_labels(contents, words)]
    return join(parts)


def confused(contents: Contents, words: Words) -> Html:
    """Return the pairs of labels that are confused most, with pictures."""
    if not contents.confusions:
        has_test = _test(contents.record) is not None
        return element("p", words("none_confused" if has_test else "no_test_confused"))
    return join(_confusion(contents, confusion, words) for confusion in contents.confusions)


def outliers(contents: Contents, words: Words) -> Html:
    """Return the pictures of the most unusual photos."""
    distance, digits = contents.photos.distance, 0 if contents.predicted else 1
    pictures = [
        _picture(
            contents, number, words, words("distance", value=words.number(float(distance[number]), digits))
        )
        for number in contents.outliers
    ]
    about = words("outliers_relative" if contents.predicted else "outliers_about")
    return join([element("p", about), element("div", *pictures, class_="pictures")])


def near_duplicates(contents: Contents, words: Words) -> Html:
    """Return exact copies by number, and the closest pairs of each kind with pictures."""
    copies, number = contents.copies, words.number
    text = words("no_copies")
    if copies.groups:
        text = words(
            "duplicates_exact",
            photos=number(copies.photos),
            groups=number(copies.groups),
            splits=number(copies.across_splits),
            labels=number(copies.across_labels),
        )
    if not contents.pairs:
        few = words("too_few_components", least=number(duplicates.LEAST_COMPONENTS))
        return element("p", f"{text} {few}")
    parts: list[Html] = [element("p", f"{words('duplicates_about')} {text}")]
    for kind, found in contents.pairs.items():
        threshold = words.number(duplicates.NEAR, 2)
        near = words(
            "duplicates_near",
            count=number(found.near),
            total=number(len(contents.pictured)),
            threshold=threshold,
        )
        pairs = [
            element(
                "div",
                element("div", *(_picture(contents, photo, words, "") for photo in pair), class_="pictures"),
                element("p", words("similarity", value=words.number(similarity, 4))),
                class_="duplicate",
            )
            for *pair, similarity in found.pairs
        ]
        shown = element("div", *pairs, class_="pairs") if pairs else ""
        parts += [
            element("h3", words(f"duplicates_{kind}")),
            element("p", near if pairs else words("no_pairs")),
            Html(shown),
        ]
    return join(parts)


def rejects(contents: Contents, words: Words) -> Html:
    """Return the reasons for rejection in words, and the rejected photos."""
    rejected = contents.rejects
    if not rejected.total:
        return element("p", words("no_rejects"))
    reasons = [
        (reason, words.or_key(reason), words.number(count)) for reason, count in rejected.reasons.items()
    ]
    head = (words("reason"), words("meaning"), words("count"))
    parts: list[Html] = [table(words("reasons"), head, reasons, numbers_from=2)]
    if len(rejected.rows) < rejected.total:
        count, total = words.number(len(rejected.rows)), words.number(rejected.total)
        parts.append(element("p", words("rejects_listed", count=count, total=total)))
    rows = [[row["path"], row["reason"], row["detail"]] for row in rejected.rows]
    head = (words("path"), words("reason"), words("detail"))
    listed = table(words("rejects"), head, rows, numbers_from=len(head))
    return join([*parts, element("details", element("summary", words("rejects")), listed)])


def counts(contents: Contents, words: Words) -> Html:
    """Return the run's counts, which must add up, and the photos of the table by label and split."""
    record = contents.record["counts"]
    number = {name: words.number(record[name]) for name in record if isinstance(record[name], int)}
    names = (
        *("listed", "featurized", "rejected", "unchanged", "rejected_before"),
        *("removed", "pruned", "skipped", "rows"),
    )
    rows = [(words(f"count_{name}"), number[name]) for name in names]
    parts: list[Html] = [
        element("p", words("counts_add_up", **number)),
        table(words("counts_of_run"), (words("name"), words("count")), rows),
    ]
    if contents.counts:
        parts.append(_label_table(contents.counts, words))
    return join(parts)


def time_and_cost(contents: Contents, words: Words) -> Html:
    """Return the seconds of each step, the rate, and the cost of the run and of a million photos."""
    record = contents.record
    seconds = {name: value for name, value in record["seconds"].items() if name not in ("total", "report")}
    total = record["seconds"].get("total", 0) - record["seconds"].get("report", 0) or sum(seconds.values())
    rows = [
        (
            words.or_key(name, "step_"),
            words.number(value, 1),
            element("meter", value=value, min=0, max=total, aria_label=words.or_key(name, "step_")),
        )
        for name, value in seconds.items()
    ]
    rows.append((words("until_report"), words.number(total, 1), Html()))
    head = (words("step"), words("seconds"), words("share"))
    rate, hourly = record["photos_per_second"], record.get("settings", {}).get("hourly_cost")
    if hourly is None:
        hourly = record.get("timed_hourly_cost")
    sentences = []
    if record.get("timed_run", record["run_id"]) != record["run_id"]:
        sentences.append(words("timed_run", run=record["timed_run"]))
    if rate:
        hours = words.number(MILLION / rate / 3600, 1)
        sentences.append(words("rate", rate=words.number(rate), cores=record["cores"], hours=hours))
    else:
        sentences.append(words("no_photo_read"))
    if hourly is None:
        sentences.append(words("cost_unknown"))
    else:
        cost = words.number(hourly * total / 3600, 4)
        sentences.append(words("cost_run", hourly=words.number(hourly, 2), run=cost))
        if rate:
            sentences.append(words("cost_million", cost=words.number(MILLION / rate / 3600 * hourly, 2)))
    return join([element("p", " ".join(sentences)), table(words("steps"), head, rows)])


def provenance(contents: Contents, words: Words) -> Html:
    """Return what the output was made from: weights, model, versions and settings."""
    record = contents.record
    classifier = (record.get("classifier") or {}).get("model_id")
    rows = [
        (words("run"), record["run_id"]),
        (words("input"), ", ".join(record["input"])),
        (words("output"), record["output"]),
        (words("network"), record["backbone"]),
        (words("weights"), weights.FINGERPRINT),
        (words("model"), ", ".join(filter(None, [record["model"]["model_id"], classifier]))),
        (words("table_version"), str(record["table_version"])),
    ]
    head = words("name"), words("value")
    parts: list[Html] = [table(words("origins"), head, rows, numbers_from=2)]
    for name in ("settings", "versions"):
        lines = [(key, _value(value, words)) for key, value in record[name].items()]
        content = table(words(name), head, lines, numbers_from=2)
        parts.append(element("details", element("summary", words(name)), content))
    return join(parts)


SECTIONS: Final[dict[str, Section]] = {
    "map": photo_map,
    "scree": scree,
    "accuracy": accuracy,
    "confused": confused,
    "outliers": outliers,
    "duplicates": near_duplicates,
    "rejects": rejects,
    "counts": counts,
    "cost": time_and_cost,
    "provenance": provenance,
}


def _test(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the classifier's figures on photos of Test, if it was tested."""
    test: Mapping[str, Any] | None = (record.get("classifier") or {}).get("test")
    return test


def _value(value: object, words: Words) -> str:
    if value is None:
        return words("not_set")
    if isinstance(value, bool):
        return words("yes" if value else "no")
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _picture(contents: Contents, number: int, words: Words, note: str) -> Html:
    """Return a photo's picture with its label, its split and what it is taken for."""
    photos = contents.photos
    label = photos.labels[number]
    lines = [element("b", label or words("none")), photos.splits[number], note]
    if contents.predicted and photos.predictions is not None and contents.predicted[number] != label:
        share = words.percent(float(photos.predictions.probabilities[number, 0]), 0)
        lines.insert(2, words("taken_for", label=contents.predicted[number], share=share))
    return picture(number, photos.paths[number], join(element("span", line) for line in lines if line))


def _confusion(contents: Contents, confusion: Confusion, words: Words) -> Html:
    title = words(
        "confused_pair",
        actual=confusion.actual,
        predicted=confusion.predicted,
        count=words.number(confusion.count),
        total=words.number(confusion.total),
    )
    pictures = [_picture(contents, number, words, "") for number in confusion.examples]
    if confusion.comparison is not None:
        text = words("for_comparison", label=confusion.predicted)
        path = contents.photos.paths[confusion.comparison]
        pictures.append(picture(confusion.comparison, path, element("span", text)))
    return join([element("h3", title), element("div", *pictures, class_="pictures")])


def _species_table(contents: Contents, words: Words) -> Html:
    """Return the confusion matrix by species, of the most frequent ones; each row adds up."""
    confusion = contents.species_confusion
    totals = Counter[str]()
    for (actual, _), count in confusion.items():
        totals[actual] += count
    names = sorted(name for name, _ in totals.most_common(MOST_SPECIES))
    others = {
        actual: totals[actual] - sum(confusion[actual, predicted] for predicted in names) for actual in names
    }
    rows: list[list[object]] = []
    for actual in names:
        cells = [_cell(confusion[actual, name], totals[actual], name == actual, words) for name in names]
        rows.append([actual, *cells])
        if any(others.values()):
            rows[-1].append(_cell(others[actual], totals[actual], False, words))
    texts = [words("confusion_of", count=words.number(sum(totals.values())))]
    if len(names) < len(totals):
        shown, total = words.number(len(names)), words.number(len(totals))
        texts.append(words("species_shown", shown=shown, total=total))
    head = [words("species"), *names, *([words("species_others")] if any(others.values()) else [])]
    matrix = table(words("confusion_species"), head, rows)
    return join([element("p", " ".join(texts)), element("div", matrix, class_="matrix")])


def _cell(count: int, total: int, is_hit: bool, words: Words) -> Html:
    """Return a number of the confusion matrix, coloured by its share of the row."""
    if not count:
        return Html()
    style = f"--share: {round(100 * count / total)}%"
    return element("span", words.number(count), style=style, class_=f"cell {'hit' if is_hit else 'miss'}")


def _worst_labels(contents: Contents, words: Words) -> Html:
    """Return the labels of which the smallest share of Test photos is recognized."""
    shares = {label: right / total for label, (total, right) in contents.recognized.items() if right < total}
    worst = sorted(shares, key=lambda label: (shares[label], label))[:WORST_SHOWN]
    lines = [
        (label, words.number(contents.recognized[label][0]), words.percent(shares[label])) for label in worst
    ]
    head = words("label"), words("test_photos"), words("recognized")
    return table(words("worst"), head, lines) if lines else Html()


def _label_table(counts_by_key: Mapping[tuple[str, str], int], words: Words) -> Html:
    splits = sorted({split for split, _ in counts_by_key})
    labels = sorted({label for _, label in counts_by_key})
    rows: list[Sequence[object]] = [
        [label or words("none"), *(words.number(counts_by_key.get((split, label), 0)) for split in splits)]
        for label in labels[:MOST_LABELS]
    ]
    sums = [sum(count for (split, _), count in counts_by_key.items() if split == name) for name in splits]
    rows.append([words("total"), *map(words.number, sums)])
    head = [words("label"), *(split or words("none") for split in splits)]
    species = len({species_of(label) for label in labels})
    text = words("label_count", labels=words.number(len(labels)), species=words.number(species))
    return element("details", element("summary", text), table(words("by_label"), head, rows))
