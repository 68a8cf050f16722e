"""`google.api.field_behavior = REQUIRED` enforced on any request message, nested ones too."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from visema_kit.errors import InvalidInput


def check_request(request: Message) -> None:
    """Refuse a request that lacks something.

    A REQUIRED message must be set, a REQUIRED number, text or enum must not be 0 or empty, a REQUIRED list must have an
    entry; the same holds inside every message that is set. A request that is nothing but one oneof must say which.

    Raises: InvalidInput: the first field that is wrong, with its path, e.g. `open.audio.sha256` or `items[2].name`.
    """
    envelope = _envelope(request.DESCRIPTOR)
    if envelope and request.WhichOneof(envelope) is None:
        raise InvalidInput(f"one of the fields of `{envelope}` must be set", field=envelope)
    _check(request, "")


@dataclass(frozen=True)
class _Rule:
    """What there is to check at one field."""

    name: str
    required: bool
    repeated: bool
    has_presence: bool
    holds_messages: bool

    def is_given(self, message: Message) -> bool:
        """Whether the field holds something."""
        return message.HasField(self.name) if self.has_presence else bool(getattr(message, self.name))

    def children(self, message: Message) -> Iterator[tuple[str, Message]]:
        """The messages that the field holds, each with its path from here."""
        if self.repeated:
            for index, child in enumerate(getattr(message, self.name)):
                yield f"{self.name}[{index}]", child
        elif message.HasField(self.name):
            yield self.name, getattr(message, self.name)


def _check(message: Message, prefix: str) -> None:
    for rule in _rules(message.DESCRIPTOR):
        if rule.required and not rule.is_given(message):
            raise InvalidInput(f"{prefix}{rule.name} is required", field=prefix + rule.name)
        if rule.holds_messages:
            for path, child in rule.children(message):
                _check(child, f"{prefix}{path}.")


@functools.cache
def _rules(descriptor: Descriptor) -> tuple[_Rule, ...]:
    """The fields worth a look: REQUIRED ones and messages (maps are not entered). Made once for each message type."""
    rules = []
    for each in descriptor.fields:
        required = field_behavior_pb2.REQUIRED in each.GetOptions().Extensions[field_behavior_pb2.field_behavior]
        holds_messages = each.message_type is not None and not each.message_type.GetOptions().map_entry
        if required or holds_messages:
            rules.append(_Rule(each.name, required, each.is_repeated, each.has_presence, holds_messages))
    return tuple(rules)


@functools.cache
def _envelope(descriptor: Descriptor) -> str:
    """Name of the oneof that holds all fields of the message; empty when there is none."""
    if len(descriptor.oneofs) == 1 and len(descriptor.oneofs[0].fields) == len(descriptor.fields):
        return str(descriptor.oneofs[0].name)
    return ""
