#!/usr/bin/env python3
"""Checks the output of `sam build`: the bootstrap of each function must be small, for a fast start, and must not need a
newer glibc than Amazon Linux 2023 has.

    .ci/binaries.py .aws-sam/build [maximum MB zipped, default 6]
"""

import io
import re
import subprocess
import sys
import zipfile
from pathlib import Path

MOST_ZIPPED = float(sys.argv[2]) * 1e6 if len(sys.argv) > 2 else 6e6
GLIBC = (2, 34)


def zipped(path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.write(path, path.name)
    return len(buffer.getvalue())


def glibc(path):
    symbols = subprocess.run(["readelf", "--version-info", path], capture_output=True, text=True, check=True).stdout
    return max(tuple(map(int, version.split("."))) for version in re.findall(r"GLIBC_(\d+\.\d+)", symbols))


failed = 0
built = sorted(Path(sys.argv[1]).glob("*/bootstrap"))
for bootstrap in built:
    size, version = zipped(bootstrap), glibc(bootstrap)
    good = size <= MOST_ZIPPED and version <= GLIBC
    failed += not good
    print(f"{bootstrap.parent.name}: {size / 1e6:.2f} MB zipped, glibc {'.'.join(map(str, version))}"
          + ("" if good else "  <- too much"))
print(f"binaries: {len(built) - failed} passed, {failed} failed")
sys.exit(failed > 0 or not built)
