"""Settings that all tests share."""

from hypothesis import settings

# A busy machine must not fail a property, and a failure must come back when the test is run again.
settings.register_profile("cycleqd", deadline=None, derandomize=True)
settings.load_profile("cycleqd")
