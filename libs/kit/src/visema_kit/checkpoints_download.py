"""Fetches published weights: resumes where a download broke off, and trusts nothing but the hash."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

import urllib3

from visema_kit.checkpoints import CheckpointFile
from visema_kit.checkpoints_store import file_sha256
from visema_kit.errors import CheckpointMissing, Unavailable

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0  # between two blocks
BLOCK_BYTES = 1 << 20
ATTEMPTS = 5  # each goes on where the one before ended

Progress = Callable[[int, int], None]  # bytes there, bytes in all (0: unknown)


def fetch(
    file: CheckpointFile,
    folder: Path,
    *,
    mirror: str = "",
    offline: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Bring a published file into `folder`, from a directory, a mirror or its publisher.

    Args:
        folder: The file ends up at `folder / file.name`; a broken download stays beside it as `.part`.
        mirror: URL under which `file.name` lies; instead of the publisher.
        offline: Directory that holds the file, by its full name or its last part; then nothing is downloaded.
        progress: Called with what is there and what there is.

    Returns: The path of the file, with the pinned hash.

    Raises: CheckpointMissing: another hash, or not in the directory. Unavailable: the host does not answer.
    """
    target = folder / file.name
    if target.is_file() and file_sha256(target) == file.sha256:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    if offline is not None:
        shutil.copyfile(_in_directory(file, offline), part)
    else:
        url = f"{mirror.rstrip('/')}/{file.name}" if mirror else file.url
        _download(url, part, file.size_bytes, progress)
    actual = file_sha256(part)
    if actual != file.sha256:
        part.unlink()  # going on with wrong bytes never ends well
        raise CheckpointMissing(
            f"{file.name} has the sha256 {actual}, not {file.sha256}: the source is damaged or holds another file.",
            metadata={"file": file.name, "sha256": actual},
        )
    part.replace(target)
    return target


def _in_directory(file: CheckpointFile, directory: Path) -> Path:
    for candidate in (directory / file.name, directory / Path(file.name).name):
        if candidate.is_file():
            return candidate
    raise CheckpointMissing(f"{directory} holds neither {file.name} nor {Path(file.name).name}.")


def _download(url: str, part: Path, size_bytes: int, progress: Progress | None) -> None:
    """Download to `part`, going on after what is there already."""
    timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S)
    retries = urllib3.Retry(connect=2, redirect=5, read=0)
    with urllib3.PoolManager(timeout=timeout, retries=retries) as pool:
        last: Exception | None = None
        for _ in range(ATTEMPTS):
            try:
                if _attempt(pool, url, part, size_bytes, progress):
                    return
            except (urllib3.exceptions.HTTPError, OSError) as error:
                last = error
        raise Unavailable(f"The download of {url} broke off {ATTEMPTS} times; the same command goes on.") from last


def _attempt(pool: urllib3.PoolManager, url: str, part: Path, size_bytes: int, progress: Progress | None) -> bool:
    """One request. Returns: whether the file is complete."""
    there = part.stat().st_size if part.is_file() else 0
    if size_bytes and there >= size_bytes:
        return True
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={there}-"} if there else {})
    response = pool.request("GET", url, headers=headers, preload_content=False)
    try:
        if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return True  # nothing comes after what is there; the hash decides
        if response.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            raise CheckpointMissing(f"{url} answers {response.status}.", metadata={"url": url})
        if response.status == HTTPStatus.OK:
            there = 0  # the host does not resume: from the start
        total = there + int(response.headers.get("Content-Length", "0"))
        with part.open("ab" if there else "wb") as out:
            while block := response.read1(BLOCK_BYTES):  # what came, so that a broken connection loses nothing
                out.write(block)
                there += len(block)
                if progress is not None:
                    progress(there, total)
        return there >= total
    finally:
        response.release_conn()
