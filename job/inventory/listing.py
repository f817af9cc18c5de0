"""The first step: list the photos, compare them with those of the table, and cut what is left into tasks.

The listing is a stream in order of the paths, and stays one: no list of photos ever has to fit in the driver.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from typing import Final

from job.errors import DataError, JobError, UsageError
from job.inventory import manifest as manifests
from job.inventory import tasks
from job.inventory.comparison import Comparison
from job.inventory.folders import ListedFile, walk
from job.inventory.tasks import Photo, Tasks
from job.storage import residency, s3, store
from job.table import layout, missing, removal
from job.table.writer import Writer

PHOTO_ENDINGS: Final = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True, slots=True)
class Source:
    """What is listed.

    Attributes
    ----------
    inputs : tuple of str
        Folders and ``s3://`` prefixes; a photo that two of them hold is listed once.
    without : str
        A location whose files are neither listed nor counted: the run's own output.
    limit : int or None
        Only the first so many photos, in order of their paths.
    manifest : str or None
        A list to be read instead of listing `inputs`; of it, only what is below one of them counts.
    regions : tuple of str
        Where the buckets that the list names may be.
    """

    inputs: tuple[str, ...]
    without: str
    limit: int | None = None
    manifest: str | None = None
    regions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Inventory:
    """What was listed, and what of it there is to do.

    Attributes
    ----------
    photos, skipped, bytes : int
        Photos listed, other files beside them, and the photos' bytes.
    unchanged, unchanged_rejected : int
        Photos that are known as they are; the second, of those, the ones known to be bad.
    missing : int
        Photos that are known and not listed any more.
    pruned : int
        How many of them were taken out of the table.
    tasks : Tasks
        Of the photos to be judged.
    """

    photos: int
    skipped: int
    bytes: int
    unchanged: int
    unchanged_rejected: int
    missing: int
    pruned: int
    tasks: Tasks

    @property
    def todo(self) -> int:
        """The photos to be read."""
        return self.tasks.photos


class Listing:
    """The photos of a source, each once, in order of their paths, and counts of what went by.

    Iterated, it raises a UsageError if an input is missing, is not a folder, may not be read, or lies in the
    output, and a DataError if there is no photo.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.photos = self.bytes = self.skipped = 0

    def __iter__(self) -> Iterator[ListedFile]:
        for listed in islice(self._photos(), self._source.limit):
            self.photos += 1
            self.bytes += listed.bytes
            yield listed
        if not self.photos:
            where = ", ".join(self._source.inputs) or str(self._source.manifest)
            endings = ", ".join(PHOTO_ENDINGS)
            raise DataError(f"no photos in {where}: none of {self.skipped:,} files ends in {endings}")

    def _photos(self) -> Iterator[ListedFile]:
        source = self._source
        seen: set[str] = set()
        if source.manifest is not None:
            streams = [_manifest_photos(source, source.manifest)]
        else:
            streams = [_input_files(one, source.without, seen) for one in source.inputs]
        last = ""
        for listed in heapq.merge(*streams, key=attrgetter("path")):
            if listed.path == last:
                continue
            if listed.path < last:
                raise JobError(
                    f"{listed.path} is listed out of order: S3 directory buckets cannot be an input"
                )
            last = listed.path
            if listed.regular and listed.path[-5:].lower().endswith(PHOTO_ENDINGS):
                yield listed
            else:
                self.skipped += 1


def check_inputs(source: Source) -> None:
    """Make sure that there is something to read before anything is written, or deleted to make room.

    Every input is opened, so that the first does not hide what is wrong with the others. Raises as
    :class:`Listing` does.
    """
    next(iter(Listing(source)))


def take_inventory(
    source: Source,
    writer: Writer,
    backbone: str,
    cores: int,
    wave: int,
    *,
    retry_rejected: bool = False,
    prune: bool = False,
    admit: Callable[[Comparison], object] = lambda _: None,
) -> Inventory:
    """List the photos, compare them with those of the table, and write the tasks of those to be judged.

    Parameters
    ----------
    source : Source
    writer : Writer
    backbone : str
        Name of this run's network and decoder.
    cores : int
        Tasks that can run at once.
    wave : int
        Most photos in a task.
    retry_rejected, prune : bool
        Judge rejected photos again; take photos that are not listed any more out of the table.
    admit : callable
        Looks at the comparison before anything is changed; may raise.

    Raises
    ------
    UsageError, DataError
        As :class:`Listing` does.
    """
    listing, output = Listing(source), writer.output
    with Comparison(listing, output, writer.snapshot, backbone, retry_rejected) as comparison:
        admit(comparison)
        pruned = removal.remove_photos(writer, _missing_by_file(comparison)) if prune else {}
        changed = (Photo(photo, pruned.get(file.path) or file) for photo, file in comparison.changed_photos())
        location = store.join(output, layout.TASKS, str(writer.number))
        todo = tasks.write(comparison.new_photos(), changed, location, cores, wave)
        missing.write(writer, [] if prune else comparison.missing_photos())
        return Inventory(
            photos=listing.photos,
            skipped=listing.skipped,
            bytes=listing.bytes,
            unchanged=comparison.unchanged,
            unchanged_rejected=comparison.unchanged_rejected,
            missing=comparison.missing,
            pruned=comparison.missing if prune else 0,
            tasks=todo,
        )


def _missing_by_file(comparison: Comparison) -> dict[str, list[str]]:
    """Return the photos that are not listed any more, by their files."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for batch in comparison.missing_photos():
        for path, file in zip(batch["path"].to_pylist(), batch["file"].to_pylist(), strict=True):
            found[file].append(path)
    return found


def _input_files(source: str, without: str, seen: set[str]) -> Iterator[ListedFile]:
    """List an input in order of the paths, as they stand in tables."""
    if not store.is_s3(source):
        yield from _sorted_by_path(walk(source, without, seen))
        return
    own = f"{without}/"
    if f"{source}/".startswith(own):
        raise UsageError(f"input {source} is in the output {without}: choose another --output")
    nothing = True
    for name, size, etag, modified in s3.list_objects(source):
        nothing = False
        if name.startswith(own) or (not size and name.endswith("/")):  # what stands for a folder in S3
            continue
        yield ListedFile(name, size, etag, modified)  # type: ignore[arg-type]
    if nothing:
        raise DataError(f"nothing in {source}: check the bucket and the prefix")


def _manifest_photos(source: Source, manifest: str) -> Iterator[ListedFile]:
    """Read a list, without what lies in the output."""
    own = f"{source.without}/"
    told = manifests.read(manifest, source.inputs, lambda place: residency.check([place], source.regions))
    return _sorted_by_path(listed for listed in told if not listed.path.startswith(own))


def _sorted_by_path(files: Iterable[ListedFile]) -> Iterator[ListedFile]:
    """Put files whose names no table can hold where their URIs belong: after all paths of a folder."""
    odd: list[ListedFile] = []
    for file in files:
        path = store.printable(file.path)
        if path is not file.path:
            odd.append(file._replace(path=path))
            continue
        if odd and store.is_s3(path):
            yield from sorted(odd)
            odd.clear()
        yield file
    yield from sorted(odd)
