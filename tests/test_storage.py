"""Model files: the same bits back, damage found, and never a half-written file or a half-loaded model."""

import math
import os
import random
import struct
import sys

import pytest

from pygrad.nn import MLP, Module, Value
from pygrad.storage import load_model, save_model

pytestmark = pytest.mark.wheel

safetensors_numpy = pytest.importorskip("safetensors.numpy")
numpy = pytest.importorskip("numpy")


class Odd(Module):
    """A module with tensors of 0, 1, 2 and 3 dimensions."""

    def __init__(self):
        self.b = Value(1.0)
        self.w = [Value(x) for x in (math.nan, math.inf, -math.inf, -0.0, 5e-324, 0.1)]
        self.m = [[Value(1.0), Value(2.0)], [Value(3.0), Value(4.0)], [Value(5.0), Value(6.0)]]
        self.deep = [[[Value(7.0)], [Value(8.0)]]]


def bits(module):
    """Return the bit patterns of the parameters."""
    return [struct.pack("<d", p.data) for p in module.parameters()]


@pytest.fixture
def file(tmp_path):
    """A saved model of two layers."""
    path = tmp_path / "model.safetensors"
    random.seed(1)
    save_model(MLP(2, [2, 1]), path)
    return path


@pytest.mark.parametrize("make", [Odd, Module, lambda: MLP(3, [4, 2])])
def test_round_trip_to_the_bit(tmp_path, make):
    """What was saved comes back to the bit, nan, inf, -0.0 and the smallest number included."""
    module, other = make(), make()
    for p in other.parameters():
        p.data = 77.0
    save_model(module, tmp_path / "model")

    assert other is load_model(other, tmp_path / "model")
    assert bits(module) == bits(other)
    assert [0x7FF8000000000001 + i for i in range(3)] == nan_payloads(tmp_path)


def nan_payloads(tmp_path):
    """Return three nans with payloads after a round trip."""
    module = Module()
    module.w = [Value(struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000001 + i))[0]) for i in range(3)]
    save_model(module, tmp_path / "nans")
    load_model(module, str(tmp_path / "nans"))
    return [struct.unpack("<Q", number)[0] for number in bits(module)]


def test_other_tools_can_read_the_file(file):
    """The file is plain safetensors: one float64 tensor for each entry of the state."""
    random.seed(1)
    state = MLP(2, [2, 1]).state_dict()
    tensors = safetensors_numpy.load_file(file)

    assert state == {name: tensors[name].tolist() for name in state}
    assert {numpy.dtype("float64")} == {tensor.dtype for tensor in tensors.values()}
    assert len(state) == len(tensors)


def test_a_file_of_another_tool_loads(tmp_path):
    """A file without pygrad's metadata loads if names, shapes and types are right."""
    module = Odd()
    tensors = {name: numpy.array(numpy.array(entry) * 2) for name, entry in module.state_dict().items()}
    safetensors_numpy.save_file(tensors, tmp_path / "model")
    load_model(module, tmp_path / "model")

    assert [2.0, 4.0] == module.state_dict()["m"][0]


# --- damage -----------------------------------------------------------------------------------------------------------


def check_refused(path, match):
    """Check that loading is a ValueError that names the file, and leaves the model alone."""
    mlp = MLP(2, [2, 1])
    before = bits(mlp)
    with pytest.raises(ValueError, match=match) as caught:
        load_model(mlp, path)

    assert str(path) in str(caught.value)
    assert before == bits(mlp)


def test_a_file_cut_anywhere_is_refused(file):
    """Every proper beginning of a file is refused."""
    whole = file.read_bytes()
    for size in range(0, len(whole), 7):
        file.write_bytes(whole[:size])
        check_refused(file, "is damaged")


def test_a_flipped_bit_is_found_or_harmless(file):
    """A flipped bit anywhere is refused, or it was in a remark of the header and the numbers are right."""
    whole = file.read_bytes()
    random.seed(1)
    expected = bits(MLP(2, [2, 1]))
    for i in range(len(whole)):
        file.write_bytes(whole[:i] + bytes([whole[i] ^ 1 << i % 8]) + whole[i + 1 :])
        mlp = MLP(2, [2, 1])
        before = bits(mlp)
        try:
            load_model(mlp, file)
        except ValueError:
            assert before == bits(mlp)
        else:
            assert expected == bits(mlp)


