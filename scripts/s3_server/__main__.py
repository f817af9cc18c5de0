"""A small S3 server on loopback, for tests and benchmarks.

It runs in a process of its own (``python -m scripts.s3_server``) or in a thread (:func:`running`). It records
every request and can wait before each answer. In a thread it can also fail, at random or where a test says.
URLs have the form ``http://127.0.0.1:port/bucket/key``, and nothing is kept when the server ends.

``GET /_requests`` lists the requests of a process; ``POST /_forget`` clears the list.
"""

import argparse
import asyncio
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from scripts.s3_server.buckets import Buckets
from scripts.s3_server.faults import Faults
from scripts.s3_server.server import Connection, Server

BACKLOG: Final = 1024
START_SECONDS: Final = 30


async def serve(server: Server, ready: Callable[[], None], stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then close all connections."""
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: Connection(server, loop), "127.0.0.1", 0, backlog=BACKLOG)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    ready()
    await stop.wait()
    listener.close()
    for transport in list(server.connections):
        transport.abort()
    await asyncio.sleep(0)  # the event loop closes aborted transports in its next turn


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
        Buckets that hold the files of a folder at first; the folder is never changed.
    buckets : tuple of str
        Buckets that are empty at first.
    latency_ms : float
        The wait before each answer.
    faults : Faults
        Random faults; :meth:`Server.on` adds faults for chosen requests.
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


async def _main(server: Server) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(server, lambda: print(server.url, flush=True), stop)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a server until a signal ends it; print its URL as the only line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.s3_server", description=__doc__)
    add = parser.add_argument
    add("--root", type=Path, help="a folder of folders: each is a bucket, and stays as it is")
    add("--bucket", action="append", default=[], help="a bucket that is empty at first; repeatable")
    add("--latency-ms", type=float, default=0, help="the wait before each answer")
    options = parser.parse_args(arguments)
    folders = {path.name: path for path in sorted(options.root.iterdir())} if options.root else {}
    buckets = Buckets({name: path for name, path in folders.items() if path.is_dir()}, tuple(options.bucket))
    asyncio.run(_main(Server(buckets, options.latency_ms, Faults())))


if __name__ == "__main__":
    main()
