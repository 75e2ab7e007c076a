"""A file system of one's own in a file, whose raw bytes can be read afterwards."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import missing

PIECE = 4 << 20


class LoopDisk:
    """An ext4 file system in an image, mounted until `unmount`."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.image, self.path = folder / "disk.img", folder / "disk"
        self.path.mkdir()
        with self.image.open("xb") as file:
            file.truncate(megabytes << 20)
        _run("mkfs.ext4", "-q", str(self.image))
        self._mounted = False
        _run("mount", "-o", "loop", str(self.image), str(self.path))
        self._mounted = True

    def unmount(self) -> None:
        """Everything goes to the image; nothing is left mounted."""
        if self._mounted:
            os.sync()
            _run("umount", str(self.path))
            self._mounted = False

    def raw(self) -> Iterator[bytes]:
        """The image in pieces."""
        with self.image.open("rb") as file:
            yield from iter(lambda: file.read(PIECE), b"")


def _run(*command: str) -> None:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    program = shutil.which(command[0], path=path)
    done = subprocess.run([program or command[0], *command[1:]], capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f"{command[0]}: {done.stderr.strip()}")


def needs_loop_device() -> None:
    """Say so when this machine or this user can't mount an image."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    if os.geteuid() != 0:
        missing("a file system is mounted by root only")
    for program in ("mkfs.ext4", "mount", "umount"):
        if shutil.which(program, path=path) is None:
            missing(f"the program `{program}` is not installed (Debian packages e2fsprogs, mount)")
    if not Path("/dev/loop-control").exists():
        missing("there are no loop devices here")
