"""The order of a run's steps, from photos to a committed run; the steps themselves are elsewhere."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from job.cli import exits
from job.cli.log import Log
from job.cli.progress import Progress
from job.cli.settings import Settings
from job.inventory import listing
from job.inventory.listing import Inventory, Source
from job.maths.moments import Moments
from job.model import incremental_moments, passes, projection, refit, saved_model
from job.model.refit import ChosenModel
from job.network import backbone
from job.photos.decode import Limits
from job.run import checks, featurize, run_record
from job.storage import residency, store
from job.table import claim, layout, sweep, writer
from job.table.commits import Action, Snapshot
from job.table.writer import Writer

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class Pipeline:
    """One run of the job.

    `start_spark` is called when there is something to compute, so that a user's mistake is reported at once
    and a run with nothing new starts no Spark. The session is in ``spark`` then, and the caller stops it.
    """

    def __init__(self, settings: Settings, log: Log, start_spark: "Callable[[], SparkSession]") -> None:
        self.settings, self.log, self._start_spark = settings, log, start_spark
        self.spark: SparkSession | None = None
        self.seconds: dict[str, float] = {}
        self.first_photo: float | None = None

    def run(self) -> dict[str, Any]:
        """Run every step in order and return the record of the committed run.

        Raises
        ------
        JobError
            With one sentence; no run record is written.
        """
        start = time.monotonic()
        settings = self.settings
        manifest = [settings.manifest] if settings.manifest else []
        residency.check([*settings.inputs, *manifest, settings.output], settings.regions)
        source = Source(settings.inputs, settings.output, settings.limit, settings.manifest, settings.regions)
        if not settings.manifest or settings.overwrite:  # a long list is not read twice without need
            listing.check_inputs(source)
        with self.writing() as writing:
            current = self.current_model()
            taken = self.take_inventory(source, writing)
            network = self.load_backbone() if taken.todo else None
            found = self.featurize(writing, taken, network) if network is not None else Counter[str]()
            counts = run_record.count(taken, found, writing.snapshot.rows(layout.FEATURIZED))
            self.check_counts(counts)
            writing.check_ownership()
            moments = self.update_moments(writing)
            fitted = self.fit_pca(moments, current)
            self.save_model(fitted)
            rows, projected = self.project(writing, fitted)
            checks.check_coverage(counts, moments.n, rows)
            writing.commit()  # makes sure that the table is still this run's
            self.seconds["total"] = round(time.monotonic() - start, 3)
            name = self.record_name(writing)
            run = run_record.record(
                settings,
                name,
                writing.snapshot.version,
                taken,
                counts,
                refit.model_record(fitted, projected),
                self.seconds,
                self.spark,
                self.first_photo,
            )
            run_record.write(settings.output, name, run)
        return run

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """Be the output's only writer; refuse or overwrite an output that was made from another input."""
        settings, output = self.settings, self.settings.output
        made_from = claim.input_claim(settings.inputs, settings.limit)
        is_overwriting = False

        def say(text: str) -> None:
            self.log.info("waiting", text)

        def admit(found: Snapshot | None) -> list[Action]:
            nonlocal is_overwriting
            actions = claim.admit_run(output, found, made_from, settings.overwrite)
            # An earlier layout that is still there was admitted: its deletion was broken off.
            is_overwriting = (settings.overwrite and bool(actions)) or claim.has_earlier_layout(output)
            return actions

        with ExitStack() as stack:
            with claim.write_errors(output):
                writing = stack.enter_context(
                    writer.exclusive_writer(
                        output, settings.run_id, "run", admit, say, settings.keep_versions
                    )
                )
                if is_overwriting:
                    claim.delete_overwritten_outputs(output)
            yield writing

    def current_model(self) -> str:
        """Return the id of the current model; refuse one that must stay but differs from the settings."""
        current = sweep.current_model_id(self.settings.output)
        refit.check_settings(self.settings, current)
        return current

    def take_inventory(self, source: Source, writing: Writer) -> Inventory:
        """List the photos, and compare them with the rows of the table."""
        settings = self.settings
        with self._step("inventory"):
            taken = listing.take_inventory(
                source,
                writing,
                backbone.name(settings.engine),
                os.cpu_count() or 1,
                settings.wave,
                retry_rejected=settings.retry_rejected,
                prune=settings.prune,
                admit=lambda found: checks.check_missing(found, settings.prune, settings.max_pruned),
            )
        text = f"{taken.photos:,} photos listed, {taken.skipped:,} other files skipped"
        if taken.unchanged or taken.missing:
            text += f"; {taken.unchanged:,} unchanged, {taken.missing:,} not there any more"
        figures = ("photos", "skipped", "bytes", "unchanged", "missing", "todo")
        self.log.info("photos_listed", text, **{name: getattr(taken, name) for name in figures})
        if not taken.todo:
            self.log.info("nothing_new", "nothing new: no photo is read, and no network loaded")
        checks.check_components(settings.components, taken.photos + taken.missing - taken.pruned)
        return taken

    def load_backbone(self) -> backbone.Backbone:
        """Get, verify and convert the network."""
        with self._step("backbone"):
            network = backbone.load(self.settings.engine, self.settings.weights, self.settings.cache)
        text = f"network from {network.source}"
        self.log.info("backbone_ready", text, backbone=network.name, source=network.source)
        return network

    def start(self) -> "SparkSession":
        """Return the Spark session; start it on the first call."""
        if self.spark is not None:
            return self.spark
        with self._step("spark"):
            self.spark = self._start_spark()
        cores = self.spark.sparkContext.defaultParallelism
        text = f"Spark {self.spark.version} on {cores} cores"
        self.log.info("spark_ready", text, version=self.spark.version, cores=cores)
        local = [at for at in (*self.settings.inputs, self.settings.output) if not store.is_s3(at)]
        if local and not str(self.spark.sparkContext.master).startswith("local"):
            text = f"{', '.join(local)}: on a cluster, a folder must be mounted on every executor; s3:// is"
            self.log.warning("local_on_a_cluster", text, locations=local)
        return self.spark

    def featurize(self, writing: Writer, taken: Inventory, network: backbone.Backbone) -> Counter[str]:
        """Turn photos into checked rows of the table, and count them by reason for rejection."""
        where, spark = self.settings.output, self.start()
        limits = Limits(self.settings.max_photo_bytes, self.settings.max_photo_pixels)
        before = {path: file.rows for path, file in writing.snapshot.files.items()}
        run_id, number = self.settings.run_id, writing.number
        work, reports = featurize.plan(spark, taken.tasks, where, network, limits, run_id, number)
        with (
            self._step("featurize"),
            Progress(self.log, taken.todo, lambda: sum(report.photos for report in reports())),
            writing.committing_reports(reports, spark.sparkContext.cancelAllJobs),
        ):
            work()
        self.first_photo = min((report.first for report in reports()), default=None)
        with self._step("reconcile"):
            replaced = {path: before[path] for one in reports() for path in one.replaced}
            return passes.outcome_counts(spark, where, taken.tasks, reports(), replaced)

    def check_counts(self, counts: run_record.Counts) -> None:
        """Log the counts, and raise DataError if too many photos were rejected."""
        text = f"{counts.featurized:,} photos featurized, {counts.rejected:,} rejected"
        self.log.info("photos_featurized", text, **asdict(counts))
        checks.check_rejected(counts, self.settings.max_rejected, self.settings.output)

    def update_moments(self, writing: Writer) -> Moments:
        """Merge the moments of the new rows with the saved moments."""
        output = self.settings.output
        with self._step("moments"):
            moments, anew = incremental_moments.update(
                output,
                writing.snapshot.files_of(layout.FEATURIZED),
                lambda files: passes.moments(self.start(), output, files),
            )
        if anew:
            self.log.info("moments_anew", "the moments were summed up anew: the kept ones were of other rows")
        return moments

    def fit_pca(self, moments: Moments, current: str) -> ChosenModel:
        """Keep the current model, or fit a new one."""
        with self._step("pca"):
            fitted = refit.choose_model(self.settings, current, moments)
        text = f"{fitted.pca.k} components keep {fitted.variance_kept:.2%} of the variance"
        self.log.info(
            "pca_fitted" if fitted.is_new else "pca_kept",
            text if fitted.is_new else f"{text}: model {current} stays",
            components=fitted.pca.k,
            variance_kept=fitted.variance_kept,
            model_id=fitted.pca.model_id,
        )
        return fitted

    def save_model(self, fitted: ChosenModel) -> None:
        """Write a new model for Spark and for NumPy."""
        location = self._at(layout.MODELS, fitted.pca.model_id)
        facts = {**refit.model_settings(self.settings), "run_id": self.settings.run_id}
        with self._step("model"):
            if fitted.is_new:
                saved_model.save(fitted.pca, location, facts)

    def project(self, writing: Writer, fitted: ChosenModel) -> tuple[int, int]:
        """Write the reduced matrix as Parquet and CSV: the new rows, or all rows for a new model."""
        output = self.settings.output
        with self._step("project"):
            return projection.update(
                output,
                writing.snapshot.files_of(layout.FEATURIZED),
                fitted.pca,
                lambda files: passes.project_files(self.start(), output, files, fitted.pca),
            )

    def record_name(self, writing: Writer) -> str:
        """Return a free file name: Kubernetes may restart a driver under the same run id."""
        name = f"{layout.RUNS}/{self.settings.run_id}.json"
        taken = store.list_files(self._at(layout.RUNS), f"{self.settings.run_id}.json")
        if any(location == self._at(name) for location, _ in taken):
            return f"{layout.RUNS}/{self.settings.run_id}.{writing.number}.json"
        return name

    def _at(self, *names: str) -> str:
        return store.join(self.settings.output, *names)

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        exits.raise_if_interrupted()
        start = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - start, 3)
        exits.raise_if_interrupted()
