"""Measure (n): the answers of the job's classifier, as a table in the details of the measurement."""

from collections.abc import Iterable, Mapping
from statistics import mean
from typing import Any, Final

from scripts.bench.figures import Measurement
from scripts.bench.runs import Bench
from scripts.bench.targets import measurement

COLUMNS: Final = {
    "known": "known",
    "unsure": "unsure",
    "unlike": "unlike",
    "label_right": "label",
    "species_right": "species",
    "known_wrong": "known wrong",
}
LEGEND: Final = (
    "in %: three states of an answer; right labels and species, whatever the state; known by a wrong label"
)


def recognition(bench: Bench) -> Measurement:
    """Measure (n): the share of photos of Test whose most probable label is right."""
    output, sizes = bench.known_output(), bench.sizes
    bench.say("(n) the classifier, on what it knows and on what it does not")
    flags = ["--cache", bench.cache, "--photos", sizes.changed_photos, "--varieties", sizes.varieties]
    result = bench.run_script("classifier", output, *flags).result()
    ours = 100 * result["test"]["label_right"]
    return measurement("n", "%", ours=ours, detail=details(result), figures=result)


def details(result: Mapping[str, Any]) -> str:
    """Return a classifier's figures as a table with sentences around it."""
    test, species, varieties = (result[name] for name in ("test", "unknown_species", "unknown_varieties"))
    rows = {
        "Test": test,
        f"unknown species ({len(species)})": means(species.values()),
        f"unknown varieties ({len(varieties)})": means(varieties.values()),
        **result["changed"],
    }
    width = max(map(len, rows))
    lines = [
        f"{result['training_photos']:,} photos of {result['labels']} labels fitted in "
        f"{result['fit_seconds']:.1f} s; {1e6 * result['predict_seconds']:.0f} µs a photo; "
        f"npz of {result['bytes'] / 1000:,.0f} kB; "
        f"calibration error {test['calibration_error']:.1%}",
        f"{'':<{width}}  photos  " + "  ".join(COLUMNS.values()),
    ]
    for name, figures in rows.items():
        cells = (f"{100 * figures[column]:.1f}" if column in figures else "-" for column in COLUMNS)
        aligned = (cell.rjust(len(title)) for cell, title in zip(cells, COLUMNS.values(), strict=True))
        lines.append(f"{name:<{width}}  {figures['photos']:>6,.0f}  " + "  ".join(aligned))
    lines.append(LEGEND)
    if species:
        aurocs = {name: figures["auroc"] for name, figures in species.items()}
        refused = {name: figures["unlike"] for name, figures in species.items()}
        least, hardest = min(refused, key=refused.__getitem__), min(aurocs, key=aurocs.__getitem__)
        lines.append(
            f"unknown species: refused least {least}, {refused[least]:.1%}; AUROC of the distance "
            f"{mean(aurocs.values()):.3f}, least {hardest}, {aurocs[hardest]:.3f}"
        )
    return "\n".join(lines)


def means(groups: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each share over groups of photos that count alike, and the number of all photos."""
    several = list(groups)
    names = several[0] if several else ()
    return {name: mean(figures[name] for figures in several) for name in names} | {
        "photos": sum(figures["photos"] for figures in several)
    }
