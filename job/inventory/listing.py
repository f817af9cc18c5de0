"""The first step of a run: list the photos, compare them with the table, and write the tasks.

Photos are a stream sorted by path throughout, so the driver never holds a list of all photos.
"""

import heapq
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from operator import attrgetter
from typing import Final

from job.errors import DataError, JobError, UsageError
from job.inventory import manifest as manifests
from job.inventory import skipped_files, tasks
from job.inventory.comparison import Comparison
from job.inventory.folder_listing import ListedFile, folder_files
from job.inventory.skipped_files import APPLE_DOUBLE, SkippedFiles
from job.inventory.tasks import Photo, Tasks
from job.storage import residency, s3, store
from job.table import layout, path_lists, removal
from job.table.writer import Writer

APPLE_DOUBLES_AHEAD: Final = 32  # the most files that are read at once to tell whether they are AppleDouble


@dataclass(frozen=True, slots=True)
class Source:
    """The photos to list.

    Attributes
    ----------
    inputs : tuple of str
        Folders and ``s3://`` prefixes; a photo in two of them is listed once.
    output : str
        The run's output, whose files are neither listed nor counted.
    limit : int or None
        The largest number of photos, in order of their paths.
    manifest : str or None
        A list of photos to read instead of listing `inputs`; if there are inputs, only photos below them.
    regions : tuple of str
        Accepted regions of the buckets in the manifest.
    all_files : bool
        Take every file for a photo, whatever its name.
    """

    inputs: tuple[str, ...]
    output: str
    limit: int | None = None
    manifest: str | None = None
    regions: tuple[str, ...] = ()
    all_files: bool = False


@dataclass(frozen=True, slots=True)
class Inventory:
    """The result of the listing and the comparison, and the tasks.

    Attributes
    ----------
    photos, bytes : int
        Photos listed, and their bytes.
    skipped_kinds : dict
        Numbers of skipped files by kind, the largest first.
    unchanged, unchanged_rejected : int
        Photos whose rows are up to date, and the rejected ones among these.
    missing : int
        Photos in the table that are no longer listed.
    pruned : int
        The number of these that were removed from the table.
    tasks : Tasks
        The tasks of the photos to be processed.
    """

    photos: int
    bytes: int
    skipped_kinds: dict[str, int]
    unchanged: int
    unchanged_rejected: int
    missing: int
    pruned: int
    tasks: Tasks

    @property
    def skipped(self) -> int:
        """The number of files that were not taken for photos."""
        return sum(self.skipped_kinds.values())

    @property
    def todo(self) -> int:
        """The number of photos to be processed."""
        return self.tasks.photos


