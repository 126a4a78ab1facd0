"""The digest of csrc/: it is compiled into the binaries, and _lib.py compares it with that of a source folder."""

import os
import zlib  # a CRC tells versions apart, and hashlib takes longer to import than all sources to read


def source_digest(csrc):
    """Return the size and a checksum of the names and contents of all sources below the folder `csrc`."""
    size = crc = 0
    for folder, folders, files in os.walk(csrc):
        folders.sort()
        for name in sorted(files):
            if name.endswith((".c", ".h", ".def", ".py")):
                path = os.path.join(folder, name)
                with open(path, "rb") as source:
                    content = os.path.relpath(path, csrc).encode() + b"\0" + source.read() + b"\0"
                size, crc = size + len(content), zlib.crc32(content, crc)
    return f"{size:08x}{crc:08x}"
