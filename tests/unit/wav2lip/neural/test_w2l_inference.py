"""Folding, precisions and backends: the same pictures as the plain network, in any batch, on little memory."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from support.small_memory import SmallMemory  # noqa: E402  skipped without torch
from visema_kit.device_meter import DeviceMeter  # noqa: E402  skipped without torch
from visema_kit.errors import ResourceExhausted  # noqa: E402  skipped without torch
from visema_kit.metrics import Metrics  # noqa: E402  skipped without torch
from visema_wav2lip.engines import neural_generator as inference  # noqa: E402  skipped without torch
from visema_wav2lip.model.folding import fold_batch_norms, folded_convolution  # noqa: E402  skipped without torch

pytestmark = pytest.mark.neural
CPU = torch.device("cpu")
ENOUGH_DB = 45.0


@pytest.fixture(scope="module")
def windows(goldens):
    return goldens["datagen.mels"]


@pytest.fixture(scope="module")
def crops(goldens):
    return np.ascontiguousarray(np.concatenate((goldens["datagen.0.img_u8"], goldens["datagen.1.img_u8"]))[..., 3:])


@pytest.fixture(scope="module")
def expected(goldens):
    return np.concatenate((goldens["gen.0.out"], goldens["gen.1.out"])).transpose(0, 2, 3, 1)


def run(generator, windows, crops, strength=1.0):
    return np.concatenate(list(generator.batches(windows, crops, strength)))


def psnr_db(a, b):
    return -10 * np.log10(np.mean((a.astype(np.float64) - b) ** 2))


@pytest.mark.parametrize("network", ["wav2lip", "syncnet"])
def test_folding_changes_no_output(goldens, make_network, network):
    plain = make_network(network, salt="another")
    folded = fold_batch_norms(plain)
    audio = torch.from_numpy(goldens["sync.mels"])
    faces = torch.from_numpy(goldens["sync.faces"]) if network == "syncnet" else torch.rand(4, 6, 96, 96)
    with torch.inference_mode():
        ours, theirs = folded(audio, faces), plain(audio, faces)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in plain.modules())


def test_folding_a_transposed_convolution_scales_its_second_axis():
    convolution, norm = torch.nn.ConvTranspose2d(3, 5, 3), torch.nn.BatchNorm2d(5).eval()
    torch.nn.init.uniform_(norm.running_var, 0.5, 2)
    torch.nn.init.uniform_(norm.weight)
    x = torch.rand(1, 3, 4, 4)
    expected = norm(convolution(x))
    torch.testing.assert_close(folded_convolution(convolution, norm)(x), expected)


def test_folding_refuses_what_it_cannot_fold():
    with pytest.raises(TypeError, match="cannot fold ReLU into Conv2d"):
        folded_convolution(torch.nn.Conv2d(1, 1, 1), torch.nn.ReLU())


def test_float32_equals_the_goldens_in_batches_of_any_size(generator, windows, crops, expected):
    for batch_size in (3, 8):
        fast = inference.TorchGenerator(generator, CPU, inference.FLOAT32, batch_size)
        np.testing.assert_allclose(run(fast, windows, crops), expected, atol=1e-4)


@pytest.mark.parametrize("precision", [inference.BFLOAT16, inference.FLOAT16], ids=lambda precision: precision.name)
def test_half_precision_is_within_45_db(generator, windows, crops, expected, precision):
    fast = inference.TorchGenerator(generator, CPU, precision, 8)
    assert psnr_db(run(fast, windows, crops), expected) >= ENOUGH_DB


def test_bfloat16_encoders_would_not_be_good_enough(generator, windows, crops, expected):
    careless = inference.Precision("all-bf16", torch.bfloat16, torch.bfloat16)
    fast = inference.TorchGenerator(generator, CPU, careless, 8)
    assert psnr_db(run(fast, windows, crops), expected) < ENOUGH_DB


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # the converter traces
def test_openvino_equals_the_goldens(generator, windows, crops, expected):
    pytest.importorskip("openvino")
    from visema_wav2lip.engines.neural_openvino import OpenVinoGenerator

    exact = OpenVinoGenerator(generator, inference.FLOAT32, batch_size=4, threads=1)
    np.testing.assert_allclose(run(exact, windows, crops), expected, atol=2e-4)
    repeated = np.repeat(crops[:1], 3, axis=0)
    separate = np.concatenate([run(exact, windows[i : i + 1], crops[:1]) for i in range(3)])
    np.testing.assert_allclose(run(exact, windows[:3], repeated), separate, atol=1e-5)
    if inference.best_precision(CPU) is inference.BFLOAT16:
        fast = OpenVinoGenerator(generator, inference.BFLOAT16, batch_size=8, threads=1)
        assert psnr_db(run(fast, windows, crops), expected) >= ENOUGH_DB


def test_a_repeated_face_is_encoded_once(generator, windows, crops):
    fast = inference.TorchGenerator(generator, CPU, inference.FLOAT32, 8)
    encoded = []
    fast._network.face_encoder_blocks[0].register_forward_hook(lambda _m, inputs, _o: encoded.append(len(inputs[0])))
    still = np.stack([crops[0], crops[1], crops[0], crops[0]])
    together = run(fast, windows[:4], still)
    assert encoded == [2]
    separate = np.concatenate([run(fast, windows[i : i + 1], still[i : i + 1]) for i in range(4)])
    np.testing.assert_allclose(together, separate, atol=1e-5)


def test_mouth_strength_is_a_line_from_silence_through_the_network_as_trained(generator, windows, crops):
    fast = inference.TorchGenerator(generator, CPU, inference.FLOAT32, 8)
    silent = np.full_like(windows, -4)
    np.testing.assert_allclose(run(fast, windows, crops, 0.0), run(fast, silent, crops), atol=1e-4)
    distance = [np.abs(run(fast, windows, crops, s) - run(fast, silent, crops)).mean() for s in (0.25, 0.5, 1.0, 1.5)]
    assert distance == sorted(distance)


@pytest.mark.parametrize("fits", [3, 1])
def test_out_of_memory_halves_the_batch_and_loses_no_frame(generator, windows, crops, expected, fits):
    fast = inference.TorchGenerator(generator, CPU, inference.FLOAT32, 8)
    fast._network.face_decoder_blocks[6] = SmallMemory(fast._network.face_decoder_blocks[6], fits)
    np.testing.assert_allclose(run(fast, windows, crops), expected, atol=1e-4)
    assert fast._batches.frames == fits


def test_a_device_too_small_for_one_frame_is_an_error_that_may_be_retried(generator, windows, crops):
    fast = inference.TorchGenerator(generator, CPU, inference.FLOAT32, 4)
    roomy = fast._network.face_decoder_blocks[6]
    fast._network.face_decoder_blocks[6] = SmallMemory(roomy, 0)
    with pytest.raises(ResourceExhausted):
        run(fast, windows, crops)
    fast._network.face_decoder_blocks[6] = roomy
    assert len(run(fast, windows, crops)) == len(windows)  # the next job succeeds


def test_distinct_pictures_keep_the_order_of_appearance():
    pictures = np.array([5, 3, 5, 9, 3], np.uint8)[:, None]
    distinct, which = inference.distinct_pictures(pictures)
    assert distinct[:, 0].tolist() == [5, 3, 9]
    assert which.tolist() == [0, 1, 0, 2, 1]


def test_precision_follows_the_device(monkeypatch):
    assert inference.best_precision(torch.device("cuda")) is inference.FLOAT16
    for in_hardware, best in ((True, inference.BFLOAT16), (False, inference.FLOAT32)):
        monkeypatch.setattr(inference, "cpu_has_bfloat16", lambda in_hardware=in_hardware: in_hardware)
        assert inference.best_precision(CPU) is best


def test_warm_up_runs_a_whole_batch(generator):
    fast = inference.TorchGenerator(generator, CPU, inference.FLOAT32, 4)
    sizes = []
    fast._network.face_encoder_blocks[0].register_forward_hook(lambda _m, inputs, _o: sizes.append(len(inputs[0])))
    inference.warm_up(fast, 4)
    assert sizes == [4]


def test_each_batch_is_reported(generator, windows, crops):
    metrics = Metrics()
    fast = inference.TorchGenerator(generator, CPU, inference.FLOAT32, 3, DeviceMeter("wav2lip", metrics))
    run(fast, windows, crops)
    labels = {"stage": "wav2lip", "engine": "wav2lip"}
    assert metrics.registry.get_sample_value("visema_batch_frames_sum", labels) == len(windows)
    assert metrics.registry.get_sample_value("visema_batch_frames_count", labels) == -(-len(windows) // 3)
