"""Binary Canonical Serialization: the only bytes that are ever hashed, signed or kept.

One value has one encoding and every encoding one value: fixed integers are little-endian, lengths and variant
numbers are ULEB128 in their shortest form, structs and tuples are concatenations, maps are sorted by the bytes of
their keys, trailing bytes are refused.

Types describe themselves by annotation, so a message is declared once::

    @dataclass(frozen=True, slots=True)
    class Storage:
        start_epoch: U32
        size_bytes: U64
        note: str | None
        holders: tuple[Bytes32, ...]

    Storage(7, 100, None, ())  <->  07000000 6400000000000000 00 00

`encode(value)` and `decode(Storage, data)` work on dataclasses, on unions declared with `Union`, and on anything
`codec(...)` accepts. Source: the specification of BCS, as the crate `bcs` has it.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import struct
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from haulout.errors import UndecodableBytes
from haulout.primitives import Buffer

T = TypeVar("T")
Write = Callable[[bytearray, Any], None]
Read = Callable[[bytes, int], tuple[Any, int]]

MAX_LENGTH = (1 << 31) - 1


class Malformed(ValueError):
    """Internal signal of a reader; `decode` turns it into `UndecodableBytes` with the type's name."""


@dataclasses.dataclass(frozen=True, slots=True)
class Codec:
    """How one type is written and read.

    `packed` is the format of the `struct` module that reads and writes the same bytes, for types of fixed size that
    have one; structs handle runs of such fields in one call.
    """

    write: Write
    read: Read
    name: str
    packed: str = ""


# --- fixed integers -----------------------------------------------------------------------------------------


def _integer(bits: int) -> Codec:
    size = bits // 8
    limit = 1 << bits

    def write(out: bytearray, value: int) -> None:
        if not 0 <= value < limit:
            raise OverflowError(f"{value} does not fit u{bits}")
        out += value.to_bytes(size, "little")

    def read(data: bytes, at: int) -> tuple[int, int]:
        end = at + size
        if end > len(data):
            raise Malformed("truncated")
        return int.from_bytes(data[at:end], "little"), end

    return Codec(write, read, f"u{bits}", {8: "B", 16: "H", 32: "I", 64: "Q"}.get(bits, ""))


_NUMBERS = ("B", "H", "I", "Q")  # what `struct` calls them
_U8, _U16, _U32, _U64, _U128, _U256 = (_integer(bits) for bits in (8, 16, 32, 64, 128, 256))
U8 = Annotated[int, _U8]
U16 = Annotated[int, _U16]
U32 = Annotated[int, _U32]
U64 = Annotated[int, _U64]
U128 = Annotated[int, _U128]
U256 = Annotated[int, _U256]


# --- lengths, bytes, text -----------------------------------------------------------------------------------


def write_uleb(out: bytearray, value: int) -> None:
    """Append `value` as ULEB128."""
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def read_uleb(data: bytes, at: int) -> tuple[int, int]:
    """Read a ULEB128 of at most 32 bits in its shortest form; returns value and next offset."""
    value = shift = 0
    while True:
        if at >= len(data):
            raise Malformed("truncated")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0 and shift:
                raise Malformed("length is not in its shortest form")
            if value > MAX_LENGTH:
                raise Malformed("length out of range")
            return value, at
        shift += 7
        if shift > 28:
            raise Malformed("length out of range")


