import io
import os
import struct

import numpy as np
import pytest

from patchindex.npy import read_npy, read_npy_header

ARRAY = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def npy_bytes(array):
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def with_header(text, data=b"", version=1):
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes((version, 0)) + size + text.encode("latin1") + data


def header(descr="'|u1'", shape="(3,)"):
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"


@pytest.mark.parametrize(
    "array",
    [
        ARRAY, np.asfortranarray(ARRAY), ARRAY.astype(">f8"), ARRAY > 3, ARRAY.astype("<u8"),
        np.float16(3), np.zeros((0, 5)), ARRAY * 1j,
    ],
)  # fmt: skip
def test_every_array_of_numbers_is_read_as_numpy_reads_it(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    assert np.array_equal(read_npy(tmp_path / "a.npy"), array)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (npy_bytes(np.array([{}], dtype=object)), "it holds Python objects, which are not read"),
        (npy_bytes(np.zeros(2, "f4,i4")), "it holds structured values"),
        (npy_bytes(np.array(["text"])), "it holds <U4 values"),
        (npy_bytes(np.array(["2024-01-01"], "M8[D]")), r"it holds datetime64\[D\] values"),
        (npy_bytes(ARRAY)[:-1], r"promises float32 values of shape \(2, 3, 4\), 96 bytes, but 95"),
        (npy_bytes(ARRAY) + b"x", "96 bytes, but 97 bytes follow"),
        (with_header(header(shape="(10**12,)"), b"abc"), "does not begin with the header"),
        (with_header(header(shape="(1000000000000, 3, 32, 32)"), b"abc"), "but 3 bytes follow"),
        (with_header(header(shape="(-1, -3)"), b"abc"), r"of shape \(-1, -3\), 3 bytes"),
        (with_header(header(shape="[3]"), b"abc"), "does not begin with the header"),
        (with_header(header(descr="'|u'"), b"abc"), "does not begin with the header"),
        (with_header(header(descr="None"), b"abc"), "does not begin with the header"),
        (with_header("-" * 9000 + "1"), "does not begin with the header"),
        (with_header("(" * 9000), "does not begin with the header"),
        (with_header("{1: 2, 'a': 3, None: 4}"), "does not begin with the header"),
        (with_header(" " * 2**20 + header(), b"abc", version=2), "does not begin with the header"),
        (b"\x93NUMPY\x09\x00", "does not begin with the header"),
        (b"PK\x03\x04", "does not begin with the header"),
        (b"", "does not begin with the header"),
    ],
)
def test_what_is_not_one_whole_array_of_numbers_is_refused(tmp_path, data, message):
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_npy(tmp_path / "a.npy")


def test_a_header_without_end_is_not_read_to_its_end():
    class Endless(io.RawIOBase):
        taken = 0

        def read(self, size=-1):
            assert 0 <= size <= 2**16
            self.taken += size
            return (with_header("", version=2)[:8] + struct.pack("<I", 2**32 - 1)).ljust(size)

    with pytest.raises(ValueError, match="does not begin with the header"):
        read_npy_header(Endless(), 2**40)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_no_file_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.npy")
    for path in (tmp_path / "a.npy", tmp_path, tmp_path / "absent", tmp_path / ("a" * 300)):
        with pytest.raises(ValueError, match="there is no such file"):
            read_npy(path)
