"""A broker's server for one run: on loopback, on a free port, with a folder of its own, stopped by its pid."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.measure import PEERS, PLACES, Unavailable

_DEBIAN = PLACES / "debian"  # what `benchmarks/setup.py` unpacked there, where no package is installed


def find(name: str) -> tuple[Path, dict[str, str]]:
    """The program of a server, and the environment it needs."""
    beside = PEERS.with_name(name)
    if beside.exists():
        return beside, {}
    if installed := shutil.which(name):
        return Path(installed), {}
    for place in ("usr/bin", "usr/sbin"):
        unpacked = _DEBIAN / place / name
        if unpacked.exists():
            libraries = sorted({str(each.parent) for each in _DEBIAN.glob("usr/lib/**/*.so.*")})
            return unpacked, {"LD_LIBRARY_PATH": ":".join(libraries)}
    raise Unavailable(f"there is no {name} here: install its Debian package, or `python benchmarks/setup.py`")


def _command(name: str, port: int, folder: str) -> list[str]:
    if name == "nats-server":
        return ["-a", "127.0.0.1", "-p", str(port), "-js", "-sd", folder]
    return ["--bind", "127.0.0.1", "--port", str(port), "--dir", folder, "--appendonly", "yes", "--save", ""]


def version(name: str) -> str:
    """What the server says of itself."""
    program, environment = find(name)
    done = subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    words = done.stdout.replace("=", " ").split()
    return next(word.lstrip("v") for word in words if word.lstrip("v")[:1].isdigit())


@contextmanager
def started(name: str, folder: str) -> Iterator[tuple[int, int]]:
    """Its port and its pid."""
    program, environment = find(name)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    server = subprocess.Popen(
        [str(program), *_command(name, port, folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )
    try:
        _answers(name, server, port)
        yield port, server.pid
    finally:
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(10)
        server.kill()
        server.wait()


def _answers(name: str, server: subprocess.Popen[bytes], port: int) -> None:
    late = time.monotonic() + 20
    while time.monotonic() < late and server.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        with suppress(subprocess.TimeoutExpired):
            server.wait(0.02)
    raise Unavailable(f"{name} does not answer (exit code {server.poll()})")
