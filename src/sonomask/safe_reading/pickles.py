"""An interpreter for pickles of plain values, which knows no functions but those it is given.

A pickle is a program. Python's own unpicklers do what it says and can only be told which names to refuse; they take memory
for lengths that the file merely claims, hash keys whose hash takes for ever, and set attributes of what they made. This
machine runs the same instructions on plain values only (numbers, texts, bytes, lists, tuples, tables), in time and memory
that grow with the file, and calls nothing but functions of ours.
Source: pickletools of the standard library, which reads the instructions one by one and checks each length.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from typing import IO, Any, NoReturn, Protocol, cast, runtime_checkable

__all__ = ["Bystander", "PickleError", "run_pickle"]

LONGEST_NAME = 200
MOST_TUPLES = (
    50_000  # a checkpoint has four for each tensor; 100,000 within one another can still be freed on 8 MB of stack
)
MOST_INSTRUCTIONS = 4 * 10**6  # forty for each tensor; a million take some seconds
KEYS = (str, bytes, int, float, bool, type(None))  # the hash of a tuple takes time that doubles with its depth

PLAIN = {
    "INT", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES",
    "SHORT_BINBYTES", "BINBYTES8", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "FLOAT", "BINFLOAT",
}  # fmt: skip
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
MARK = object()


class Bystander:
    """Placeholder for unwanted objects beside the tensors; it stores nothing and accepts any state."""

    __slots__ = ()


@runtime_checkable
class Readable(Protocol):
    """A file whose `read` takes memory for what is there only, such as `io.BytesIO` or `mmap.mmap`."""

    def read(self, count: int, /) -> bytes:
        """At most so many bytes."""

    def readline(self) -> bytes:
        """Up to the next newline."""


class PickleError(ValueError):
    """The program wants what no file of plain values needs; some hundred characters at most."""


def run_pickle(file: Readable, known: Mapping[str, Any], persistent: Callable[[Any], Any] | None = None) -> Any:
    """Run one pickle program and return its value; the file is left at the program's end.

    Args:
        file: At the program's first byte.
        known: Functions that the program may call, and values, by "module.name". Neither values nor what the functions
            give may be of a type that a program could change, besides plain tables and lists.
        persistent: Makes a value of what the program refers to outside of itself.

    Raises:
        PickleError: It asks for anything else, or is built to exhaust its reader.
        ValueError: It is no program.
    """
    machine = _Machine(known, persistent)
    for count, (word, argument, _) in enumerate(pickletools.genops(cast(IO[bytes], file))):
        if count > MOST_INSTRUCTIONS:
            raise PickleError("its program has no end")
        machine.do(word.name, argument)
    return machine.pop()


class _Machine:
    def __init__(self, known: Mapping[str, Any], persistent: Callable[[Any], Any] | None) -> None:
        self.known, self.persistent = known, persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.tuples = 0
        self.actions: dict[str, Callable[[Any], None]] = {
            "PROTO": lambda _: None, "FRAME": lambda _: None, "STOP": lambda _: None,
            "MARK": lambda _: self.stack.append(MARK),
            "POP": lambda _: self.stack.__delitem__(-1),
            "POP_MARK": lambda _: self.pop_to_mark().clear(),
            "DUP": lambda _: self.stack.append(self.stack[-1]),
            "EMPTY_LIST": lambda _: self.stack.append([]),
            "EMPTY_DICT": lambda _: self.stack.append({}),
            "LIST": lambda _: self.stack.append(self.pop_to_mark()),
            "DICT": self.make_table,
            "TUPLE": lambda _: self.make_tuple(self.pop_to_mark()),
            "APPEND": lambda _: self.extend([self.pop()]),
            "APPENDS": lambda _: self.extend(self.pop_to_mark()),
            "SETITEM": lambda _: self.update([self.pop(), self.pop()][::-1]),
            "SETITEMS": lambda _: self.update(self.pop_to_mark()),
            "PUT": self.keep, "BINPUT": self.keep, "LONG_BINPUT": self.keep,
            "MEMOIZE": lambda _: self.keep(len(self.memo)),
            "GET": self.recall, "BINGET": self.recall, "LONG_BINGET": self.recall,
            "GLOBAL": lambda name: self.name(*name.split(" ", 1)),
            "STACK_GLOBAL": lambda _: self.name(*[self.pop(), self.pop()][::-1]),
            "REDUCE": lambda _: self.call(*[self.pop(), self.pop()][::-1]),
            "NEWOBJ": lambda _: self.call(*[self.pop(), self.pop()][::-1]),
            "BUILD": lambda _: self.build(self.pop()),
            "BINPERSID": lambda _: self.refer(self.pop()),
        }  # fmt: skip

    def do(self, word: str, argument: Any) -> None:
        if word in PLAIN:
            self.stack.append(argument)
        elif word in CONSTANTS:
            self.stack.append(CONSTANTS[word])
        elif word in TUPLES:
            self.make_tuple([self.pop() for _ in range(TUPLES[word])][::-1])
        elif word in self.actions:
            try:
                self.actions[word](argument)
            except (IndexError, KeyError) as error:
                raise PickleError(f"its program breaks off at {word}") from error
        else:
            self.refuse(f"the instruction {word}")

    def refuse(self, what: str) -> NoReturn:
        raise PickleError(f"asks for {what[:LONGEST_NAME]}, which no file of tensors needs")

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is MARK:
            raise PickleError("its program takes what it did not make")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is MARK:
                found = self.stack[place + 1 :]
                del self.stack[place:]
                return found
        raise PickleError("its program takes what it did not make")

    def make_tuple(self, values: list[Any]) -> None:
        self.tuples += 1
        if self.tuples > MOST_TUPLES:
            raise PickleError("its program is built to exhaust the reader")
        self.stack.append(tuple(values))

    def make_table(self, _: Any) -> None:
        pairs = self.pop_to_mark()
        self.stack.append({})
        self.update(pairs)

    def extend(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            self.refuse(f"adding to a {type(self.stack[-1]).__name__}")
        self.stack[-1].extend(values)

    def update(self, pairs: list[Any]) -> None:
        table = self.stack[-1]
        if not isinstance(table, dict):
            self.refuse(f"setting items of a {type(table).__name__}")
        for key in pairs[::2]:
            if type(key) not in KEYS:
                self.refuse(f"a {type(key).__name__} as a key")
        table.update(zip(pairs[::2], pairs[1::2], strict=True))

    def keep(self, place: int) -> None:
        if not self.stack or self.stack[-1] is MARK:
            raise PickleError("its program remembers what it did not make")
        self.memo[int(place)] = self.stack[-1]

    def recall(self, place: int) -> None:
        self.stack.append(self.memo[int(place)])

    def name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            self.refuse("a name that is no text")
        if len(module) + len(name) > LONGEST_NAME:
            raise PickleError(f"asks for {module[:20]}.{name[:20]}…, a name of {len(module) + len(name)} characters")
        if f"{module}.{name}" not in self.known:
            self.refuse(f"{module}.{name}")
        value = self.known[f"{module}.{name}"]
        self.stack.append(_Name(f"{module}.{name}") if callable(value) else value)

    def call(self, function: Any, arguments: Any) -> None:
        if not isinstance(function, _Name) or not isinstance(arguments, tuple):
            self.refuse(f"calling a {type(function).__name__}, not callable here,")
        try:
            self.stack.append(self.known[function.name](*arguments))
        except TypeError as error:
            raise PickleError(f"calls {function.name} with other arguments than it takes") from error

    def build(self, state: Any) -> None:
        if isinstance(self.stack[-1], Bystander):
            return
        if not isinstance(self.stack[-1], dict) or not isinstance(state, dict):
            self.refuse(f"setting the state of a {type(self.stack[-1]).__name__}")
        # the only state that a table of tensors has is `_metadata`, the versions of its layers, of which nothing is read

    def refer(self, what: Any) -> None:
        if self.persistent is None:
            self.refuse("data outside of itself")
        self.stack.append(self.persistent(what))


class _Name:
    """A name that the program may call; it is nothing but a name."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name
