"""Who owns a service on a SQLite file: a lock of the operating system, in a file beside the ledger."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from weakref import WeakSet

from callboard.errors import LedgerError, LedgerLost

_NETWORKED = {
    "nfs", "nfs4", "cifs", "smb", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs", "fuse.glusterfs",
    "lustre",
}  # fmt: skip


class ServiceLock:
    """Held by at most one live process; the kernel frees it when that process dies, however it dies."""

    def __init__(self, ledger: Path, service: str) -> None:
        self._ledger = ledger
        self._path = ledger.with_name(f"{ledger.name}.{service}.lock")
        self._file: int | None = None

    def take(self) -> bool:
        """True if the lock is ours now; never waits."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        self._file = file
        _HELD.add(self)
        return True

    def note(self, identity: str, token: int, head: int) -> None:
        """How far the ledger had come, for `refuse_old_copy`."""
        if self._file is not None:
            os.pwrite(self._file, f"{identity} {token:>12} {head:>19}\n".encode(), 0)

    def refuse_old_copy(self, identity: str, token: int, head: int) -> None:
        """Raises LedgerError if the same ledger had come further, under this very lock, than the file says now."""
        noted = os.pread(self._file, 128, 0).decode(errors="replace").split() if self._file is not None else []
        if len(noted) != 3 or noted[0] != identity or not (noted[1] + noted[2]).isdigit():
            return
        if int(noted[1]) > token or int(noted[2]) > head:
            raise LedgerError(
                f"{self._ledger}: is an old copy: events went to position {noted[2]} "
                f"here, the copy ends at {head}. What was done after it was made will be done again. "
                f"If it was restored on purpose, remove {self._path.name} beside it and start again"
            )

    def release(self) -> None:
        """Another process may take it.

        The file stays: removing it would let two processes hold two locks of one name.
        """
        if self._file is not None:
            os.close(self._file)
            self._file = None
        _HELD.discard(self)


_HELD: WeakSet[ServiceLock] = WeakSet()
_FORKS = [0]  # how many lie between this process and the one that began


def forks() -> int:
    """What tells this process from one that it was forked from."""
    return _FORKS[0]


def _let_go() -> None:
    """A fork holds no lock: or else it would keep a standby out after the owner's death."""
    _FORKS[0] += 1
    for lock in list(_HELD):
        lock.release()


os.register_at_fork(after_in_child=_let_go)


def refuse_fork(url: str, opened: int) -> None:
    """Raises LedgerLost in a fork of the process that opened the ledger: SQLite's connection is not its own."""
    if _FORKS[0] != opened:
        raise LedgerLost(f"{url}: was opened before this process was forked: open a board of its own in the fork")


def file_system_of(path: Path, mounts: str) -> str:
    """The kind of file system that `path` is on, by a mount table as Linux writes it."""
    best, kind = "", ""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        point = fields[1].replace("\\040", " ")
        inside = point == "/" or str(path) == point or str(path).startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind


def refuse_network_file_system(path: Path, mount_table: Path = Path("/proc/self/mounts")) -> None:
    """Raises LedgerError where SQLite's write-ahead log and its locks do not work: on a network file system."""
    if not mount_table.exists():
        return
    kind = file_system_of(path.resolve(), mount_table.read_text())
    if kind in _NETWORKED:
        raise LedgerError(
            f"{path}: is on a network file system ({kind}), where SQLite cannot lock: use a local disk, or Postgres"
        )
