import subprocess
import sys

import pytest

import workers


def test_everything_that_is_offered_is_there():
    assert sorted(workers.__all__) == sorted(workers._HOMES)
    assert all(getattr(workers, name) for name in workers.__all__)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        workers.Nothing  # noqa: B018 - the access is the test


@pytest.mark.parametrize("module", ["workers", "workers.cli"])
def test_import_loads_neither_numpy_nor_a_transport(module):
    code = (
        f"import sys, {module}; print([m for m in ('numpy', 'zmq', 'msgspec') if m in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )

    assert "[]\n" == done.stdout
