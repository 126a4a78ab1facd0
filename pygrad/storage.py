"""Models on disk, as safetensors files: one float64 tensor for each entry of `Module.state_dict()`.

A file holds only numbers and their names, so loading a file from elsewhere runs nobody's code. It carries a CRC-32 of
the numbers, because safetensors itself does not notice a flipped bit.
"""

import zlib

from pygrad.common import forks
from pygrad.common.numbers import describe, shortened
from pygrad.common.whole_files import open_to_read, write_whole


def save_model(module, path):
    """Write the parameters of `module` to the file `path`; an old file there is replaced as a whole or not at all,
    and keeps its mode and owner. A device, or a pipe, is written to. Gradients are not written.

    Raises ImportError if safetensors or NumPy is not installed, OSError if the file cannot be written, and TypeError or
    ValueError for a model or a path that is none.
    """
    _check_model(module, "state_dict")
    numpy, safetensors = _libraries()
    tensors = {name: numpy.array(entry, numpy.float64) for name, entry in module.state_dict().items()}
    metadata = {"format": "pygrad", "crc32": str(_checksum(tensors))}
    write_whole(path, safetensors.numpy.save(tensors, metadata))


def load_model(module, path):
    """Read the file `path`, written by `save_model`, into `module`, and return the module. Not a bit is lost.

    Gradients stay as they are. Raises OSError if the file cannot be read (FileNotFoundError if there is none),
    ValueError if it is damaged, is no safetensors file or holds another model, ImportError if safetensors or NumPy is
    not installed, and TypeError for a model or a path that is none. The module then stays as it was.
    """
    _check_model(module, "load_state_dict")
    numpy, safetensors = _libraries()
    with open_to_read(path) as file:
        blob = file.read()
    try:
        tensors = safetensors.numpy.load(blob)
        foreign = [f"{name} is {tensor.dtype}" for name, tensor in tensors.items() if tensor.dtype != numpy.float64]
        if foreign:
            raise ValueError(f"{shortened('; '.join(foreign))}, not float64")
        if _stored_checksum(blob) not in (None, str(_checksum(tensors))):
            raise ValueError("its numbers do not match their checksum")
    except (safetensors.SafetensorError, KeyError, ValueError) as error:  # KeyError: of a type that NumPy lacks
        raise ValueError(f"{path} is damaged, or is no model file of pygrad: {error}") from error
    try:
        module.load_state_dict(tensors)
    except ValueError as error:
        raise ValueError(f"{path} does not hold this model: {error}") from error
    return module


def _check_model(module, method):
    if not hasattr(module, method) or isinstance(module, type):
        raise TypeError(f"a model is needed, a Module or another object with {method}(), not {describe(module)}")


def _libraries():
    try:
        with forks.importing:
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
    """Return the checksum in the header of a valid file (8 bytes of length, then JSON); None if it has none."""
    with forks.importing:
        import json

    header = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")].decode())
    return (header.get("__metadata__") or {}).get("crc32")
