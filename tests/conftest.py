"""Hypothesis draws the same examples every day; HYPOTHESIS_PROFILE=explore draws new ones, and more of them."""

import os

from hypothesis import HealthCheck, settings

# No deadline: a slow machine is no bug.
settings.register_profile("everyday", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", deadline=None, max_examples=2_000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "everyday"))
