"""Every line is one JSON object, whoever writes it."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from visema_kit.logs import configure_logs, get_logger


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logs("wav2lip", "INFO", stream)
    yield stream
    logging.captureWarnings(False)
    root.handlers = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_values_are_fields(stream: io.StringIO) -> None:
    get_logger(__name__).info("segment_done", frames=25, path=object)
    (line,) = lines(stream)
    assert (line["event"], line["frames"], line["service"], line["level"]) == ("segment_done", 25, "wav2lip", "info")
    assert line["time"].endswith("Z")


def test_the_calls_context_is_in_every_line(stream: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(work_id="job-1"):
        get_logger(__name__).info("one")
        logging.getLogger("library").warning("two %s", "parts")
    get_logger(__name__).info("three")
    assert [(line["event"], line.get("work_id")) for line in lines(stream)] == [
        ("one", "job-1"),
        ("two parts", "job-1"),
        ("three", None),
    ]
    assert lines(stream)[1]["logger"] == "library"


def test_a_traceback_stays_on_its_line(stream: io.StringIO) -> None:
    get_logger(__name__).error("failed", exc_info=ValueError("line one\nline two"))
    (line,) = lines(stream)
    assert "line one\nline two" in line["exception"]


def test_lines_below_the_level_are_left_out(stream: io.StringIO) -> None:
    get_logger(__name__).debug("quiet")
    logging.getLogger("library").debug("quiet")
    assert lines(stream) == []


def test_warnings_are_lines_too(stream: io.StringIO) -> None:
    warnings.warn("old way", UserWarning, stacklevel=1)
    (line,) = lines(stream)
    assert "old way" in line["event"]


def test_configuring_again_does_not_double_the_lines(stream: io.StringIO) -> None:
    configure_logs("wav2lip", "INFO", stream)
    get_logger(__name__).info("once")
    assert len(lines(stream)) == 1
