"""The digest of csrc/: it is compiled into the binaries, and _lib.py compares it with that of a source folder."""

import hashlib


def source_digest(csrc):
    """Return a hash of the names and contents of all sources below the folder `csrc`, a Path."""
    digest = hashlib.sha256()
    for path in sorted(csrc.rglob("*")):
        if path.suffix in (".c", ".h", ".def", ".py"):
            digest.update(path.relative_to(csrc).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
