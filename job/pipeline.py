"""The order of the steps, and nothing else: from photos to a committed run."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from job import (
    backbone,
    featurize,
    inventory,
    models,
    output,
    passes,
    pca,
    report,
    residency,
    store,
    tables,
)
from job.decode import Limits
from job.errors import UsageError
from job.log import Log
from job.progress import Progress
from job.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from job.pca import Pca


class Pipeline:
    """One run of the job.

    Parameters
    ----------
    settings : Settings
    log : Log
    start_spark : callable
        Returns the session; called once there are photos and a network, so that what a user got wrong is told
        at once.

    Attributes
    ----------
    spark : SparkSession or None
        The session, once it is started; whoever made the pipeline stops it.
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
            With one sentence; nothing is committed then.
        """
        start = time.monotonic()
        settings = self.settings
        residency.check([*settings.inputs, settings.output], settings.regions)
        inventory.check(settings.inputs, settings.output)
        made_from = {"inputs": list(settings.inputs), "limit": settings.limit}
        was_free = output.claim(settings.output, made_from, settings.overwrite)
        try:
            taken = self.take_inventory()
            network = self.load_backbone()
            spark = self.start()
        except BaseException:
            if was_free:  # a mistyped input must not keep the right one out
                store.delete_tree(self._at(store.INVENTORY, settings.run_id))
                output.release(settings.output)
            raise
        self.featurize(spark, taken, network)
        counts, files = self.reconcile(spark, taken)
        model = self.fit_pca(spark, files)
        self.save_model(spark, model, network)
        projected = self.project(spark, files, model)
        report.check_same(counts, model.n, projected)
        self.seconds["total"] = round(time.monotonic() - start, 3)
        run = report.record(
            settings, spark, network.name, taken, counts, model, self.seconds, self.first_photo
        )
        output.commit(settings.output, settings.run_id, run)
        return run

    def take_inventory(self) -> inventory.Inventory:
        """List the photos."""
        settings = self.settings
        with self._step("inventory"):
            taken = inventory.take(
                settings.inputs,
                self._at(store.INVENTORY, settings.run_id),
                os.cpu_count() or 1,
                settings.limit,
                settings.output,
            )
        text = f"{taken.photos:,} photos listed, {taken.skipped:,} other files skipped"
        self.log.info("photos_listed", text, photos=taken.photos, skipped=taken.skipped, bytes=taken.bytes)
        most = min(backbone.FEATURES, taken.photos - 1)
        if settings.components is not None and settings.components > most:
            raise UsageError(
                f"--components {settings.components} is more than the rank of the features, "
                f"which is at most {most} for {taken.photos:,} photos"
            )
        return taken

    def load_backbone(self) -> backbone.Backbone:
        """Get, verify and convert the network."""
        with self._step("backbone"):
            network = backbone.load(self.settings.engine, self.settings.weights, self.settings.cache)
        text = f"network from {network.source}"
        self.log.info("backbone_ready", text, backbone=network.name, source=network.source)
        return network

    def start(self) -> "SparkSession":
        """Start Spark."""
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
        self, spark: "SparkSession", taken: inventory.Inventory, network: backbone.Backbone
    ) -> None:
        """Turn photos into ``features`` and ``rejected``, each photo read and inferred once."""
        where, run_id = self.settings.output, self.settings.run_id
        limits = Limits(self.settings.max_photo_bytes, self.settings.max_photo_pixels)
        output.clear(where)
        work, done = featurize.plan(spark, taken, where, network, limits, run_id)
        with self._step("featurize"), Progress(self.log, taken.photos, done.photos):
            work()
        for table, schema in ((store.FEATURES_TABLE, store.FEATURES), (store.REJECTED_TABLE, store.REJECTED)):
            if next(store.list_files(self._at(table)), None) is None:
                tables.write_empty(self._at(table), schema, run_id)
        self.first_photo = done.first()

    def reconcile(self, spark: "SparkSession", taken: inventory.Inventory) -> tuple[report.Counts, list[str]]:
        """Check that every listed photo is in exactly one table, and that not too many are bad."""
        with self._step("reconcile"):
            counts, files = report.reconcile(spark, self.settings.output, taken, self.settings.run_id)
        text = f"{counts.featurized:,} photos featurized, {counts.rejected:,} rejected"
        self.log.info("photos_featurized", text, featurized=counts.featurized, rejected=counts.rejected)
        report.check_rejected(counts, self.settings.max_rejected, self.settings.output)
        return counts, files

    def fit_pca(self, spark: "SparkSession", files: list[str]) -> "Pca":
        """Sum up the moments in one pass over the features, and solve for the components."""
        settings = self.settings
        with self._step("moments"):
            moments = passes.moments(spark, files)
        with self._step("pca"):
            model = pca.fit(moments, settings.components, settings.variance, settings.standardize)
        kept = float(model.explained_variance_ratio.sum())
        text = f"{model.k} components keep {kept:.2%} of the variance"
        self.log.info("pca_fitted", text, components=model.k, variance_kept=kept, model_id=model.model_id)
        return model

    def save_model(self, spark: "SparkSession", model: "Pca", network: backbone.Backbone) -> None:
        """Write the model for Spark and for NumPy."""
        location = self._at(store.MODELS, model.model_id)
        facts = {"backbone": network.name, "run_id": self.settings.run_id}
        with self._step("model"):
            models.save(model, location, spark, facts)

    def project(self, spark: "SparkSession", files: list[str], model: "Pca") -> int:
        """Write the reduced matrix, as Parquet and as CSV."""
        with self._step("project"):
            return passes.project(spark, files, self.settings.output, model, self.settings.run_id)

    def _at(self, *names: str) -> str:
        return store.join(self.settings.output, *names)

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(time.monotonic() - start, 3)