class Listing:
    """The photos of a source, each once, sorted by path.

    Iterating also counts photos and bytes, and collects the skipped files. It raises a UsageError if an input
    is missing, is not a folder, may not be read or lies in the output, and a DataError if there is no photo.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.photos = self.bytes = 0
        self.skipped = SkippedFiles()

    def __iter__(self) -> Iterator[ListedFile]:
        for listed in islice(self._photos(), self._source.limit):
            self.photos += 1
            self.bytes += listed.bytes
            yield listed
        if not self.photos:
            raise DataError(self._nothing_found())

    def _nothing_found(self) -> str:
        where = ", ".join(self._source.inputs) or str(self._source.manifest)
        if not self.skipped.counts:
            return f"no photos in {where}: there is no file"
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in self.skipped.counts.most_common(5))
        return f"no photos in {where}: all files are skipped by name ({kinds}); --all-files takes them"

    def _photos(self) -> Iterator[ListedFile]:
        source = self._source
        seen: set[str] = set()
        if source.manifest is not None:
            streams = [_manifest_photos(source, source.manifest)]
        else:
            streams = [_input_files(location, source, seen) for location in source.inputs]
        previous: ListedFile | None = None
        for listed in chain(heapq.merge(*streams, key=attrgetter("path")), [None]):
            if previous is not None and listed is not None and listed.path <= previous.path:
                if listed.path < previous.path:
                    raise JobError(
                        f"{listed.path} is listed out of order: S3 directory buckets cannot be an input"
                    )
                if not previous.skip_kind:  # a folder of litter may be an input of its own
                    continue
            elif previous is not None and previous.skip_kind:
                self.skipped.add(previous.path, previous.skip_kind)
            elif previous is not None:
                yield previous
            previous = listed


def check_inputs(source: Source) -> None:
    """Check that there is a photo to read, before anything is written or overwritten.

    Merging opens every input, so each one is checked. Raises as :class:`Listing` does.
    """
    next(iter(Listing(source)))


def take_inventory(
    source: Source,
    writer: Writer,
    backbone: str,
    cores: int,
    most_photos: int,
    *,
    retry_rejected: bool = False,
    prune: bool = False,
    check_comparison: Callable[[Comparison], object] = lambda _: None,
) -> Inventory:
    """List photos, compare them with the table, prune it if asked, and write tasks for those to be processed.

    Parameters
    ----------
    backbone : str
        Name of this run's network and decoder.
    cores : int
        Tasks that can run at once.
    most_photos : int
        Most photos in a task.
    retry_rejected, prune : bool
        Process rejected photos again; remove photos from the table that are no longer listed.
    check_comparison : callable
        Called with the comparison before the table changes; may raise.

    Raises
    ------
    UsageError, DataError
        As :class:`Listing` does.
    """
    listing, output = Listing(source), writer.output
    with Comparison(listing, output, writer.snapshot, backbone, retry_rejected) as comparison:
        check_comparison(comparison)
        pruned = removal.remove_photos(writer, _missing_by_file(comparison)) if prune else {}
        changed = (Photo(photo, pruned.get(file.path) or file) for photo, file in comparison.changed_photos())
        location = store.join(output, layout.TASKS, str(writer.number))
        written_tasks = tasks.write(comparison.new_photos(), changed, location, cores, most_photos)
        path_lists.write(writer, layout.MISSING, [] if prune else comparison.missing_photos())
        path_lists.write(writer, layout.SKIPPED, listing.skipped.batches())
        return Inventory(
            photos=listing.photos,
            bytes=listing.bytes,
            skipped_kinds=dict(listing.skipped.counts.most_common()),
            unchanged=comparison.unchanged,
            unchanged_rejected=comparison.unchanged_rejected,
            missing=comparison.missing,
            pruned=comparison.missing if prune else 0,
            tasks=written_tasks,
        )


def _missing_by_file(comparison: Comparison) -> dict[str, list[str]]:
    """Return the photos that are no longer listed, by data file."""
    paths_by_file: defaultdict[str, list[str]] = defaultdict(list)
    for batch in comparison.missing_photos():
        for path, file in zip(batch["path"].to_pylist(), batch["file"].to_pylist(), strict=True):
            paths_by_file[file].append(path)
    return paths_by_file


def _judge_names(files: Iterable[ListedFile], name_of: Callable[[str], str]) -> Iterator[ListedFile]:
    """Set which files are skipped, by their names below the input, from `name_of`; the order stays.

    Files that may be AppleDouble are read, many at once, because on S3 each is a request.
    """
    window: deque[tuple[ListedFile, Future[bool] | None]] = deque()
    pool = ThreadPoolExecutor(APPLE_DOUBLES_AHEAD)
    try:
        for file in files:
            kind = file.skip_kind or skipped_files.skip_kind(name_of(file.path))
            judged = file._replace(skip_kind=kind) if kind else file
            is_doubtful = not kind and skipped_files.may_be_apple_double(file.path)
            if not window and not is_doubtful:
                yield judged
                continue
            check = pool.submit(skipped_files.is_apple_double, file.path) if is_doubtful else None
            window.append((judged, check))
            while window and (window[0][1] is None or len(window) > APPLE_DOUBLES_AHEAD):
                yield _judged(*window.popleft())
        for judgement in window:
            yield _judged(*judgement)
    finally:
        pool.shutdown(cancel_futures=True)


def _judged(file: ListedFile, apple_double: "Future[bool] | None") -> ListedFile:
    is_litter = apple_double is not None and apple_double.result()
    return file._replace(skip_kind=APPLE_DOUBLE) if is_litter else file


def _input_files(location: str, source: Source, seen: set[str]) -> Iterator[ListedFile]:
    """List an input, sorted by path as it stands in tables."""
    start = len(location.rstrip("/")) + 1
    if store.is_s3(location):
        files = _objects(location, source.output)
    elif source.all_files:
        files = folder_files(location, source.output, seen)
    else:
        files = folder_files(location, source.output, seen, skipped_files.is_litter)
    if not source.all_files:
        files = _judge_names(files, lambda path: path[start:])
    return files if store.is_s3(location) else _sorted_by_path(files)


def _objects(location: str, output: str) -> Iterator[ListedFile]:
    own = f"{output}/"
    if f"{location}/".startswith(own):
        raise UsageError(f"input {location} is in the output {output}: choose another --output")
    is_empty = True
    for name, size, etag, modified in s3.list_objects(location):
        is_empty = False
        if name.startswith(own) or (not size and name.endswith("/")):  # a folder's marker in S3
            continue
        yield ListedFile(name, size, etag, modified)  # type: ignore[arg-type]
    if is_empty:
        raise DataError(f"nothing in {location}: check the bucket and the prefix")


def _manifest_photos(source: Source, manifest: str) -> Iterator[ListedFile]:
    """Read a manifest, without photos in the output; an S3 Inventory also names files that are no photos."""
    own = f"{source.output}/"
    photos = manifests.read(manifest, source.inputs, lambda bucket: residency.check([bucket], source.regions))
    files = (listed for listed in photos if not listed.path.startswith(own))
    if not manifest.endswith("/manifest.json") or source.all_files:
        return _sorted_by_path(files)
    starts = [f"{location.rstrip('/')}/" for location in source.inputs]

    def name_below_input(path: str) -> str:
        start = next((start for start in starts if path.startswith(start)), "")
        return path.removeprefix(start) if start else s3.split(path)[1]

    return _sorted_by_path(_judge_names(files, name_below_input))


def _sorted_by_path(files: Iterable[ListedFile]) -> Iterator[ListedFile]:
    """Replace paths that are not UTF-8 by URIs, which sort after all paths of folders."""
    renamed: list[ListedFile] = []
    for file in files:
        path = store.printable(file.path)
        if path is not file.path:
            renamed.append(file._replace(path=path))
            continue
        if renamed and store.is_s3(path):
            yield from sorted(renamed)
            renamed.clear()
        yield file
    yield from sorted(renamed)
