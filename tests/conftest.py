"""What all tests share: how many examples Hypothesis draws, and where compiled kernels are kept."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from haulout.world.kernels import KernelSettings

settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile(
    "ci", max_examples=500, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

# numba alone does not see that a kernel is stale if only a module has changed that it calls
os.environ["NUMBA_CACHE_DIR"] = str(KernelSettings.of(os.environ).cache_folder)
