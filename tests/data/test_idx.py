"""What is written as IDX is read back, to the bit; what is not whole is refused, with the file's name."""

import gzip
import math
import struct
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ignite_recipes.data.idx import read_idx

TYPES = {0x08: np.uint8, 0x09: np.int8, 0x0B: np.int16, 0x0C: np.int32, 0x0D: np.float32, 0x0E: np.float64}
CODES = {np.dtype(dtype).name: code for code, dtype in TYPES.items()}


def idx(array):
    """The bytes of an IDX file; numpy writes them big-endian."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, CODES[array.dtype.name], array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def read_bytes(folder, data):
    path = folder / "file"
    path.write_bytes(data)
    return read_idx(path)


any_array = st.sampled_from(sorted(TYPES)).flatmap(
    lambda code: arrays(TYPES[code], array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4))
)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@settings(deadline=None)
@given(array=any_array)
def test_what_is_written_is_read_to_the_bit(tmp_path_factory, pack, array):
    tensor = read_bytes(tmp_path_factory.getbasetemp(), pack(idx(array)))
    assert tensor.dtype == torch.from_numpy(array).dtype
    assert tensor.shape == array.shape
    assert tensor.numpy().tobytes() == array.tobytes()


def test_every_type_is_tried_by_hand(tmp_path):
    for code, dtype in TYPES.items():
        data = bytes([0, 0, code, 1, 0, 0, 0, 1]) + np.array(-3 if code != 8 else 253).astype(dtype).tobytes()[::-1]
        assert read_bytes(tmp_path, data).tolist() == [253 if code == 8 else -3]


def test_the_tensor_can_be_written_to(tmp_path):
    for dtype in TYPES.values():
        tensor = read_bytes(tmp_path, idx(np.ones(3, dtype)))
        assert tensor.zero_().sum() == 0


def test_compression_is_told_by_the_bytes_and_not_by_the_name(tmp_path):
    (tmp_path / "plain.gz").write_bytes(idx(np.arange(3, dtype=np.uint8)))
    assert read_idx(str(tmp_path / "plain.gz")).tolist() == [0, 1, 2]


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_file_cut_anywhere_is_refused_by_name(tmp_path, pack):
    whole = pack(idx(np.arange(6, dtype=np.int16).reshape(2, 3)))
    for length in range(len(whole)):
        with pytest.raises(ValueError, match="file: "):
            read_bytes(tmp_path, whole[:length])


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_byte_too_many_is_refused(tmp_path, pack):
    with pytest.raises(ValueError, match=r"file: sizes \(3,\) of uint8 must be followed by 3 bytes; got more"):
        read_bytes(tmp_path, pack(idx(np.zeros(3, np.uint8)) + b"\0"))


def test_a_bit_changed_in_what_gzip_packed_is_refused_if_it_changes_anything(tmp_path):
    whole, refused = gzip.compress(idx(np.arange(200, dtype=np.uint8)), mtime=0), 0
    for place in range(10, len(whole)):  # after the header, of which not all has a meaning
        changed = whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :]
        try:
            assert read_bytes(tmp_path, changed).tolist() == list(range(200))
        except ValueError as error:
            assert "file: " in str(error)  # noqa: PT017
            refused += 1
    assert refused >= len(whole) - 20  # the last bits of a stream are padding


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "two zero bytes and a known type; got ''", id="nothing"),
        pytest.param(b"\0\0\x08", "got '00 00 08'", id="three bytes"),
        pytest.param(b"\x89PNG\r\n", "got '89 50 4e 47'", id="a picture"),
        pytest.param(b"\0\1\x08\1\0\0\0\1\7", "got '00 01 08 01'", id="a second byte that is not zero"),
        pytest.param(b"\0\0\x0a\1\0\0\0\0", "got '00 00 0a 01'", id="an unknown type"),
        pytest.param(b"\0\0\x08\0\7", "from 1 to 32 dimensions; got 0", id="no dimension"),
        pytest.param(b"\0\0\x08\x21" + b"\0\0\0\1" * 33 + b"\7", "got 33", id="too many dimensions"),
        pytest.param(b"\0\0\x08\2\0\0\0\1", "in the sizes of its 2 dimensions", id="a size missing"),
        pytest.param(gzip.compress(b"<html>"), "got '3c 68 74 6d'", id="a packed page"),
        pytest.param(b"\x1f\x8b\7" + bytes(20), "gzip says", id="a gzip of another method"),
    ],
)
def test_another_kind_of_file_is_refused(tmp_path, data, message):
    with pytest.raises(ValueError, match=message):
        read_bytes(tmp_path, data)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("shape", [(2**32 - 1,), (2**31, 2**31, 2**31), (1 << 28,)], ids=str)
def test_a_header_that_promises_too_much_takes_no_memory(tmp_path, pack, shape):
    header = struct.pack(f">BBBB{len(shape)}I", 0, 0, 0x0E, len(shape), *shape)
    tracemalloc.start()
    with pytest.raises(ValueError, match=f"take {math.prod(shape) * 8} bytes, more than there are"):
        read_bytes(tmp_path, pack(header + bytes(100)))
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_packed_header_that_could_be_true_takes_memory_for_what_is_there_only(tmp_path):
    header = struct.pack(">BBBBI", 0, 0, 0x08, 1, 50_000_000)
    data = gzip.compress(header + np.random.default_rng(0).bytes(60_000))  # 60 kB could unpack to 62 MB
    tracemalloc.start()
    with pytest.raises(ValueError, match="50000000 bytes; got 60000, cut short"):
        read_bytes(tmp_path, data)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_idx(tmp_path / "nowhere")