def uleb_size(value: int) -> int:
    """Bytes that ULEB128 takes for `value`."""
    return max(1, (value.bit_length() + 6) // 7)


def fixed(size: int) -> Codec:
    """A byte array of known size, written without a length."""

    def write(out: bytearray, value: bytes) -> None:
        if len(value) != size:
            raise OverflowError(f"{len(value)} bytes where {size} belong")
        out += value

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        end = at + size
        if end > len(data):
            raise Malformed("truncated")
        return data[at:end], end

    return Codec(write, read, f"bytes[{size}]", f"{size}s")


Bytes16 = Annotated[bytes, fixed(16)]
Bytes32 = Annotated[bytes, fixed(32)]
Bytes48 = Annotated[bytes, fixed(48)]
Bytes64 = Annotated[bytes, fixed(64)]
Bytes96 = Annotated[bytes, fixed(96)]


def _write_bytes(out: bytearray, value: bytes) -> None:
    write_uleb(out, len(value))
    out += value


def _read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    length, at = read_uleb(data, at)
    end = at + length
    if end > len(data):
        raise Malformed("truncated")
    return data[at:end], end


def _write_text(out: bytearray, value: str) -> None:
    _write_bytes(out, value.encode())


def _read_text(data: bytes, at: int) -> tuple[str, int]:
    raw, at = _read_bytes(data, at)
    try:
        return raw.decode(), at
    except UnicodeDecodeError as e:
        raise Malformed("text is not UTF-8") from e


def _write_bool(out: bytearray, value: bool) -> None:
    out.append(1 if value else 0)


def _read_bool(data: bytes, at: int) -> tuple[bool, int]:
    if at >= len(data):
        raise Malformed("truncated")
    if data[at] > 1:
        raise Malformed("a boolean is 0 or 1")
    return data[at] == 1, at + 1


_BYTES = Codec(_write_bytes, _read_bytes, "bytes")
_TEXT = Codec(_write_text, _read_text, "string")
_BOOL = Codec(_write_bool, _read_bool, "bool")


# --- composites ---------------------------------------------------------------------------------------------


def vector(item: Codec) -> Codec:
    """A counted sequence, read back as a tuple."""
    if item.packed in _NUMBERS:
        return _number_vector(item)

    def write(out: bytearray, value: typing.Sequence[Any]) -> None:
        write_uleb(out, len(value))
        for element in value:
            item.write(out, element)

    def read(data: bytes, at: int) -> tuple[tuple[Any, ...], int]:
        count, at = read_uleb(data, at)
        if count > len(data) - at:  # every element takes a byte at least: refuse before allocating
            raise Malformed("truncated")
        values = []
        for _ in range(count):
            value, at = item.read(data, at)
            values.append(value)
        return tuple(values), at

    return Codec(write, read, f"vector<{item.name}>")


def _number_vector(item: Codec) -> Codec:
    """A counted sequence of fixed integers, in one call."""
    size = struct.calcsize("<" + item.packed)

    def write(out: bytearray, value: typing.Sequence[int]) -> None:
        write_uleb(out, len(value))
        try:
            out += struct.pack(f"<{len(value)}{item.packed}", *value)
        except struct.error:
            _check_sizes([item] * len(value), tuple(value))
            raise

    def read(data: bytes, at: int) -> tuple[tuple[int, ...], int]:
        count, at = read_uleb(data, at)
        if count * size > len(data) - at:
            raise Malformed("truncated")
        return struct.unpack_from(f"<{count}{item.packed}", data, at), at + count * size

    return Codec(write, read, f"vector<{item.name}>")


def option(item: Codec) -> Codec:
    """A value or its absence (`None`)."""

    def write(out: bytearray, value: Any) -> None:
        if value is None:
            out.append(0)
        else:
            out.append(1)
            item.write(out, value)

    def read(data: bytes, at: int) -> tuple[Any, int]:
        present, at = _read_bool(data, at)
        return item.read(data, at) if present else (None, at)

    return Codec(write, read, f"option<{item.name}>")


def mapping(key: Codec, value: Codec) -> Codec:
    """A map whose entries are sorted by the encoded key, strictly ascending."""

    def write(out: bytearray, entries: Mapping[Any, Any]) -> None:
        encoded = []
        for k, v in entries.items():
            raw = bytearray()
            key.write(raw, k)
            encoded.append((bytes(raw), v))
        encoded.sort(key=lambda entry: entry[0])
        write_uleb(out, len(encoded))
        for raw_key, v in encoded:
            out += raw_key
            value.write(out, v)

    def read(data: bytes, at: int) -> tuple[dict[Any, Any], int]:
        count, at = read_uleb(data, at)
        entries: dict[Any, Any] = {}
        previous: bytes | None = None
        for _ in range(count):
            start = at
            k, at = key.read(data, at)
            raw = data[start:at]
            if previous is not None and raw <= previous:
                raise Malformed("map keys are not strictly ascending")
            previous = raw
            entries[k], at = value.read(data, at)
        return entries, at

    return Codec(write, read, f"map<{key.name},{value.name}>")


def _product(items: list[Codec], name: str) -> Codec:
    def write(out: bytearray, value: tuple[Any, ...]) -> None:
        for item, element in zip(items, value, strict=True):
            item.write(out, element)

    def read(data: bytes, at: int) -> tuple[tuple[Any, ...], int]:
        values = []
        for item in items:
            value, at = item.read(data, at)
            values.append(value)
        return tuple(values), at

    return Codec(write, read, name)


class Union:
    """A tagged union: variant numbers to dataclasses. Annotate a field as `Annotated[A | B, Union({0: A, 1: B})]`."""

    __slots__ = ("_tags", "codec", "variants")

    def __init__(self, variants: Mapping[int, type]) -> None:
        self.variants = dict(variants)
        self._tags = {cls: tag for tag, cls in self.variants.items()}
        self.codec = Codec(self._write, self._read, "|".join(cls.__name__ for cls in self.variants.values()))

    def tag_of(self, cls: type) -> int:
        """The variant number of a class."""
        return self._tags[cls]

    def _write(self, out: bytearray, value: Any) -> None:
        write_uleb(out, self._tags[type(value)])
        codec(type(value)).write(out, value)

    def _read(self, data: bytes, at: int) -> tuple[Any, int]:
        tag, at = read_uleb(data, at)
        cls = self.variants.get(tag)
        if cls is None:
            raise Malformed(f"unknown variant {tag}")
        return codec(cls).read(data, at)


def _struct(cls: type) -> Codec:
    """The codec of a dataclass, generated: neighbouring fields of fixed size are packed and unpacked in one call.

    For `Storage` of the module's example, in essence::

        def write(out, v):              def read(data, at):
            out += pack(v.start_epoch, v.size_bytes)    f0, f1 = unpack_from(data, at); at += 12
            write2(out, v.note)                         f2, at = read2(data, at)
            write3(out, v.holders)                      f3, at = read3(data, at)
                                                        return Storage(f0, f1, f2, f3), at
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    names = [field.name for field in dataclasses.fields(cls)]
    items = [codec(hints[name]) for name in names]
    scope: dict[str, Any] = {"cls": cls, "check_sizes": _check_sizes, "struct_error": struct.error}
    write, read = ["def write(out, v):"], ["def read(data, at):"]
    start = 0
    while start < len(items):
        end = start
        while end < len(items) and items[end].packed:
            end += 1
        if end == start:
            scope[f"write{start}"], scope[f"read{start}"] = items[start].write, items[start].read
            write.append(f"    write{start}(out, v.{names[start]})")
            read.append(f"    f{start}, at = read{start}(data, at)")
            start += 1
            continue
        run = struct.Struct("<" + "".join(item.packed for item in items[start:end]))
        scope[f"pack{start}"], scope[f"unpack{start}"], scope[f"run{start}"] = (
            run.pack,
            run.unpack_from,
            items[start:end],
        )
        # `struct` pads or cuts bytes of another length, so those are checked.
        sized = [i for i in range(start, end) if items[i].packed.endswith("s")]
        wrong = " or ".join(f"len(v.{names[i]}) != {items[i].packed[:-1]}" for i in sized)
        values = ", ".join(f"v.{name}" for name in names[start:end])
        write.append("    try:")
        write.append(f"        if {wrong}: raise struct_error" if wrong else "        pass")
        write.append(f"        out += pack{start}({values})")
        write.append("    except (struct_error, TypeError):")
        write.append(f"        check_sizes(run{start}, ({values},)); raise")
        read.append(f"    {', '.join(f'f{i}' for i in range(start, end))}, = unpack{start}(data, at)")
        read.append(f"    at += {run.size}")
        start = end
    if not items:
        write.append("    pass")
    setters = _slot_setters(cls, names)
    if setters is None:
        read.append(f"    return cls({', '.join(f'f{i}' for i in range(len(items)))}), at")
    else:
        scope.update({f"set{i}": setter for i, setter in enumerate(setters)}, new=object.__new__)
        read.append("    v = new(cls)")
        read += [f"    set{i}(v, f{i})" for i in range(len(items))]
        read.append("    return v, at")
    exec("\n".join([*write, *read]), scope)
    return Codec(scope["write"], scope["read"], cls.__name__)


def _slot_setters(cls: type, names: list[str]) -> list[Any] | None:
    """What fills the slots of a dataclass that checks nothing of its own, at half the cost of its `__init__`, which
    looks up each frozen field by name; None for one without slots, or with checks."""
    slots = [getattr(cls, name, None) for name in names]
    if hasattr(cls, "__post_init__") or not all(isinstance(slot, types.MemberDescriptorType) for slot in slots):
        return None
    return [slot.__set__ for slot in slots if slot is not None]


def _check_sizes(items: list[Codec], values: tuple[Any, ...]) -> None:
    """Say which value does not fit its field, as that field's own codec does."""
    for item, value in zip(items, values, strict=True):
        item.write(bytearray(), value)


def _enumeration(cls: type[enum.IntEnum]) -> Codec:
    def write(out: bytearray, value: enum.IntEnum) -> None:
        write_uleb(out, int(value))

    def read(data: bytes, at: int) -> tuple[enum.IntEnum, int]:
        tag, at = read_uleb(data, at)
        try:
            return cls(tag), at
        except ValueError as e:
            raise Malformed(f"{tag} is not a {cls.__name__}") from e

    return Codec(write, read, cls.__name__)


def _codec_of(hint: Any) -> Codec:
    """The codec of a type: a dataclass, an annotated integer, bytes, str, bool, tuples, options, mappings, enums."""
    if isinstance(hint, Codec):
        return hint
    origin = typing.get_origin(hint)
    if origin is Annotated:
        for note in hint.__metadata__:
            if isinstance(note, Codec):
                return note
            if isinstance(note, Union):
                return note.codec
        return codec(typing.get_args(hint)[0])
    if isinstance(hint, typing.NewType):
        return codec(hint.__supertype__)
    if hint is bytes:
        return _BYTES
    if hint is str:
        return _TEXT
    if hint is bool:
        return _BOOL
    if isinstance(hint, type) and issubclass(hint, enum.IntEnum):
        return _enumeration(hint)
    if dataclasses.is_dataclass(hint):
        return _struct(typing.cast(type, hint))
    arguments = typing.get_args(hint)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return vector(codec(arguments[0]))
    if origin is tuple:
        return _product([codec(a) for a in arguments], "tuple")
    if origin in (types.UnionType, typing.Union) and len(arguments) == 2 and type(None) in arguments:
        return option(codec(next(a for a in arguments if a is not type(None))))
    if origin is not None and issubclass(origin, Mapping):
        return mapping(codec(arguments[0]), codec(arguments[1]))
    raise TypeError(f"no canonical encoding is defined for {hint!r}")


codec: Callable[[Any], Codec] = functools.cache(_codec_of)


def encode(value: Any, hint: Any = None) -> bytes:
    """Canonical bytes of a value; `hint` names its type where the value is not a dataclass."""
    out = bytearray()
    codec(type(value) if hint is None else hint).write(out, value)
    return bytes(out)


def decode(hint: type[T] | Any, data: Buffer) -> T:
    """Read a value from exactly these bytes.

    Raises:
        UndecodableBytes: truncated, trailing, or not in canonical form.
    """
    value, end = decode_prefix(hint, data)
    if end != len(data):
        raise UndecodableBytes(type_name=codec(hint).name, problem=f"{len(data) - end} trailing bytes")
    return typing.cast(T, value)


def decode_prefix(hint: Any, data: Buffer, at: int = 0) -> tuple[Any, int]:
    """Read a value from the start of `data`; returns it and the offset behind it.

    Raises:
        UndecodableBytes: truncated or not in canonical form.
    """
    raw = data if isinstance(data, bytes) else bytes(data)
    item = codec(hint)
    try:
        return item.read(raw, at)
    except struct.error as e:
        raise UndecodableBytes(type_name=item.name, problem="truncated") from e
    except (ValueError, RecursionError) as e:  # Malformed, or a type's own refusal of its fields
        raise UndecodableBytes(type_name=item.name, problem=str(e)) from e


def u64_be(value: int) -> bytes:
    """Eight bytes, big-endian: for keys whose byte order is the number's order."""
    return struct.pack(">Q", value)
