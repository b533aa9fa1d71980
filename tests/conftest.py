"""What all tests share: a quiet environment of their own, Hypothesis profiles, the public datasets."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parents[1]

# Prefect reads its settings when it is imported. A home of its own keeps a developer's profile out of the tests.
_home = tempfile.mkdtemp(prefix="marginal-tests-")
atexit.register(shutil.rmtree, _home, ignore_errors=True)
os.environ |= {
    "PREFECT_HOME": _home,
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",  # 40 s seen on two busy cores
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "MPLBACKEND": "Agg",
}
for _name in [name for name in os.environ if name.startswith("MARGINAL__") or name == "PREFECT_API_URL"]:
    del os.environ[_name]

# Timing says nothing on a shared machine; derandomised, a failure today is a failure tomorrow.
settings.register_profile("default", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("soak", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public datasets with published answers, where this machine has it beside the checkout."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the public datasets are not here (expected in ../shared/data beside the checkout)")
    return folder