def test_a_flipped_bit_in_the_numbers_is_found(file):
    """The checksum finds a changed number, which is a valid file otherwise."""
    whole = bytearray(file.read_bytes())
    whole[-5] ^= 1
    file.write_bytes(whole)

    check_refused(file, "do not match their checksum")


@pytest.mark.parametrize("content", [b"", b"{}", b"\x80\x04K\x01.", b"PK\x03\x04" * 20, b"\xff" * 100])
def test_a_foreign_file_is_refused(tmp_path, content):
    """A file that is no safetensors file is refused."""
    path = tmp_path / "model"
    path.write_bytes(content)

    check_refused(path, "is damaged, or is no model file")


@pytest.mark.parametrize("dtype", ["float32", "int64", "float16"])
def test_numbers_of_another_type_are_refused(tmp_path, dtype):
    """A tensor that is not float64 is named."""
    tensors = {name: numpy.array(entry, dtype) for name, entry in MLP(2, [2, 1]).state_dict().items()}
    safetensors_numpy.save_file(tensors, tmp_path / "model")

    check_refused(tmp_path / "model", rf"layers.0.neurons.0.b is {dtype}.*not float64")


def test_a_type_unknown_to_numpy_is_refused(tmp_path):
    """A tensor of bfloat16, which NumPy does not have, is refused too."""
    header = b'{"b":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'
    (tmp_path / "model").write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")

    check_refused(tmp_path / "model", "is damaged, or is no model file")


def test_another_model_is_refused(tmp_path):
    """The file of a model of another shape is refused, with what differs."""
    save_model(MLP(3, [2, 1]), tmp_path / "model")

    check_refused(tmp_path / "model", "does not hold this model: .*layers.0.neurons.0.w must have length 2, not 3")


def test_a_missing_file(tmp_path):
    """A missing file is a FileNotFoundError that names it."""
    with pytest.raises(FileNotFoundError, match="nothing.here"):
        load_model(MLP(2, [1]), tmp_path / "nothing.here")


# --- saving -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_interrupted_save_loses_nothing(file, monkeypatch, step):
    """If writing or renaming fails, the old file stands, and no other is left."""
    before = file.read_bytes()

    def fail(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(KeyboardInterrupt):
        save_model(MLP(3, [2, 1]), file)

    assert before == file.read_bytes()
    assert [file] == list(file.parent.iterdir())


def test_a_save_replaces_the_old_file(file):
    """A second save replaces the first, and leaves one file."""
    save_model(Odd(), file)

    assert math.isnan(load_model(Odd(), file).w[0].data)
    assert [file] == list(file.parent.iterdir())


def test_a_save_through_a_link_keeps_the_link(file, tmp_path):
    """A symbolic link stays one; the file it points to is replaced."""
    link = tmp_path / "link"
    link.symlink_to(file)
    save_model(Odd(), link)

    assert link.is_symlink()
    load_model(Odd(), file)


def test_a_save_into_no_directory(tmp_path):
    """A path that can not be written is the OSError of the system."""
    with pytest.raises(FileNotFoundError, match="nowhere"):
        save_model(Odd(), tmp_path / "nowhere" / "model")
    with pytest.raises(IsADirectoryError):
        save_model(Odd(), tmp_path)


@pytest.mark.parametrize("missing", ["safetensors.numpy", "numpy"])
def test_without_safetensors_the_error_says_what_to_install(file, monkeypatch, missing):
    """Without the libraries, saving and loading say which extra to install, and touch nothing."""
    before = file.read_bytes()
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r"pygrad-engine\[models\]"):
        save_model(Odd(), file)
    with pytest.raises(ImportError, match=r"pygrad-engine\[models\]"):
        load_model(Odd(), file)

    assert before == file.read_bytes()
