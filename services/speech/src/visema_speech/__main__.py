"""Wires the speech service and serves it: `python -m visema_speech`."""

from __future__ import annotations

import asyncio

import grpc
from visema.speech.v1 import speech_pb2_grpc
from visema_kit.executor import DeviceThread
from visema_kit.logs import configure_logs
from visema_kit.metrics import Metrics
from visema_kit.objects import ObjectStore, StoreConfig
from visema_kit.server import ServiceSpec, run_service
from visema_kit.settings import load_settings

from visema_speech.cache import SpeechCache
from visema_speech.engines.catalogue import known_engines
from visema_speech.engines.espeak.engine import EspeakEngine
from visema_speech.engines.registry import EngineRegistry
from visema_speech.pipeline import SpeechPipeline
from visema_speech.servicer import SERVICE, STAGE, SpeechServicer, engine_info
from visema_speech.settings import SpeechSettings
from visema_speech.voices import Voices


def make_spec(settings: SpeechSettings) -> ServiceSpec:
    """Everything that the kit's server needs; the engines are loaded when it starts."""
    metrics = Metrics()
    store = ObjectStore(StoreConfig.from_settings(settings), metrics)
    device = DeviceThread(STAGE)
    espeak = EspeakEngine()
    registry = EngineRegistry(settings.speech_engine, espeak, known_engines(settings.checkpoint_dir, espeak))
    pipeline = SpeechPipeline(SpeechCache(store), device, metrics, settings.speech_max_audio_s)
    servicer = SpeechServicer(pipeline, settings, metrics)

    def register(server: grpc.aio.Server) -> None:
        speech_pb2_grpc.add_SpeechServiceServicer_to_server(servicer, server)

    async def start() -> None:
        await asyncio.gather(store.wait_for_bucket(), device.run(registry.load))
        voices = Voices(registry, settings.default_voice)
        servicer.use(voices, registry.degraded_reason)
        engine = voices.engine_of(voices.default).describe()
        metrics.describe_engine(STAGE, engine_info(engine, voices.default, registry.degraded_reason))

    async def stop() -> None:
        await device.aclose()
        await asyncio.to_thread(registry.close)
        await store.aclose()

    return ServiceSpec(
        name=STAGE,
        services=[SERVICE],
        register=register,
        settings=settings,
        metrics=metrics,
        on_start=start,
        on_stop=stop,
    )


def main() -> None:
    """Read the environment and serve until a signal comes."""
    settings = load_settings(SpeechSettings)
    configure_logs(STAGE, settings.log_level)
    asyncio.run(run_service(make_spec(settings)))


if __name__ == "__main__":
    main()
