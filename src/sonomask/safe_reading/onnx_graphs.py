"""ONNX files from strangers: looked through before onnxruntime sees them, and run in bounded memory.

onnxruntime follows paths that a graph names (external data), runs its loops, takes memory for whatever size a constant
says, and computes what is constant while it loads. Here the file's protocol buffer is walked by its wire format, which needs
no package: a graph is taken if it is one flat list of ONNX's own operators whose constants lie in the file. The memory of its
results comes from an arena with an end. What is constant is computed while a graph loads, outside of that arena, only if that
can't make it grow.
Source: onnx.proto and protobuf's encoding guide; onnxruntime's `OrtArenaCfg`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sonomask.errors import WeightsError

__all__ = ["check_graph", "fields", "open_session", "spans"]

LARGEST = 2**31 - 1  # bytes; the end of protocol buffers too
MOST_NODES = 50_000  # the catalogue's largest has some 6,000
MOST_MEMORY = 8 * 2**30  # bytes of all results that are alive at once; the same for all sessions of a process
MOST_CONSTANTS = 2**30  # numbers that are computed while a graph loads
BROADCAST = {b"Add", b"Sub", b"Mul", b"Div"}  # as many numbers as the product of their inputs' at most
SHRINKING = {  # no more numbers than their largest input, or than the constant that they hold
    b"Cast", b"Constant", b"DequantizeLinear", b"Identity", b"Neg", b"QuantizeLinear", b"ReduceProd", b"Reshape",
    b"Reciprocal", b"Shape", b"Slice", b"Sqrt", b"Squeeze", b"Transpose", b"Unsqueeze",
}  # fmt: skip
DOMAINS = (b"", b"ai.onnx")
LOOPS = (b"Loop", b"Scan", b"If", b"SequenceMap")
TYPES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}  # bytes, by ONNX's number
# fields of onnx.proto
GRAPH, TRAINING, FUNCTIONS = 7, 20, 25  # ModelProto
NODE, INITIALIZER, SPARSE = 1, 5, 15  # GraphProto
INPUT, OUTPUT, OP_TYPE, ATTRIBUTE, DOMAIN = 1, 2, 4, 5, 7  # NodeProto
TENSOR, SUBGRAPH, TENSORS, SUBGRAPHS, SPARSE_TENSOR, SPARSE_TENSORS = 5, 6, 10, 11, 22, 23  # AttributeProto
LAST_FIELD = 2**29 - 1  # of a protocol buffer
DIMS, DATA_TYPE, NAME, RAW, EXTERNAL, LOCATION = 1, 2, 8, 9, 13, 14  # TensorProto

_arena = False


def open_session(
    file: Path, threads: int = 0, data: bytes | None = None, provider: tuple[str, dict[str, str]] | None = None
) -> Any:
    """An ONNX Runtime session of a file that may come from a stranger.

    Args:
        file: A graph.
        threads: Number of threads of one operation; 0 for as many as there are cores.
        data: The graph, if not all of it is in the file.
        provider: Name and options of what runs the nodes that it can; the CPU runs the others, or all if None.

    Raises:
        WeightsError: The file is no graph, or one that can't be run safely.
    """
    import onnxruntime

    try:
        if file.stat().st_size > LARGEST:
            raise WeightsError(f"{file}: expected at most {LARGEST} bytes, the file is larger.")
        data = (
            data or file.read_bytes()
        )  # what is checked is what is run, and there is no folder in which to look for more
        bounded = check_graph(data)
        _bound_memory(onnxruntime)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other stages need the cores
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.add_session_config_entry("session.load_model_format", "ONNX")
        if b"QuantizeLinear" not in data:  # weights of 8 bits in a graph of floats are widened once, not in each run
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        return onnxruntime.InferenceSession(
            data,
            options,
            providers=[*([] if provider is None else [provider]), "CPUExecutionProvider"],
            disabled_optimizers=[] if bounded else ["ConstantFolding"],
        )
    except WeightsError:
        raise
    except Exception as error:  # onnxruntime's errors share no base but Exception
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{file}: can't be read as an ONNX graph ({reason}). Export it again.") from error


def _bound_memory(runtime: Any) -> None:
    """Have all sessions of this process take their memory from one arena with an end."""
    global _arena  # noqa: PLW0603 - the runtime has one for each process
    if not _arena:
        place = runtime.OrtMemoryInfo(
            "Cpu", runtime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, runtime.OrtMemType.DEFAULT
        )
        bounds = {"max_mem": MOST_MEMORY, "arena_extend_strategy": 1, "initial_chunk_size_bytes": -1}
        runtime.create_and_register_allocator(place, runtime.OrtArenaCfg({**bounds, "max_dead_bytes_per_chunk": -1}))
        _arena = True


def check_graph(data: bytes) -> bool:
    """Look through an ONNX file's content.

    Returns:
        Whether what is constant stays bounded when it is computed in advance.

    Raises:
        ValueError: It is none, or has parts that no exported model needs: data in other files, loops and other graphs
            inside of operators, operators that are not ONNX's, constants that are larger than their bytes.
    """
    graphs, bounded = 0, True
    for field, value in fields(memoryview(data)):
        if field in (TRAINING, FUNCTIONS):
            raise ValueError("it brings functions of its own")
        if field == GRAPH:
            graphs += 1
            bounded &= _check_nodes(_content(value))
    if graphs != 1:
        raise ValueError(f"it holds {graphs} graphs, expected one")
    return bounded


def _check_nodes(graph: Any) -> bool:
    nodes = []
    sizes: dict[bytes, int] = {}  # of what is constant, at most
    for field, value in fields(graph):
        if field == SPARSE:
            raise ValueError("it holds sparse constants")
        if field == INITIALIZER:
            name, size = _check_tensor(_content(value))
            sizes[name] = size
        if field == NODE:
            nodes.append(_content(value))
    if len(nodes) > MOST_NODES:
        raise ValueError(f"it has {len(nodes)} operators, the limit is {MOST_NODES}")
    total = 0
    for node in nodes:
        operator, inputs, outputs, own = _check_node(node)
        given = [sizes.get(name) for name in inputs if name]
        if (not inputs and operator != b"Constant") or None in given:
            continue  # depends on what the model is given, or is chance
        known = [size for size in given if size is not None] or [own]
        size = math.prod(known) if operator in BROADCAST else max(known)
        total += size * len(outputs)
        if operator not in BROADCAST | SHRINKING or total > MOST_CONSTANTS:
            return False
        sizes.update(dict.fromkeys(outputs, size))
    return True


def _check_node(node: Any) -> tuple[bytes, list[bytes], list[bytes], int]:
    """An operator's name, inputs, outputs, and the size of the constant that it holds."""
    operator, own = b"", 1
    inputs: list[bytes] = []
    outputs: list[bytes] = []
    for field, value in fields(node):
        if field == OP_TYPE:
            operator = bytes(_content(value))
        if field in (INPUT, OUTPUT):
            (inputs if field == INPUT else outputs).append(bytes(_content(value)))
        if field == DOMAIN and bytes(_content(value)) not in DOMAINS:
            raise ValueError(f"it has an operator of {bytes(value)[:50]!r}; expected ONNX's own only")
        if field == ATTRIBUTE:
            own = max(own, _check_attribute(_content(value)))
    if operator in LOOPS:
        raise ValueError(f"it has a {operator.decode()}, which no exported model needs")
    return operator, inputs, outputs, own


