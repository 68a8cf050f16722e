"""What the gateway says about itself: health and configuration."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field
from visema_kit.metrics import SLO_TARGETS_S

from visema_gateway.api.deps import TheGateway
from visema_gateway.api.problems import documented
from visema_gateway.core.gateway import LONGEST_TEXT

router = APIRouter(tags=["about"])


class Health(BaseModel):
    """Whether jobs can be made."""

    status: str = Field(examples=["ok"])
    orchestrator: str = Field(examples=["serving"])


class Limits(BaseModel):
    """What is accepted."""

    image_max_bytes: int
    audio_max_bytes: int
    audio_max_seconds: float
    text_max_characters: int
    image_types: list[str] = ["image/jpeg", "image/png", "image/webp"]
    audio_types: list[str] = ["audio/wav", "audio/mpeg", "audio/flac", "audio/ogg", "audio/mp4"]


class Configuration(BaseModel):
    """What a client needs to know."""

    version: str
    limits: Limits
    engines: list[str] = ["auto", "neural", "embedded"]
    defaults: dict[str, Any]
    target_seconds: dict[str, float] = Field(description="For five seconds of video, by stage and in total.")
    text_to_speech: bool
    tokens_needed: bool
    webhooks: bool


DEFAULTS: dict[str, Any] = {
    "size_px": 512,
    "frame_rate": 25,
    "engine": "auto",
    "framing": "bust",
    "blinks_per_minute": 17,
    "head_motion": 1,
    "breathing": 1,
    "gaze_wander": 1,
    "expression": "neutral",
    "expression_strength": 0.6,
    "mouth_strength": 1,
    "speech_motion": 0,
    "crf": 18,
    "seed": 1,
}


@router.get("/health", response_model=Health, responses={503: {"model": Health}}, summary="Whether it works")
async def health(gateway: TheGateway, response: Response) -> Health:
    """503 while the orchestrator does not serve, or the gateway is stopping. Needs no token."""
    orchestrator = await gateway.health.overall()
    status = "draining" if gateway.draining else "ok" if orchestrator == "serving" else "unavailable"
    if status != "ok":
        response.status_code = 503
    return Health(status=status, orchestrator=orchestrator)


@router.get("/config", response_model=Configuration, responses=documented(), summary="Limits and defaults")
async def config(gateway: TheGateway) -> Configuration:
    """Needs no token and holds no secrets."""
    settings = gateway.settings
    return Configuration(
        version=version("visema-gateway"),
        limits=Limits(
            image_max_bytes=settings.image_max_bytes,
            audio_max_bytes=settings.audio_max_bytes,
            audio_max_seconds=settings.audio_max_s,
            text_max_characters=LONGEST_TEXT,
        ),
        defaults=DEFAULTS,
        target_seconds=dict(SLO_TARGETS_S),
        text_to_speech=await gateway.health.can_speak(),
        tokens_needed=gateway.tokens is not None,
        webhooks=settings.webhook_secret is not None,
    )
