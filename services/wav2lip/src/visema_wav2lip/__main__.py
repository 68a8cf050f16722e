"""Starts the lip-sync service: `python -m visema_wav2lip`."""

from __future__ import annotations

import asyncio

import cv2
from visema.lipsync.v1 import lipsync_pb2_grpc
from visema_kit.device_meter import DeviceMeter
from visema_kit.logs import configure_logs
from visema_kit.metrics import Metrics
from visema_kit.objects import ObjectStore, StoreConfig
from visema_kit.server import ServiceSpec, run_service
from visema_kit.settings import load_settings

from visema_wav2lip.engines.registry import make_registry
from visema_wav2lip.pipeline import LipSyncPipeline, Workers
from visema_wav2lip.servicer import SERVICE, STAGE, LipSyncServicer
from visema_wav2lip.settings import Wav2LipSettings


async def serve(settings: Wav2LipSettings) -> None:
    """Serve until a signal comes."""
    metrics = Metrics()
    store = ObjectStore(StoreConfig.from_settings(settings), metrics)
    workers = Workers.start()
    engines = make_registry(settings, DeviceMeter(STAGE, metrics))
    servicer = LipSyncServicer(LipSyncPipeline(store, workers, settings.segment_codec), engines, settings, metrics)

    async def start() -> None:
        await store.wait_for_bucket()
        await workers.device.run(engines.load)
        metrics.describe_engine(STAGE, engines.choose().info())

    async def stop() -> None:
        await workers.aclose()
        await store.aclose()

    await run_service(
        ServiceSpec(
            name=STAGE,
            services=(SERVICE,),
            register=lambda server: lipsync_pb2_grpc.add_LipSyncServiceServicer_to_server(servicer, server),
            settings=settings,
            metrics=metrics,
            on_start=start,
            on_stop=stop,
        )
    )


def main() -> None:
    """Read the environment and run."""
    settings = load_settings(Wav2LipSettings)
    configure_logs(STAGE, settings.log_level)
    cv2.setNumThreads(1)  # one device thread computes; OpenCV's own threads would only compete with it
    asyncio.run(serve(settings))


if __name__ == "__main__":
    main()
