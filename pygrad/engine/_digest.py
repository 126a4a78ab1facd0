"""The digest of csrc/: compiled into the binary, and compared where the sources are at hand (_lib.py)."""

import hashlib


def source_digest(csrc):
    """Return a hash of what the binary is made of below the folder `csrc` (a Path), names included."""
    digest = hashlib.sha256()
    for path in sorted(csrc.rglob("*")):
        if path.suffix in (".c", ".h", ".def", ".py"):
            digest.update(path.relative_to(csrc).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
