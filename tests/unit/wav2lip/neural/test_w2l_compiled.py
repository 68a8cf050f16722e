"""The generator through torch.compile: the same pictures, on little memory too, and the engine says what it is."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from support.small_memory import SmallMemory  # noqa: E402  skipped without torch
from visema_kit.device_meter import DeviceMeter  # noqa: E402
from visema_kit.metrics import Metrics  # noqa: E402
from visema_kit.torch_compile import NetworkCompiler  # noqa: E402
from visema_wav2lip.engines import neural  # noqa: E402
from visema_wav2lip.engines import neural_generator as inference  # noqa: E402

pytestmark = pytest.mark.neural
CPU = torch.device("cpu")
ENOUGH_DB = 45.0
BATCH = 3


class Traced:
    """A backend that traces as the real one does and generates no code, which would take minutes."""

    def __init__(self):
        self.ran = 0

    def __call__(self, graph, example):
        from torch._dynamo.backends.debugging import aot_eager

        compiled = aot_eager(graph, example)

        def run(*args):
            self.ran += 1
            return compiled(*args)

        return run


@pytest.fixture
def backend():
    torch.compiler.reset()
    yield Traced()
    torch.compiler.reset()


def pictures(generator, goldens, count, *, still=False):
    crops = np.ascontiguousarray(goldens["datagen.0.img_u8"][..., 3:])[:count]
    crops = np.repeat(crops[:1], count, axis=0) if still else crops
    return np.concatenate(list(generator.batches(goldens["datagen.mels"][:count], crops, 1.0)))


def psnr_db(a, b):
    return -10 * np.log10(max(np.mean((a.astype(np.float64) - b) ** 2), 1e-20))


def test_a_compiled_engine_gives_the_same_pictures_and_names_itself(generator, goldens, backend, monkeypatch):
    monkeypatch.setattr(neural, "NetworkCompiler", partial(NetworkCompiler, backend=backend))
    metrics = Metrics()
    options = neural.NeuralOptions(device="cpu", precision="float32", batch_size=BATCH, torch_compile=True)
    engine = neural.build_engine(generator, "", options, DeviceMeter("wav2lip", metrics))
    assert engine.describe().version.endswith(" torch cpu fp32 compiled")  # and not OpenVINO
    labels = {"stage": "wav2lip", "engine": "wav2lip"}
    assert metrics.registry.get_sample_value("visema_engine_compiled", labels) == 1
    exact = inference.TorchGenerator(generator, CPU, inference.FLOAT32, BATCH)
    fast = engine._generator
    for count, still, compiled_parts in ((BATCH, False, 3), (BATCH, True, 3), (1, False, 3), (2, False, 0)):
        before = backend.ran
        found = pictures(fast, goldens, count, still=still)
        assert psnr_db(found, pictures(exact, goldens, count, still=still)) >= ENOUGH_DB
        assert backend.ran - before == compiled_parts  # face, speech, decoder


def test_a_compiled_generator_halves_a_batch_that_does_not_fit(generator, goldens, backend):
    compiler = NetworkCompiler("wav2lip", CPU, backend=backend)
    fast = inference.TorchGenerator(generator, CPU, inference.FLOAT32, 4, compiler=compiler)
    fast._network.face_decoder_blocks[6] = SmallMemory(fast._network.face_decoder_blocks[6], 2)
    expected = goldens["gen.0.out"].transpose(0, 2, 3, 1)
    with compiler.warming():
        inference.warm_up(fast, 2)
    assert psnr_db(pictures(fast, goldens, 4), expected) >= ENOUGH_DB
    assert fast._batches.frames == 2
    assert compiler.active
