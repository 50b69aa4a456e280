"""Read IDX files, the format of MNIST and of the data sets that were made after it."""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import torch
from torch import Tensor

__all__ = ["read_idx"]

# The third byte of a file, and what its numbers are; all are big-endian.
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_DIMENSIONS = 32  # of a numpy array, before version 2
_GZIP_MAGIC = b"\x1f\x8b"
_MOST_COMPRESSED = 1032  # bytes that one compressed byte can hold at most, in deflate
_CHUNK = 1 << 20  # bytes


def read_idx(path: str | os.PathLike[str]) -> Tensor:
    """The array in an IDX file, plain or compressed by gzip (told by its first bytes), of its own type.

    The format: two zero bytes, the type, the number of dimensions, their sizes, and the numbers, row by row.
    The sizes are checked against the length of the file before memory is taken for them.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no IDX file, is cut short or damaged, or has more after its numbers; it names the file.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "labels").write_bytes(bytes([0, 0, 0x08, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     read_idx(Path(folder, "labels"))
    tensor([7, 2, 1], dtype=torch.uint8)
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            size, is_gzip = os.fstat(file.fileno()).st_size, file.read(2) == _GZIP_MAGIC
            file.seek(0)
            if not is_gzip:
                return _read(file, size)
            with gzip.open(file) as unpacked:
                return _read(cast("BinaryIO", unpacked), size * _MOST_COMPRESSED)
    except EOFError as error:
        raise ValueError(f"{path}: cut short, in the middle of what gzip packed: copy or fetch it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: damaged, gzip says {error}: copy or fetch it again") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _read(stream: BinaryIO, most: int) -> Tensor:
    """The array in a stream of at most ``most`` bytes."""
    start = stream.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _TYPES:
        raise ValueError(f"an IDX file must start with two zero bytes and a known type; got {start.hex(' ')!r}")
    dtype, ndim = np.dtype(_TYPES[start[2]]), start[3]
    if not 1 <= ndim <= _MAX_DIMENSIONS:
        raise ValueError(f"an IDX file must have from 1 to {_MAX_DIMENSIONS} dimensions; got {ndim}")
    sizes = stream.read(4 * ndim)
    if len(sizes) < 4 * ndim:
        raise ValueError(f"cut short, in the sizes of its {ndim} dimensions: copy or fetch it again")
    shape = struct.unpack(f">{ndim}I", sizes)
    length = math.prod(shape) * dtype.itemsize
    if length > most - 4 - 4 * ndim:
        raise ValueError(f"cut short: sizes {shape} of {dtype.name} take {length} bytes, more than there are")
    data = _at_most(stream, length + 1)
    if len(data) != length:
        more = "more" if len(data) > length else f"{len(data)}, cut short"
        raise ValueError(f"sizes {shape} of {dtype.name} must be followed by {length} bytes; got {more}")
    array = np.ndarray(shape, dtype, data)
    return torch.from_numpy(array.astype(dtype.newbyteorder("="), copy=False))


def _at_most(stream: BinaryIO, length: int) -> bytearray:
    """The next ``length`` bytes, or all that are left, piece by piece: a read takes memory for all it is asked."""
    data = bytearray()
    while len(data) < length and (piece := stream.read(min(_CHUNK, length - len(data)))):
        data += piece
    return data
