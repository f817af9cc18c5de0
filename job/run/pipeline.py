"""The order of a run's steps, from photos to a committed run; the steps themselves are elsewhere."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from job.cli import exits
from job.cli.log import Log
from job.cli.progress import Progress
from job.cli.settings import Settings
from job.inventory import listing
from job.inventory.listing import Inventory, Source
from job.maths.grouped_moments import TableMoments
from job.model import (
    classifier_refit,
    incremental_moments,
    predictions,
    projection,
    refit,
    saved_classifier,
    saved_model,
    spark_passes,
)
from job.model.classifier import Classifier
from job.model.refit import ChosenModel
from job.network import backbone
from job.photos.decode import Limits
from job.report import page, records
from job.run import checks, featurize, run_record
from job.spark.executor_losses import ExecutorLosses, Loss
from job.storage import residency, store
from job.table import layout, provenance, sweep
from job.table.commits import Action, Snapshot
from job.table.layout import DataFile
from job.table.writer import Writer, exclusive_writer

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
        self.executor_losses: ExecutorLosses | None = None
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
        source = Source(
            settings.inputs,
            settings.output,
            settings.limit,
            settings.manifest,
            settings.regions,
            settings.all_files,
        )
        if not settings.manifest or settings.overwrite:  # a long list is not read twice without need
            listing.check_inputs(source)
        with self.exclusive_writer() as writer:
            current_model_id = self.current_model_id()
            inventory = self.take_inventory(source, writer)
            network = self.load_backbone() if inventory.todo else None
            outcomes = self.featurize(writer, inventory, network) if network is not None else Counter[str]()
            counts = run_record.count(inventory, outcomes, writer.snapshot.rows(layout.FEATURIZED))
            self.check_counts(counts)
            writer.check_ownership()
            moments = self.update_moments(writer)
            model = self.choose_model(moments, current_model_id)
            self.save_model(model)
            rows, projected = self.project(writer, model)
            checks.check_coverage(counts, moments.features.n, rows)
            name = self.record_name(writer)
            classifier = self.classify(writer, moments, name)
            writer.commit()  # makes sure that the table is still this run's
            self.seconds["total"] = round(time.monotonic() - start, 3)
            record = run_record.record(
                settings,
                name,
                writer.snapshot.version,
                inventory,
                counts,
                refit.model_record(model, projected, settings.fit_on),
                classifier,
                self.seconds,
                self.spark,
                self.first_photo,
            )
            self.write_report(writer, record)
            self.seconds["total"] = round(time.monotonic() - start, 3)
            run_record.write(settings.output, name, record)
        return record

    @contextmanager
    def exclusive_writer(self) -> Iterator[Writer]:
        """Be the output's only writer; refuse or overwrite an output that was made from another input."""
        settings, output = self.settings, self.settings.output
        requested = provenance.of_run(settings.inputs, settings.limit)
        is_overwriting = False

        def say(text: str) -> None:
            self.log.info("waiting", text)

        def first_actions(snapshot: Snapshot | None) -> list[Action]:
            nonlocal is_overwriting
            actions = provenance.first_actions(output, snapshot, requested, settings.overwrite)
            # An earlier layout that is still there was not refused: its deletion was broken off.
            is_overwriting = (settings.overwrite and bool(actions)) or provenance.has_earlier_layout(output)
            return actions

        with ExitStack() as stack:
            with provenance.write_errors(output):
                writer = stack.enter_context(
                    exclusive_writer(
                        output, settings.run_id, "run", say, settings.keep_versions, first_actions
                    )
                )
                if is_overwriting:
                    provenance.delete_overwritten_outputs(output)
            yield writer

    def current_model_id(self) -> str:
        """Return the id of the current model; refuse one that must stay but differs from the settings."""
        model_id = sweep.current_model_id(self.settings.output)
        refit.check_settings(self.settings, model_id)
        return model_id

    def take_inventory(self, source: Source, writer: Writer) -> Inventory:
        """List the photos, and compare them with the rows of the table."""
        settings = self.settings
        with self._step("inventory"):
            inventory = listing.take_inventory(
                source,
                writer,
                backbone.name(settings.engine),
                os.cpu_count() or 1,
                settings.wave,
                retry_rejected=settings.retry_rejected,
                prune=settings.prune,
                check_comparison=lambda comparison: checks.check_missing(
                    comparison, settings.prune, settings.max_pruned
                ),
            )
        text = f"{inventory.photos:,} photos listed, {run_record.skipped_text(inventory.skipped_kinds)}"
        if inventory.unchanged or inventory.missing:
            text += f"; {inventory.unchanged:,} unchanged, {inventory.missing:,} not there any more"
        figures = ("photos", "skipped", "bytes", "unchanged", "missing", "todo")
        self.log.info("photos_listed", text, **{name: getattr(inventory, name) for name in figures})
        if not inventory.todo:
            self.log.info("nothing_new", "nothing new: no photo is read")
        checks.check_components(settings.components, inventory.photos + inventory.missing - inventory.pruned)
        return inventory

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
        self.executor_losses = ExecutorLosses(self.spark, self._log_loss)
        cores = self.spark.sparkContext.defaultParallelism
        text = f"Spark {self.spark.version} on {cores} cores"
        self.log.info("spark_ready", text, version=self.spark.version, cores=cores)
        folders = [at for at in (*self.settings.inputs, self.settings.output) if not store.is_s3(at)]
        if folders and not str(self.spark.sparkContext.master).startswith("local"):
            text = f"{', '.join(folders)}: on a cluster, a folder must be mounted on every executor; s3:// is"
            self.log.warning("local_on_a_cluster", text, locations=folders)
        return self.spark

    def featurize(self, writer: Writer, inventory: Inventory, network: backbone.Backbone) -> Counter[str]:
        """Turn photos into checked rows of the table, and count them by reason for rejection."""
        output, spark = self.settings.output, self.start()
        limits = Limits(self.settings.max_photo_bytes, self.settings.max_photo_pixels)
        rows_before = {path: file.rows for path, file in writer.snapshot.files.items()}
        run_tasks, reports = featurize.plan(
            spark, inventory.tasks, output, network, limits, self.settings.run_id, writer.number
        )
        with (
            self._step("featurize"),
            Progress(self.log, inventory.todo, lambda: sum(report.photos for report in reports())),
            writer.committing_reports(reports, spark.sparkContext.cancelAllJobs),
        ):
            run_tasks()
        self.first_photo = min((report.first for report in reports()), default=None)
        with self._step("reconcile"):
            replaced = {path: rows_before[path] for report in reports() for path in report.replaced}
            return spark_passes.outcome_counts(spark, output, inventory.tasks, reports(), replaced)

    def _log_loss(self, loss: Loss) -> None:
        text = f"executor {loss.executor} was lost, and its tasks are repeated: {loss.reason}"
        self.log.warning("executor_lost", text, executor=loss.executor, reason=loss.reason)

    def check_counts(self, counts: run_record.Counts) -> None:
        """Log the counts, and raise DataError if too many photos were rejected."""
        text = f"{counts.featurized:,} photos featurized, {counts.rejected:,} rejected"
        self.log.info("photos_featurized", text, **asdict(counts))
        checks.check_rejected(counts, self.settings.max_rejected, self.settings.output)

    def update_moments(self, writer: Writer) -> TableMoments:
        """Merge the moments of the new rows with the saved moments."""
        output = self.settings.output
        with self._step("moments"):
            moments, is_recomputed = incremental_moments.update(
                output,
                writer.snapshot.files_of(layout.FEATURIZED),
                lambda files: spark_passes.moments(self.start(), output, files),
            )
        if is_recomputed:
            self.log.info("moments_anew", "the moments were summed up anew: the kept ones were of other rows")
        return moments

    def choose_model(self, moments: TableMoments, current_model_id: str) -> ChosenModel:
        """Keep the current model, or fit a new one."""
        with self._step("pca"):
            fitted = refit.fitted_moments(self.settings, moments)
            model = refit.choose_model(self.settings, current_model_id, fitted)
        of_training = " of Training" if self.settings.fit_on == "training" else ""
        text = f"{model.pca.k} components keep {model.variance_kept:.2%} of the variance{of_training}"
        self.log.info(
            "pca_fitted" if model.is_new else "pca_kept",
            text if model.is_new else f"{text}: model {current_model_id} stays",
            components=model.pca.k,
            variance_kept=model.variance_kept,
            model_id=model.pca.model_id,
        )
        return model

    def save_model(self, model: ChosenModel) -> None:
        """Write a new model for Spark and for NumPy."""
        location = self._at(layout.MODELS, model.pca.model_id)
        facts = {**refit.model_settings(self.settings), "run_id": self.settings.run_id}
        with self._step("model"):
            if model.is_new:
                saved_model.save(model.pca, location, facts)

    def project(self, writer: Writer, model: ChosenModel) -> tuple[int, int]:
        """Write the reduced matrix as Parquet and CSV: the new rows, or all rows for a new model."""
        output = self.settings.output
        with self._step("project"):
            return projection.update(
                output,
                writer.snapshot.files_of(layout.FEATURIZED),
                model.pca,
                lambda files: spark_passes.project_files(self.start(), output, files, model.pca),
            )

    def classify(self, writer: Writer, moments: TableMoments, record_name: str) -> dict[str, Any]:
        """Keep or make the classifier, write its predictions, and return its part of the run's record."""
        output, settings = self.settings.output, self.settings
        featurized = writer.snapshot.files_of(layout.FEATURIZED)
        with self._step("classifier"):
            chosen = classifier_refit.choose_classifier(
                output,
                featurized,
                moments,
                backbone.name(settings.engine),
                record_name.removesuffix(".json") + layout.CONFUSION,
                lambda: backbone.load("litert", settings.weights, settings.cache),
            )
        self.log.info("classifier", run_record.classifier_text(chosen.record), **chosen.record)
        photos = settings.classify if settings.classify and chosen.classifier else ""
        if sweep.current_classifier(output)[1] and not photos:
            self.log.info("predictions_deleted", "the predictions are deleted: --classify keeps them")
        if photos and chosen.classifier:
            with self._step("predictions"):
                self._predict(featurized, chosen.classifier, photos)
        writer.check_ownership()  # because the classifiers of others are deleted
        saved_classifier.set_current(output, chosen.record.get("model_id", ""), photos)
        return {**chosen.record, "predictions": photos or None}

    def _predict(self, featurized: list[DataFile], classifier: Classifier, photos: str) -> None:
        """Write the predictions of files that have none of this classifier."""
        output = self.settings.output
        count = predictions.update(
            output,
            featurized,
            classifier.model_id,
            photos,
            lambda files: spark_passes.classify_files(self.start(), output, files, classifier, photos),
        )
        self.log.info("predictions", f"predictions for files of {count:,} photos", photos=count)

    def write_report(self, writer: Writer, record: dict[str, Any]) -> None:
        """Write the page for people, unless it shows this state already; without one, leave no older page.

        A page that cannot be written does not cost the run its record.
        """
        output, language = self.settings.output, self.settings.language
        record["report"] = None
        try:
            if self.settings.no_report:
                store.delete_files([self._at(layout.REPORT)])
                return
            if not page.is_current(output, record, writer.snapshot, language):
                earlier = [] if record["photos_per_second"] else records.read_all(output)
                timed = records.with_times(record, earlier)
                with self._step("report"):
                    size = page.write(output, timed, writer.snapshot, language, writer.commit)
                self.log.info("report", f"{layout.REPORT} of {size / 1e6:.1f} MB", bytes=size)
            record["report"] = layout.REPORT
        except OSError as error:
            reason = error.strerror or str(error)
            action = "deleted" if self.settings.no_report else "written"
            text = f"{layout.REPORT} cannot be {action}: {reason}"
            self.log.warning("no_report", text, error=str(error))
            with suppress(OSError):  # it shows an earlier state
                store.delete_files([self._at(layout.REPORT)])
            writer.commit()  # if this failed, another command may have taken the output over

    def record_name(self, writer: Writer) -> str:
        """Return a free file name: Kubernetes may restart a driver under the same run id."""
        name = f"{layout.RUNS}/{self.settings.run_id}.json"
        records = store.list_files(self._at(layout.RUNS), f"{self.settings.run_id}.json")
        if any(location == self._at(name) for location, _ in records):
            return f"{layout.RUNS}/{self.settings.run_id}.{writer.number}.json"
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
