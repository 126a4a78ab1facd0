"""Write files: everything that pygrad writes to disk is written here.

An old file is replaced all at once or not at all. What is no file on a disk cannot be replaced: devices and pipes, and
the descriptors that /dev/stdout and its kind lead to, are written to.
"""

import contextlib
import errno
import functools
import os
import stat

from pygrad.common import forks
from pygrad.common.numbers import describe, shown

_DESCRIPTOR = r"(?:/dev|/proc/(?P<process>\d+)(?:/task/\d+)?)/fd/(?P<number>\d+)"
_MOST_LINKS = 40
_MOST_DESCRIPTORS = 2**31 - 1  # none has so large a number
_open_as_mine = functools.partial(
    os.open, mode=0o600
)  # no function of Python: a Ctrl-C in it would lose the descriptor


def write_whole(path, blob):
    """Write bytes to the file `path`: at any moment either the old file or the new one is there, whole.

    The target of a symbolic link is replaced, not the link. A file that is replaced keeps its mode, owner and extended
    attributes, but other hard links to it keep the old contents. Raises OSError if that cannot be done: if the old file
    may not be written, if no file can be made beside it, or if it belongs to somebody else.
    """
    target = _Target(path_of(path))
    if target.descriptor is not None:
        _write_to_descriptor(target, blob)
    elif target.old and not stat.S_ISREG(target.old.st_mode):
        _write_to_special(target, blob)
    else:
        _replace(target, blob)


def open_to_read(path):
    """Open the file `path` to read bytes. Raises OSError if that cannot be done, and what `path_of` raises."""
    return open(path_of(path), "rb")


def path_of(path):
    """Return a path as a str. TypeError if it is none, as a number is, ValueError if no file can have this name."""
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise TypeError(f"path must be a str, bytes or os.PathLike object, not {describe(path)}")
    path = os.fsdecode(path)
    try:
        name = os.fsencode(path)
    except UnicodeEncodeError as error:
        raise ValueError(f"path cannot be the name of a file, {shown(path)}: {error}") from None
    if b"\0" in name:
        raise ValueError(f"path cannot be the name of a file, {shown(path)}: it has a null character in it")
    return path


class _Target:
    """What a path leads to: a `descriptor` of this process, or a `path` that is no link; `old` is its os.stat()."""

    def __init__(self, path):
        with forks.importing:
            import re

        self.given, self.path, self.descriptor, self.old = path, path, None, None
        for _ in range(_MOST_LINKS):
            folder, name = os.path.split(self.path)
            self.path = os.path.join(os.path.realpath(folder or os.curdir), name)
            found = re.fullmatch(_DESCRIPTOR, self.path)
            if found and found["process"] in (None, str(os.getpid())):
                self.descriptor = min(int(found["number"]), _MOST_DESCRIPTORS)
                return
            if not os.path.islink(self.path):
                self.old = self._stat()
                return
            self.path = os.path.join(os.path.dirname(self.path), os.readlink(self.path))
        raise self.error(errno.ELOOP)

    def _stat(self):
        try:
            return os.stat(self.path)
        except FileNotFoundError:
            return None

    def error(self, number, why=""):
        """Return an OSError about the path that the caller gave."""
        return OSError(number, os.strerror(number) + (why and f" ({why})"), self.given)


def _write_to_descriptor(target, blob):
    try:
        with open(target.descriptor, "wb", closefd=False) as file:
            file.write(blob)
    except OSError as error:
        why = f"descriptor {target.descriptor} of this process is not open for writing"
        raise target.error(error.errno, why if error.errno == errno.EBADF else "") from None


def _write_to_special(target, blob):
    if stat.S_ISDIR(target.old.st_mode):
        raise target.error(errno.EISDIR)
    if stat.S_ISBLK(target.old.st_mode):
        raise target.error(errno.EINVAL, "a disk is not written to")
    with open(target.path, "ab") as file:  # this mode asks for nothing but to write
        file.write(blob)


def _replace(target, blob):
    if target.old:
        open(target.path, "ab").close()  # raises an error if this file may not be written
    temporary = os.path.join(os.path.dirname(target.path), f".{os.urandom(8).hex()}.tmp")
    try:
        with open(temporary, "xb", opener=_open_as_mine if target.old else None) as file:
            file.write(blob)
            file.flush()
            if target.old:
                _copy_attributes(target, file.fileno())
            os.fsync(file.fileno())
        os.replace(temporary, target.path)
    except BaseException as error:
        if os.path.lexists(temporary):
            os.remove(temporary)
        if isinstance(error, OSError) and error.filename == temporary:
            why = "a new file is written beside it, and takes its place when it is whole"
            raise target.error(error.errno, why) from None
        raise


def _copy_attributes(target, descriptor):
    """Give a new file the owner, the mode and, where possible, the extended attributes of the old one."""
    old, new = target.old, os.fstat(descriptor)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        try:
            os.chown(descriptor, old.st_uid, old.st_gid)
        except PermissionError:
            raise target.error(errno.EPERM, "a new file cannot have its owner and group: remove it first") from None
    os.chmod(descriptor, stat.S_IMODE(old.st_mode))
    for name in _attributes(target.path):
        with contextlib.suppress(OSError):  # some belong to the system
            os.setxattr(descriptor, name, os.getxattr(target.path, name))


def _attributes(path):
    try:
        return os.listxattr(path) if hasattr(os, "listxattr") else []
    except OSError:  # a file system without them
        return []
