"""Put the verified weights and the converted network into a folder of the image, at build time.

Usage: ``bake.py CACHE TARGET``. The cache outlives builds, so that a change of the job's code does not
convert the network again; files from the cache are verified like any others.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Final

from job.network import backbone
from job.network.weights import FINGERPRINT

MODIFIED: Final = 0  # every build gives the files this time, so that the same network is the same layer


def bake(cache: Path, target: Path) -> None:
    """Fill a cache with the files of both engines, and copy them to a folder of the image."""
    for engine in ("tensorflow", "litert"):
        network = backbone.load(engine, None, cache)
        print(f"{network.name}: from {network.source}")
    target.mkdir(parents=True)
    for pattern in (f"mobilenet_v2-{FINGERPRINT[:12]}.npz", f"*-{network.key}.tflite"):
        (file,) = cache.glob(pattern)
        copy = Path(shutil.copyfile(file, target / file.name))
        copy.chmod(0o444)
        os.utime(copy, (MODIFIED, MODIFIED))
    os.utime(target, (MODIFIED, MODIFIED))


if __name__ == "__main__":
    bake(Path(sys.argv[1]), Path(sys.argv[2]))
