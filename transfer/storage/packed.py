"""What a packed file would unpack to, told before it is: gzip is counted in a stream, zstd from the heads of its blocks."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import BinaryIO

from transfer.errors import TransferError

RATIO = 250  # times its own size that a file may unpack to: tables of ratings have about 5 to 50,
FREE = 2**28  # unless it is so few bytes
CHUNK = 2**20
BLOCK = 2**17  # bytes that a compressed block of zstd unpacks to at most (RFC 8878)
MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"x\x01": "zlib", b"x\x9c": "zlib", b"x\xda": "zlib"}


def packing(path: Path) -> str:
    """How a file is packed, by its first bytes and not its name: gzip, zstd or not at all (empty)."""
    with path.open("rb") as file:
        head = file.read(4)
    kind = next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), "")
    if kind == "zlib":
        raise TransferError(f"{path}: packed by zlib, without a head of gzip; unpack it, or pack it with gzip or zstd")
    return kind


def unpacked_size(path: Path, kind: str) -> int:
    """Bytes of the content, of zstd at most so many. Raises TransferError for a damaged file and for one that would unpack
    to more than RATIO times its own size (and FREE)."""
    size = path.stat().st_size
    most = max(FREE, RATIO * size)
    with path.open("rb") as file:
        count = size if not kind else _gzip(file, path, most) if kind == "gzip" else _zstd(file, path)
    if count > most:
        raise TransferError(
            f"{path}: it would unpack to more than {RATIO} times its {size:,} bytes, which no table does: not read; "
            "unpack it by hand if it is one"
        )
    return count


def _gzip(file: BinaryIO, path: Path, most: int) -> int:
    """Bytes of the content, counted until there are more than `most`."""
    count, unpack, data = 0, zlib.decompressobj(31), b""
    try:
        while (data := data or file.read(CHUNK)) and count <= most:
            if unpack.eof:
                data = data.lstrip(b"\0") or file.read(CHUNK).lstrip(b"\0")  # padding between members
                unpack = zlib.decompressobj(31)
                continue
            count += len(unpack.decompress(data, CHUNK))
            data = unpack.unused_data if unpack.eof else unpack.unconsumed_tail
    except zlib.error as error:
        raise TransferError(f"{path}: damaged gzip after {count:,} bytes of content ({error}); fetch it again") from None
    if not unpack.eof and count <= most:
        raise TransferError(f"{path}: its gzip ends too early, after {count:,} bytes of content; fetch it again")
    return count


def _zstd(file: BinaryIO, path: Path) -> int:
    """Bytes that the blocks of all frames unpack to at most."""
    total, cut = 0, TransferError(f"{path}: its zstd ends too early or is damaged; fetch it again")
    while head := file.read(4):
        magic = int.from_bytes(head, "little")
        if magic & 0xFFFFFFF0 == 0x184D2A50:  # a frame to be skipped
            file.seek(int.from_bytes(file.read(4), "little"), 1)
            continue
        descriptor = file.read(1)
        if magic != 0xFD2FB528 or not descriptor:
            raise cut
        flags = descriptor[0]
        single = flags >> 5 & 1
        file.seek((1 - single) + (0, 1, 2, 4)[flags & 3] + (single, 2, 4, 8)[flags >> 6], 1)
        last = 0
        while not last:
            head = file.read(3)
            if len(head) < 3:
                raise cut
            block = int.from_bytes(head, "little")
            last, kind, size = block & 1, block >> 1 & 3, block >> 3
            total += BLOCK if kind == 2 else size
            file.seek(1 if kind == 1 else size, 1)
        file.seek(4 * (flags >> 2 & 1), 1)
    return total
