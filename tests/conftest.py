"""Settings and fixtures that all tests share."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

# derandomised: a run says the same thing on every machine; raise max_examples to hunt
settings.register_profile(
    "quick",
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("quick")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `isa` runs once for every kernel set of this machine."""
    if "isa" in metafunc.fixturenames:
        from building import ISAS

        metafunc.parametrize("isa", ISAS, indirect=True)


@pytest.fixture
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a kernel set, forced on every Model that the test builds."""
    monkeypatch.setenv("FASTGRU_ISA", request.param)
    return request.param
