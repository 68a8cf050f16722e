"""Keys name their tenant, and nothing that a client writes gets out of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from visema.common.v1 import common_pb2
from visema_kit import keys
from visema_kit.errors import ForeignObject, InvalidInput

HOSTILE = ["", ".", "..", "a/b", "/", "a b", "é", "-x", "x" * 200, "a\x00", "a\n", ".hidden", "a\\b", "%2e%2e"]


@pytest.mark.parametrize(
    ("made", "key"),
    [
        (keys.upload_key("t", "u1"), "uploads/t/u1"),
        (keys.media_key("t", "abc"), "media/t/abc"),
        (keys.avatar_key("t", "a1", "portrait.png"), "avatars/t/a1/portrait.png"),
        (keys.loop_key("t", "d1", "0.mkv"), "loops/t/d1/0.mkv"),
        (keys.job_key("t", "j1", "wav2lip", "0.mkv"), "jobs/t/j1/wav2lip/0.mkv"),
        (keys.job_prefix("t", "j1"), "jobs/t/j1/"),
        (keys.result_key("t", "j1", "video.mp4"), "results/t/j1/video.mp4"),
    ],
)
def test_each_kind_has_its_form(made: str, key: str) -> None:
    assert made == key


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_never_become_part_of_a_key(name: str) -> None:
    with pytest.raises(InvalidInput):
        keys.job_key("t", name, "x")
    with pytest.raises(InvalidInput):
        keys.media_key(name, "x")


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_key_that_can_be_made_belongs_to_its_tenant(tenant: str, name: str) -> None:
    try:
        key = keys.media_key(tenant, name)
    except InvalidInput:
        return
    assert keys.tenant_of(key) == tenant
    assert key.split("/") == ["media", tenant, name]


@pytest.mark.parametrize(
    "key", ["", "media", "media/t", "media/t/", "secret/t/x", "/media/t/x", "media//x", "media/t/../u/x", "media/T/x"]
)
def test_what_is_not_a_key_of_ours_is_foreign(key: str) -> None:
    with pytest.raises(ForeignObject):
        keys.tenant_of(key)


def test_a_reference_to_another_tenant_or_bucket_is_refused() -> None:
    ref = common_pb2.ObjectRef(bucket="visema", key="media/acme/x")
    keys.check_tenant(ref, "acme", "visema")
    with pytest.raises(ForeignObject):
        keys.check_tenant(ref, "other", "visema")
    with pytest.raises(ForeignObject):
        keys.check_tenant(ref, "acme", "elsewhere")
