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


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "run the tests that are marked dtypes, all cases of them, with weights in this dtype, and no others"
    parser.addoption("--dtype", choices=("float32", "bfloat16", "float16", "int8"), help=text)


def pytest_configure(config: pytest.Config) -> None:
    text = "dtypes(*names): holds whatever dtype, or in which dtypes, weights are held in; see tests/dtypes.py"
    config.addinivalue_line("markers", text)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `isa` runs once for every kernel set of this machine, a marked one for every dtype."""
    if "isa" in metafunc.fixturenames or metafunc.definition.get_closest_marker("dtypes") is not None:
        import dtypes

        dtypes.parametrize(metafunc)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    import dtypes

    dtypes.choose(config, items)


@pytest.fixture
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a kernel set, forced on every Model that the test builds."""
    monkeypatch.setenv("FASTGRU_ISA", request.param)
    return request.param


@pytest.fixture(autouse=True)
def weight_dtype(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The dtype that the weights of every Model are held in, unless the test says otherwise."""
    dtype = getattr(request, "param", "float32")
    if dtype != "float32":
        import dtypes

        dtypes.hold(dtype, monkeypatch)
    return dtype


@pytest.fixture
def vector_isas(weight_dtype: str) -> list[str]:
    """The kernel sets that promise each other the same bits."""
    from building import vector_sets

    return vector_sets(weight_dtype)
