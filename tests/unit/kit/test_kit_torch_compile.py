"""Compiled functions give the same numbers, compile nothing while a job waits, and never fail one."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the neural engines need torch")

from visema_kit.device_meter import DeviceMeter  # noqa: E402  skipped without torch
from visema_kit.metrics import Metrics  # noqa: E402
from visema_kit.torch_compile import NetworkCompiler  # noqa: E402

pytestmark = pytest.mark.neural
CPU = torch.device("cpu")


def wave(x):
    return torch.sin(x) * 2 + x


class Backend:
    """Compiles by doing nothing; counts what it compiles and what runs compiled, and can fail at either."""

    def __init__(self):
        self.compiled, self.ran = 0, 0
        self.compile_error = self.run_error = None

    def __call__(self, graph, _example):
        if self.compile_error:
            raise self.compile_error
        self.compiled += 1

        def run(*args):
            if self.run_error:
                raise self.run_error
            self.ran += 1
            return graph.forward(*args)

        return run


class Engine:
    """A compiler with its backend, meter and metric."""

    def __init__(self, backend=None):
        torch.compiler.reset()
        self.backend, self.metrics = Backend(), Metrics()
        meter = DeviceMeter("wav2lip", self.metrics)
        self.compiler = NetworkCompiler("fake", CPU, meter, backend or self.backend)
        self.wave = self.compiler.compiled(wave)

    def warm_up(self, *sizes):
        with self.compiler.warming():
            return [self.wave(torch.ones(size)) for size in sizes]

    @property
    def metric(self):
        labels = {"stage": "wav2lip", "engine": "fake"}
        return self.metrics.registry.get_sample_value("visema_engine_compiled", labels)


@pytest.fixture
def engine():
    yield Engine()
    torch.compiler.reset()


def assert_right(engine, size):
    x = torch.arange(size, dtype=torch.float32)
    torch.testing.assert_close(engine.wave(x), wave(x))


def test_only_shapes_of_the_warm_up_run_compiled_and_nothing_is_compiled_later(engine):
    assert engine.metric is None  # compiling was not asked for yet
    engine.warm_up(8, 1)
    assert engine.metric == 1
    assert (engine.backend.compiled, engine.backend.ran) == (2, 2)
    for size in (8, 1, 5, 8):
        assert_right(engine, size)
    assert (engine.backend.compiled, engine.backend.ran) == (2, 5)
    assert engine.compiler.active


@pytest.mark.parametrize("error", [RuntimeError("no C++ compiler"), OSError("read-only"), KeyError("a defect")])
def test_what_cannot_be_compiled_runs_as_it_is_written_and_says_so(engine, error, caplog):
    engine.backend.compile_error = error
    with caplog.at_level("WARNING", "visema_kit.torch_compile"):
        (first,) = engine.warm_up(4)
        assert_right(engine, 4)
    torch.testing.assert_close(first, wave(torch.ones(4)))
    assert not engine.compiler.active
    assert engine.metric == 0
    (record,) = [record for record in caplog.records if record.name == "visema_kit.torch_compile"]  # tried once
    assert "fake runs as it is written" in record.getMessage()
    assert error.args[0] in record.getMessage()


def test_compiled_code_that_fails_later_costs_no_result(engine):
    engine.warm_up(4)
    engine.backend.run_error = RuntimeError("the graph cannot be replayed")
    assert_right(engine, 4)
    assert engine.metric == 0
    engine.backend.run_error = None
    before = engine.backend.ran
    assert_right(engine, 4)
    assert engine.backend.ran == before  # it is not tried again


def test_running_out_of_memory_is_for_the_batches_to_solve(engine):
    engine.warm_up(4)
    engine.backend.run_error = torch.OutOfMemoryError("too much")
    with pytest.raises(torch.OutOfMemoryError):
        engine.wave(torch.ones(4))
    engine.backend.run_error = None
    assert_right(engine, 4)
    assert (engine.compiler.active, engine.metric) == (True, 1)


def test_a_machine_without_a_compiler_serves_as_if_nothing_was_asked(tmp_path, monkeypatch):
    from torch._inductor import config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    nowhere = {"cpp.cxx": (None, str(tmp_path / "g++")), "force_disable_caches": True, "compile_threads": 1}
    with config.patch(nowhere):
        engine = Engine("inductor")
        engine.warm_up(4)
        assert_right(engine, 4)
    assert (engine.compiler.active, engine.metric) == (False, 0)
    torch.compiler.reset()


def test_an_error_of_the_function_itself_is_the_callers(engine):
    def refuse(_x):
        raise ValueError("not these frames")

    refusing = engine.compiler.compiled(refuse)
    with pytest.raises(ValueError, match="not these frames"), engine.compiler.warming():
        refusing(torch.ones(2))
