"""Graphs whose constants lie in another file: they are brought in, or left out, byte for byte.

A built-in model has its weights once, in `model.safetensors`; its graph says where there each constant begins (ONNX's external
data). What comes out is a whole graph, which is looked through as any other. Files from strangers are not read this way.

Source: onnx.proto (TensorProto, StringStringEntryProto).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sonomask.safe_reading.onnx_graphs import EXTERNAL, GRAPH, INITIALIZER, LOCATION, RAW, fields, spans

__all__ = ["bring_in", "leave_out"]

LEAST = 1024  # bytes of a constant that is worth leaving out
WHERE = "model.safetensors"  # as the graph calls the other file


def bring_in(graph: bytes, weights: bytes) -> bytes:
    """A graph with its constants inside.

    Args:
        graph: Graph whose constants may be stored elsewhere.
        weights: The file in which they lie.

    Raises:
        ValueError: A constant is to lie elsewhere, or beyond the end.
    """
    return _each_constant(graph, lambda tensor: _whole(tensor, weights))


def leave_out(graph: bytes, weights: bytes) -> bytes:
    """A graph without those constants whose bytes lie in another file too."""
    return _each_constant(graph, lambda tensor: _pointer(tensor, weights))


def _each_constant(model: bytes, change: Any) -> bytes:
    found = []
    for field, value, message in _messages(memoryview(model)):
        if field == GRAPH:
            inside = (
                _field(INITIALIZER, change(own)) if part == INITIALIZER else whole
                for part, own, whole in _messages(value)
            )
            message = _field(GRAPH, b"".join(inside))
        found.append(message)
    return b"".join(found)


def _whole(tensor: Any, weights: bytes) -> bytes:
    place = {}
    for field, value in fields(tensor):
        if field == EXTERNAL:
            key, text = (bytes(own).decode() for _, own in fields(value))
            place[key] = text
    if not place:
        return bytes(tensor)
    start, length = int(place["offset"]), int(place["length"])
    if place["location"] != WHERE or not 0 <= start <= start + length <= len(weights):
        raise ValueError("a constant lies in no file that belongs to the model")
    kept = [message for field, _, message in _messages(tensor) if field not in (EXTERNAL, LOCATION)]
    return b"".join([*kept, _field(RAW, weights[start : start + length])])


def _pointer(tensor: Any, weights: bytes) -> bytes:
    raw = next((bytes(value) for field, value in fields(tensor) if field == RAW), b"")
    start = weights.find(raw) if len(raw) >= LEAST else -1
    if start < 0:
        return bytes(tensor)
    kept = [message for field, _, message in _messages(tensor) if field != RAW]
    place = {"location": WHERE, "offset": str(start), "length": str(len(raw))}
    entries = (_field(1, key.encode()) + _field(2, text.encode()) for key, text in place.items())
    return b"".join([*kept, *(_field(EXTERNAL, entry) for entry in entries), _varint(LOCATION << 3) + b"\1"])


def _messages(message: Any) -> Iterator[tuple[int, Any, bytes]]:
    """Number, value and all bytes of each field."""
    for field, value, where in spans(message):
        yield field, value, bytes(message[where])


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])
