"""Starts the encoder: `python -m visema_encoder`."""

from __future__ import annotations

import asyncio
import tempfile

import cv2
from visema.encoding.v1 import encoding_pb2_grpc
from visema_kit.logs import configure_logs, get_logger
from visema_kit.metrics import Metrics
from visema_kit.objects import ObjectStore, StoreConfig
from visema_kit.server import ServiceSpec, run_service
from visema_kit.settings import load_settings

from visema_encoder.codecs import SOFTWARE, usable_encoders
from visema_encoder.pipeline import EncodingPipeline
from visema_encoder.scratch import remove_leftovers
from visema_encoder.servicer import SERVICE, STAGE, EncodingServicer, engine_info
from visema_encoder.settings import EncoderSettings
from visema_encoder.workers import Workers


async def service_spec(settings: EncoderSettings) -> ServiceSpec:
    """The service, wired and not yet started; looks which encoders open here."""
    metrics = Metrics()
    store = ObjectStore(StoreConfig.from_settings(settings), metrics)
    workers = Workers(settings.encoder_workers)
    encoders = await asyncio.to_thread(usable_encoders)
    get_logger(__name__).info("video_encoders", usable=encoders)
    metrics.describe_engine(STAGE, engine_info(SOFTWARE))
    scratch = settings.scratch(tempfile.gettempdir())
    remove_leftovers(scratch)
    pipeline = EncodingPipeline(store, workers, encoders, scratch, settings.encoder_threads)
    servicer = EncodingServicer(pipeline, encoders, settings, metrics)

    async def stop() -> None:
        await workers.aclose()
        await store.aclose()

    return ServiceSpec(
        name=STAGE,
        services=(SERVICE,),
        register=lambda server: encoding_pb2_grpc.add_EncodingServiceServicer_to_server(servicer, server),
        settings=settings,
        metrics=metrics,
        on_start=store.wait_for_bucket,
        on_stop=stop,
    )


async def serve(settings: EncoderSettings) -> None:
    """Serve until a signal comes."""
    await run_service(await service_spec(settings))


def main() -> None:
    """Read the environment and run."""
    settings = load_settings(EncoderSettings)
    configure_logs(STAGE, settings.log_level)
    cv2.setNumThreads(1)  # frames are coded one by one; OpenCV's own threads would only compete with x264's
    asyncio.run(serve(settings))


if __name__ == "__main__":
    main()
