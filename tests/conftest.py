"""Settings for the whole suite."""

from hypothesis import settings

# The same examples in every run: a run says something about the change, not about luck.
settings.register_profile("suite", derandomize=True, deadline=None)
settings.load_profile("suite")
