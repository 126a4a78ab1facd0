"""The digest of the C sources: compiled into the binary, and compared when the sources are at hand (pygrad._lib)."""

import hashlib


def source_digest(csrc):
    """Return a hash of the C files below the folder `csrc` (a Path), names included."""
    digest = hashlib.sha256()
    for path in sorted(csrc.iterdir()):
        if path.suffix in (".c", ".h", ".def"):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
