"""Digests tell different lists of parts apart, and nothing else."""

from __future__ import annotations

import enum
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from visema.portrait.v1 import portrait_pb2
from visema_kit.digest import digest_of, sha256_of

PARTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary() | st.fractions(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def typed(part: object) -> object:
    """A form that is equal only where type and value are."""
    if isinstance(part, dict):
        return ("dict", sorted((key, typed(value)) for key, value in part.items()) if part else [])
    if isinstance(part, (list, tuple)):
        return ("list", [typed(value) for value in part])
    return (type(part).__name__, repr(part + 0.0) if isinstance(part, float) else repr(part))


@given(st.lists(PARTS, max_size=3), st.lists(PARTS, max_size=3))
def test_digests_are_equal_exactly_where_the_parts_are(left: list, right: list) -> None:
    try:
        same = typed(left) == typed(right)
    except TypeError:
        assume(False)
    assert (digest_of(*left) == digest_of(*right)) is same


def test_parts_do_not_run_together() -> None:
    assert digest_of("ab", "c") != digest_of("a", "bc")
    assert digest_of(1) != digest_of("1") != digest_of(b"1")
    assert digest_of(1) != digest_of(True)
    assert digest_of([1, 2], 3) != digest_of(1, [2, 3])


def test_a_messages_optional_default_differs_from_unset() -> None:
    unset, zero = portrait_pb2.MotionSettings(), portrait_pb2.MotionSettings(breathing=0.0)
    assert digest_of(unset) != digest_of(zero)
    assert digest_of(unset) == digest_of(portrait_pb2.MotionSettings())
    assert digest_of(unset) != digest_of(portrait_pb2.FaceSelection())


def test_the_digest_does_not_change_from_run_to_run() -> None:
    """A change here makes every stored loop be rendered again: only on purpose."""
    parts = ("loop", 25, 0.5, Fraction(30000, 1001), None, b"\x00", {"b": 1, "a": [True]})
    assert digest_of(*parts) == "e1481ce39c7d70c49c5272e2935ec9ab38cbbf324dfcb727f9664559cc1ba8f0"


def test_members_of_enums_are_not_their_values() -> None:
    class Size(enum.IntEnum):
        SMALL = 1

    assert digest_of(Size.SMALL) != digest_of(1)


def test_nan_and_unknown_types_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        digest_of(float("nan"))
    with pytest.raises(TypeError, match="object"):
        digest_of(object())  # type: ignore[arg-type]


def test_plain_content_has_the_common_hash() -> None:
    assert sha256_of(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
