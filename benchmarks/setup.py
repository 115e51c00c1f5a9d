"""Make what the comparisons need: a venv with the peers, and a Redis server if none is installed.

`make bench` runs it. Nothing outside of build/bench is touched.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measure import PEERS, PLACES, ROOT

WANTED = ROOT / "benchmarks" / "requirements-peers.txt"
# The server, and the libraries that a small Debian lacks.
_REDIS = (
    "redis-tools",
    "redis-server",
    "libjemalloc2",
    "liblua5.1-0",
    "liblzf1",
    "libatomic1",
    "lua-bitop",
    "lua-cjson",
)


def peers() -> None:
    """The venv holds what the list says."""
    ready = PLACES / "peers.txt"
    if ready.exists() and ready.read_text() == WANTED.read_text():
        return
    print("bench: making build/bench/venv for the peers (once, about a minute)", file=sys.stderr)
    venv.create(PEERS.parent.parent, with_pip=True)
    pip = [str(PEERS), "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--requirement", str(WANTED)]
    subprocess.run(pip, check=True)
    ready.write_text(WANTED.read_text())


def redis() -> None:
    """There is a redis-server: installed, or unpacked from its Debian package into build/bench/debian."""
    place = PLACES / "debian"
    if shutil.which("redis-server") or (place / "usr/bin/redis-server").exists() or shutil.which("apt-get") is None:
        return
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "-qq", "download", *_REDIS], check=True, cwd=place, capture_output=True)
    for package in place.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(place)], check=True)
        package.unlink()


def main() -> int:
    """What cannot be had is said; the rows that need it say it again."""
    PLACES.mkdir(parents=True, exist_ok=True)
    for make in (peers, redis):
        try:
            make()
        except (subprocess.CalledProcessError, OSError) as error:
            print(f"bench: {make.__name__} cannot be had: {error}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
