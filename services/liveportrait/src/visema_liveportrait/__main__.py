"""Wires stage 1 and serves it: `python -m visema_liveportrait`."""

from __future__ import annotations

import asyncio

import cv2
import grpc
from visema.portrait.v1 import portrait_pb2, portrait_pb2_grpc
from visema_kit.device_meter import DeviceMeter
from visema_kit.executor import DeviceThread
from visema_kit.logs import configure_logs
from visema_kit.metrics import Metrics
from visema_kit.objects import ObjectStore, StoreConfig
from visema_kit.server import ServiceSpec, run_service
from visema_kit.settings import load_settings
from visema_media.face import warm_up
from visema_media.limits import MEBIBYTE

from visema_liveportrait.engines.registry import make_registry
from visema_liveportrait.pipeline import Pipeline, PipelineConfig
from visema_liveportrait.servicer import STAGE, PortraitServicer
from visema_liveportrait.settings import LiveportraitSettings


def make_spec(settings: LiveportraitSettings) -> ServiceSpec:
    """Everything that the kit's server needs; the engines are loaded when it starts."""
    metrics = Metrics()
    store = ObjectStore(StoreConfig.from_settings(settings), metrics)
    device = DeviceThread(STAGE)
    engines = make_registry(settings, DeviceMeter(STAGE, metrics))
    config = PipelineConfig(
        limits=settings.media_limits(),
        codec=settings.segment_codec,
        loop_s=settings.loop_s,
        segment_s=settings.segment_s,
        prepared_cache_bytes=settings.prepared_cache_mib * MEBIBYTE,
    )
    servicer = PortraitServicer(
        Pipeline(config, store, device, metrics),
        engines,
        metrics,
        max_streams=settings.max_streams,
        max_video_s=settings.max_video_s,
    )

    def register(server: grpc.aio.Server) -> None:
        portrait_pb2_grpc.add_PortraitAnimationServiceServicer_to_server(servicer, server)

    async def start() -> None:
        await store.wait_for_bucket()
        await device.run(warm_up)
        await device.run(engines.load)
        metrics.describe_engine(STAGE, engines.choose().info())

    async def stop() -> None:
        await device.aclose()
        await store.aclose()

    return ServiceSpec(
        name=STAGE,
        services=[portrait_pb2.DESCRIPTOR.services_by_name["PortraitAnimationService"].full_name],
        register=register,
        settings=settings,
        metrics=metrics,
        on_start=start,
        on_stop=stop,
    )


def main() -> None:
    """Read the environment and serve until a signal comes."""
    settings = load_settings(LiveportraitSettings)
    configure_logs(STAGE, settings.log_level)
    cv2.setNumThreads(1)  # one device thread computes; OpenCV's own pool only adds overhead at this size
    asyncio.run(run_service(make_spec(settings)))


if __name__ == "__main__":
    main()
