"""Models on disk, as safetensors files: one float64 tensor for each entry of `Module.state_dict()`.

A file holds numbers only, so loading one from elsewhere runs nobody's code. It carries a CRC-32 of them: safetensors
itself would not notice a flipped bit.
"""

import json
import os
import zlib

from pygrad.tape.files import write_whole


def save_model(module, path):
    """Write the parameters of `module` to the file `path`, which is replaced in one go or not at all.

    Raises ImportError if safetensors or NumPy is not installed, and OSError if the file can not be written.
    """
    numpy, safetensors = _libraries()
    tensors = {name: numpy.array(entry, numpy.float64) for name, entry in module.state_dict().items()}
    metadata = {"format": "pygrad", "crc32": str(_checksum(tensors))}
    write_whole(os.path.realpath(path), safetensors.numpy.save(tensors, metadata))


def load_model(module, path):
    """Read a file of `save_model` into `module`, to the last bit, and return the module.

    Raises FileNotFoundError if there is no such file, ValueError if it is damaged, no safetensors file, or of another
    model, and ImportError if safetensors or NumPy is not installed. The module is then as it was.
    """
    numpy, safetensors = _libraries()
    with open(path, "rb") as file:
        blob = file.read()
    try:
        tensors = safetensors.numpy.load(blob)
        foreign = [f"{name} is {tensor.dtype}" for name, tensor in tensors.items() if tensor.dtype != numpy.float64]
        if foreign:
            raise ValueError(f"{'; '.join(foreign)}, not float64")
        if _stored_checksum(blob) not in (None, str(_checksum(tensors))):
            raise ValueError("its numbers do not match their checksum")
    except (safetensors.SafetensorError, KeyError, ValueError) as error:  # KeyError: a type that NumPy does not have
        raise ValueError(f"{path} is damaged, or is no model file of pygrad: {error}") from error
    try:
        module.load_state_dict(tensors)
    except ValueError as error:
        raise ValueError(f"{path} does not hold this model: {error}") from error
    return module


def _libraries():
    try:
        import numpy
        import safetensors.numpy
    except ImportError as error:
        raise ImportError("model files need safetensors and NumPy: pip install 'pygrad-engine[models]'") from error
    return numpy, safetensors


def _checksum(tensors):
    crc = 0
    for name in sorted(tensors):
        crc = zlib.crc32(tensors[name].tobytes(), crc)
    return crc


def _stored_checksum(blob):
    """Return the checksum in the header (length, then JSON) of a valid file; None if another tool wrote it."""
    header = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])
    return (header.get("__metadata__") or {}).get("crc32")
