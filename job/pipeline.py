"""The order of the steps, and nothing else: from photos to a committed run."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from job import (
    backbone,
    checks,
    coverage,
    drops,
    featurize,
    identity,
    inventory,
    matrix,
    models,
    output,
    refit,
    report,
    residency,
    store,
    summing,
    tables,
)
from job.compare import Comparison
from job.decode import Limits
from job.inventory import Inventory, Source
from job.known import Known
from job.lock import Held
from job.log import Log
from job.moments import Moments
from job.progress import Progress
from job.refit import Fitted, Wanted
from job.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class Pipeline:
    """One run of the job.

    Parameters
    ----------
    settings : Settings
    log : Log
    start_spark : callable
        Returns the session; called once there is something to compute, so that what a user got wrong is told
        at once, and a run with nothing new does without.

    Attributes
    ----------
    spark : SparkSession or None
        The session, once it is started; whoever made the pipeline stops it.
    """

    def __init__(self, settings: Settings, log: Log, start_spark: "Callable[[], SparkSession]") -> None:
        self.settings, self.log, self._start_spark = settings, log, start_spark
        self.wanted = Wanted(settings.components, settings.variance, settings.standardize)
        self.spark: SparkSession | None = None
        self.seconds: dict[str, float] = {}
        self.first_photo: float | None = None

    def run(self) -> dict[str, Any]:
        """Run every step in order and return the record of the committed run.

        Raises
        ------
        JobError
            With one sentence; nothing is committed then.
        """
        start = time.monotonic()
        settings = self.settings
        manifest = [settings.manifest] if settings.manifest else []
        residency.check([*settings.inputs, *manifest, settings.output], settings.regions)
        source = Source(settings.inputs, settings.output, settings.limit, settings.manifest, settings.regions)
        if not settings.manifest or settings.overwrite:  # a long list is not read twice without need
            inventory.check(source)
        with output.opened(settings.output, settings.run_id, "run", self._say) as held:
            made_from = {"inputs": list(settings.inputs), "limit": settings.limit}
            was_free = output.claim(settings.output, made_from, settings.overwrite)
            try:
                self.check_refit()
                known, attempt, taken = self.take_inventory(source)
                network = self.load_backbone() if taken.todo else None
                if network is not None:
                    self.start()
            except BaseException:
                if was_free:  # a mistyped input must not keep the right one out
                    store.delete_tree(self._at(store.INVENTORY, settings.run_id))
                    output.release(settings.output)
                raise
            held.check()
            dropped = drops.drop(settings.output, taken.drop(settings.prune))
            found = self.featurize(held, taken, network, attempt) if network is not None else Counter[str]()
            counts = report.count(taken, found, settings.prune)
            self.tell(counts)
            held.check()
            changes = summing.changes(known, taken, dropped, attempt)
            moments = self.sum_up(changes, counts.rows)
            fitted = self.fit_pca(moments)
            held.check()
            self.save_model(fitted)
            rows, projected = self.project(fitted)
            checks.check_same(counts, moments.n, rows)
            self.seconds["total"] = round(time.monotonic() - start, 3)
            model = refit.told(fitted, projected)
            run = report.record(
                settings, attempt, taken, counts, model, self.seconds, self.spark, self.first_photo
            )
            held.check()
            output.commit(settings.output, attempt, run)
        return run

    def check_refit(self) -> None:
        """Refuse at once a model that is to stay and is another than what is asked for."""
        settings, current = self.settings, coverage.load_matrix(self.settings.output).model_id
        network = identity.name(settings.engine)
        refit.check(settings.output, current, self.wanted, network, settings.refit)

    def take_inventory(self, source: Source) -> tuple[Known, str, Inventory]:
        """List the photos, and compare them with those that are known."""
        settings = self.settings
        with self._step("inventory"):
            known = Known(settings.output, identity.name(settings.engine))
            comparison = Comparison(known, settings.retry_rejected)
            attempt = tables.attempt(settings.run_id, [*known.features, *known.rejected])
            location = self._at(store.INVENTORY, attempt)
            taken = inventory.take(source, location, os.cpu_count() or 1, settings.wave, comparison)
        text = f"{taken.photos:,} photos listed, {taken.skipped:,} other files skipped"
        if taken.unchanged or taken.removed:
            text += f"; {taken.unchanged:,} unchanged, {taken.removed:,} not there any more"
        figures = ("photos", "skipped", "bytes", "unchanged", "removed", "todo")
        self.log.info("photos_listed", text, **{name: getattr(taken, name) for name in figures})
        if not taken.todo:
            self.log.info("nothing_new", "nothing new: no photo is read, and no network loaded")
        checks.check_components(settings.components, taken)
        checks.check_removed(taken, settings.prune, settings.max_pruned)
        return known, attempt, taken

    def load_backbone(self) -> backbone.Backbone:
        """Get, verify and convert the network."""
        with self._step("backbone"):
            network = backbone.load(self.settings.engine, self.settings.weights, self.settings.cache)
        text = f"network from {network.source}"
        self.log.info("backbone_ready", text, backbone=network.name, source=network.source)
        return network

    def start(self) -> "SparkSession":
        """Start Spark, unless it is started."""
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

    def featurize(
        self, held: Held, taken: Inventory, network: backbone.Backbone, attempt: str
    ) -> Counter[str]:
        """Turn photos into ``features`` and ``rejected``, each read and inferred once; check them."""
        where, spark = self.settings.output, self.start()
        limits = Limits(self.settings.max_photo_bytes, self.settings.max_photo_pixels)
        held.check()
        work, done = featurize.plan(spark, taken.tasks, where, network, limits, held, attempt)
        with self._step("featurize"), Progress(self.log, taken.todo, done.photos):
            work()
        self.first_photo = done.first()
        with self._step("reconcile"):
            return report.outcomes(spark, where, taken.tasks, attempt)

    def tell(self, counts: report.Counts) -> None:
        """Say what became of the photos, and end here if too many are bad."""
        for table, schema in ((store.FEATURES_TABLE, store.FEATURES), (store.REJECTED_TABLE, store.REJECTED)):
            if next(store.list_files(self._at(table)), None) is None:
                tables.write_empty(self._at(table), schema, self.settings.run_id)
        text = f"{counts.featurized:,} photos featurized, {counts.rejected:,} rejected"
        self.log.info("photos_featurized", text, **asdict(counts))
        checks.check_rejected(counts, self.settings.max_rejected, self.settings.output)

    def sum_up(self, changes: summing.Changes, rows: int) -> Moments:
        """Merge the moments of what is new with those that are known."""
        with self._step("moments"):
            moments, anew = summing.sum_up(self.start, self.settings.output, changes, rows)
        if anew:
            self.log.info("moments_anew", "the moments were summed up anew: the kept ones were of other rows")
        store.delete_tree(self._at(store.REPLACED))
        return moments

    def fit_pca(self, moments: Moments) -> Fitted:
        """Keep the model that there is, or solve for the components."""
        settings = self.settings
        current = coverage.load_matrix(settings.output).model_id
        with self._step("pca"):
            fitted = refit.choose(
                settings.output,
                current,
                moments,
                self.wanted,
                identity.name(settings.engine),
                settings.refit,
                settings.max_variance_loss,
            )
        text = f"{fitted.pca.k} components keep {fitted.kept_now:.2%} of the variance"
        self.log.info(
            "pca_fitted" if fitted.is_new else "pca_kept",
            text if fitted.is_new else f"{text}: model {current} stays",
            components=fitted.pca.k,
            variance_kept=fitted.kept_now,
            model_id=fitted.pca.model_id,
        )
        return fitted

    def save_model(self, fitted: Fitted) -> None:
        """Write a new model for Spark and for NumPy."""
        location = self._at(store.MODELS, fitted.pca.model_id)
        facts = {"backbone": fitted.backbone, "wanted": fitted.wanted, "run_id": self.settings.run_id}
        with self._step("model"):
            if fitted.is_new:
                models.save(fitted.pca, location, facts)

    def project(self, fitted: Fitted) -> tuple[int, int]:
        """Write the reduced matrix, as Parquet and as CSV: what is new, or all of it for a new model."""
        with self._step("project"):
            return matrix.write(self.start, self.settings.output, fitted.pca)

    def _say(self, text: str) -> None:
        self.log.info("lock", text)

    def _at(self, *names: str) -> str:
        return store.join(self.settings.output, *names)

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(time.monotonic() - start, 3)
