"""Put the verified weights and the converted network into a folder of the image, at build time.

Usage: ``bake.py CACHE TARGET``. The cache outlives builds, so that a change of the job's code does not
convert the network again; what is taken from it is verified like anything else.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Final

from job.network import backbone
from job.network.weights import FINGERPRINT

WHEN: Final = 0  # one time for all builds: the same network is the same layer


def bake(cache: Path, target: Path) -> None:
    """Copy what both engines need from a cache, which is filled first, into an image's folder."""
    for engine in ("tensorflow", "litert"):
        network = backbone.load(engine, None, cache)
        print(f"{network.name}: from {network.source}")
    target.mkdir(parents=True)
    for pattern in (f"mobilenet_v2-{FINGERPRINT[:12]}.npz", f"*-{network.key}.tflite"):
        (file,) = cache.glob(pattern)
        copy = Path(shutil.copyfile(file, target / file.name))
        copy.chmod(0o444)
        os.utime(copy, (WHEN, WHEN))
    os.utime(target, (WHEN, WHEN))


if __name__ == "__main__":
    bake(Path(sys.argv[1]), Path(sys.argv[2]))