def _check_attribute(attribute: Any) -> int:
    """Check an attribute, and return the greatest number of elements that it holds."""
    size, tensors = len(attribute), 0
    for field, value in fields(attribute):
        if field in (SUBGRAPH, SUBGRAPHS, TENSORS, SPARSE_TENSOR, SPARSE_TENSORS):
            raise ValueError("it has an operator with a graph or several constants inside")
        if field == TENSOR:
            size, tensors = max(size, _check_tensor(_content(value))[1]), tensors + 1
    if tensors > 1:  # their readers make one of them, with the dimensions of all
        raise ValueError("it has an operator with several constants inside")
    return size


def _check_tensor(tensor: Any) -> tuple[bytes, int]:
    """A constant's name, and how many numbers it has."""
    shape: list[int] = []
    kind, raw, name = 0, None, b""
    for field, value in fields(tensor):
        if field == EXTERNAL or (field == LOCATION and value != 0):
            raise ValueError("it keeps constants in other files. Export it with all data inside")
        if field == DIMS:
            shape.extend([value] if isinstance(value, int) else _packed(_content(value)))
        if field == DATA_TYPE:
            kind = value
        if field == RAW:
            raw = len(_content(value))
        if field == NAME:
            name = bytes(_content(value))
    if kind not in TYPES or len(shape) > 16 or any(n >= 2**40 for n in shape):
        raise ValueError(f"it has a constant of type {kind} and shape {shape[:16]}")
    count = math.prod(shape)
    if count > len(tensor) or (raw is not None and raw != count * TYPES[kind]):  # each number takes a byte at least
        raise ValueError(f"it has a constant of shape {shape} that is larger than its bytes")
    return name, count


def fields(message: Any) -> Iterator[tuple[int, Any]]:
    """Number and value of each field: an int, a view of the bytes, or None for a number of a fixed width."""
    for field, value, _ in spans(message):
        yield field, value


def spans(message: Any) -> Iterator[tuple[int, Any, slice]]:
    """Like `fields`, with the position and number of each field."""
    place, end = 0, len(message)
    while place < end:
        first = place
        key, place = _number(message, place)
        field, kind = key >> 3, key & 7
        if not 0 < field <= LAST_FIELD:  # of more bits other readers use the last 32 only, and find another field
            raise ValueError("it is no protocol buffer")
        if kind == 0:
            value, place = _number(message, place)
            yield field, value, slice(first, place)
            continue
        if kind == 2:
            length, place = _number(message, place)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError("it is no protocol buffer")
        if length > end - place:
            raise ValueError("it is cut short, or no protocol buffer")
        yield field, message[place : place + length] if kind == 2 else None, slice(first, place + length)
        place += length


def _content(value: Any) -> Any:
    """The bytes of a field that has some; other readers leave out a field of another kind, or take it for another one.

    Raises:
        ValueError: It holds a number.
    """
    if not isinstance(value, memoryview):
        raise ValueError("it has a number where a part should be")  # noqa: TRY004 - what is wrong is the file
    return value


def _number(message: Any, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(message) and shift < 64:
        byte = message[place]
        value, place, shift = value | (byte & 127) << shift, place + 1, shift + 7
        if byte < 128:
            return value, place
    raise ValueError("it is cut short, or no protocol buffer")


def _packed(view: Any) -> list[int]:
    numbers, place = [], 0
    while place < len(view):
        number, place = _number(view, place)
        numbers.append(number)
        if len(numbers) > 16:
            raise ValueError("it has a constant of more than 16 dimensions")
    return numbers
