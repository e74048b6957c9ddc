"""How every test of the house runs: Hypothesis without wall-clock limits, failures with their seed."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "house",
    deadline=None,  # the machine is shared; time is measured by benchmarks, not by tests
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("house")
