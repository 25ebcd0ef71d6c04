"""Settings for the whole suite, and what every part of it may need."""

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from hypothesis import settings

# The same examples in every run: a run says something about the change, not about luck.
settings.register_profile("suite", derandomize=True, deadline=None)
settings.load_profile("suite")


@contextmanager
def _out_of_descriptors() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.fixture
def out_of_descriptors() -> Callable[[], AbstractContextManager[None]]:
    """`with out_of_descriptors():` nothing can be opened by this process: EMFILE."""
    return _out_of_descriptors
