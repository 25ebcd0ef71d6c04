import errno

import pytest

from gateway.wire.shortage import is_shortage


def test_no_descriptor_says_nothing_of_the_file(tmp_path, out_of_descriptors):
    with out_of_descriptors(), pytest.raises(OSError, match="Too many") as caught:
        (tmp_path / "file").open("w")

    assert is_shortage(caught.value)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.EIO, None])
def test_what_the_file_itself_refuses_is_no_shortage(number):
    assert not is_shortage(OSError(number, "no"))
