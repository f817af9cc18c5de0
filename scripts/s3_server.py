"""A small S3 server on loopback, for tests and benchmarks: fast, or as slow and as faulty as it is told.

It runs in a process of its own (``python -m scripts.s3_server``) or in a thread (:func:`running`). It notes
every request, can wait before each answer, and can fail: at random, or where a test says. Only paths name
buckets (``http://127.0.0.1:port/bucket/key``), and nothing is kept when it ends.

A process is asked about itself with ``GET /_requests`` and ``GET /_faults``; ``POST /_forget`` forgets.
"""

import argparse
import asyncio
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from scripts.s3_buckets import Buckets
from scripts.s3_connection import Connection, Server
from scripts.s3_faults import Fault, Faults, kill, pid_in

BACKLOG: Final = 1024
START_SECONDS: Final = 30


async def serve(server: Server, ready: Callable[[], None], stop: asyncio.Event, port: int = 0) -> None:
    """Serve until told to stop; connections that are open then are closed."""
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: Connection(server, loop), "127.0.0.1", port, backlog=BACKLOG)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    ready()
    await stop.wait()
    listening.close()
    for transport in list(server.connections):
        transport.abort()
    await asyncio.sleep(0)  # what was aborted is closed in the next turn


@contextmanager
def running(
    folders: Mapping[str, Path] | None = None,
    buckets: tuple[str, ...] = (),
    latency_ms: float = 0,
    faults: Faults | None = None,
) -> Iterator[Server]:
    """Run a server in a thread of this process.

    Parameters
    ----------
    folders : mapping
        Buckets that begin with the files of a folder, which stays as it is.
    buckets : tuple of str
        Buckets that begin empty.
    latency_ms : float
        Wait so long before each answer.
    faults : Faults
        What goes wrong at random; :meth:`Server.on` says what goes wrong where.
    """
    server = Server(Buckets(folders or {}, buckets), latency_ms, faults or Faults())
    ready, loop, stop = threading.Event(), asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve(server, ready.set, stop)))
    thread.start()
    assert ready.wait(START_SECONDS)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


async def _main(server: Server, port: int) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(server, lambda: print(server.url, flush=True), stop, port)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a server until it is terminated; its URL is the only line that it prints."""
    parser = argparse.ArgumentParser(prog="python -m scripts.s3_server", description=__doc__)
    add = parser.add_argument
    add("--root", type=Path, help="each folder in it is a bucket, of which nothing is changed")
    add("--bucket", action="append", default=[], help="a bucket that begins empty; can be repeated")
    add("--port", type=int, default=0, help="0, the default, is any that is free")
    add("--latency-ms", type=float, default=0, help="wait so long before each answer")
    add("--faults", type=float, default=0, help="probability of a request to fail")
    add("--seed", type=int, default=0, help="of the faults")
    add(
        "--only", action="append", choices=[fault.name for fault in Fault], help="this fault; can be repeated"
    )
    add(
        "--kill",
        nargs=5,
        action="append",
        default=[],
        metavar=("METHOD", "KEYS", "NTH", "before|after", "PID_FILE"),
        help="at this request, kill the process whose id is in a file then, with SIGKILL",
    )
    given = parser.parse_args(arguments)
    if any(when not in ("before", "after") or not nth.isdecimal() for _, _, nth, when, _ in given.kill):
        parser.error("--kill: NTH is a number, and what follows is before or after")
    kinds = [Fault[name] for name in given.only or Fault.__members__]
    folders = {path.name: path for path in sorted(given.root.iterdir())} if given.root else {}
    server = Server(
        Buckets({name: path for name, path in folders.items() if path.is_dir()}, tuple(given.bucket)),
        given.latency_ms,
        Faults(given.faults, given.seed, kinds),
    )
    for method, keys, nth, when, file in given.kill:
        server.on(method, keys, int(nth), when, kill(pid_in(Path(file))))
    asyncio.run(_main(server, given.port))


if __name__ == "__main__":
    main()
