"""Pieces of a blob that was asked for by ranges: one sparse file a blob, with a map in front of what is there.

    0        a line that says what the file is, and a record of the blob: JSON, padded to HEADER bytes
    HEADER   the map: 8 bytes a piece, its CRC-32 and its number plus one; zeros where the piece is not here
    data     the blob's bytes, each at its own place: the file is sparse, and takes only the room of what is here

A piece's bytes are written before its entry, so whoever is killed leaves no entry without bytes. A power cut may keep
the entry and lose the bytes; then the CRC tells, and the piece counts as absent. Nothing is synced for that reason.
The bytes are as unverified as those of any download that is not whole.

Who fetches pieces holds a claim: a lock on their range of the map. It is one of the open file (``F_OFD_SETLK``), so it
excludes threads as well, as ``flock`` does, and goes with its holder; ``flock`` knows no ranges.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import struct
import zlib

from registry_cache.store import disk

# The bytes that are fetched or not: small, so that little is fetched beside what was asked for (a range of 128 KiB
# touches 17 at most), and a multiple of a file system's block, so that the file's holes are real.
PIECE_SIZE = 8 * 1024
HEADER = 4096
_ENTRY = struct.Struct("<II")
_NOTHING = bytes(_ENTRY.size)
_MAGIC = b"pieces of a blob, 1\n"
# Entries that are read at once when somebody looks for the next piece: those of 64 MiB.
_LOOK = 8192

# struct flock of Linux on 64 bits: type, whence, start, length, process.
_FLOCK = struct.Struct("hhqqi4x")


class PieceFile:
    """The pieces of a blob of ``size`` bytes. Offsets are the blob's. All methods raise OSError.

    ``owner``: the repository that upstream gave them for; "" before its first answer. ``made``: when it was first asked
    for, in seconds since the epoch. ``is_refused``: the disk did not take the last bytes, and they are in memory;
    ``lacks_room``: because it is full. Closes with its last reader.
    """

    is_refused = lacks_room = False

    def __init__(self, path: str, descriptor: int, size: int, owner: str, made: float) -> None:
        self.path = path
        self.size = size
        self.owner = owner
        self.made = made
        self.count = piece_count(size)
        self._descriptor = descriptor
        self._data = data_offset(self.count)

    def fileno(self) -> int:
        return self._descriptor

    def has_name(self) -> bool:
        """Tell whether the file still has its name: without, the blob is whole now, or its bytes were wrong."""
        return os.fstat(self._descriptor).st_nlink > 0

    def note_use(self) -> None:
        """Note that the pieces are used."""
        disk.touch(self._descriptor, os.fstat(self._descriptor))

    def end_of(self, index: int) -> int:
        """Return the offset at which a piece ends: the last one is shorter."""
        return min((index + 1) * PIECE_SIZE, self.size)

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from ``start`` on that are here without a gap, up to ``stop``; b"" for none."""
        first, last = self._span(start, stop)
        entries = self._entries(first, last)
        here = _leading(entries, first)
        if not here:
            return b""
        begin = first * PIECE_SIZE
        data = os.pread(self._descriptor, self.end_of(first + here - 1) - begin, self._data + begin)
        good = self._check(data, entries, first, here)
        return data[start - begin : min(good, stop - begin)]

    def here_until(self, start: int, stop: int) -> int:
        """Return the offset up to which, from ``start`` on, everything is here; ``start`` where the first is not."""
        first, last = self._span(start, stop)
        at, here = first, 1
        # What is asked for may be terabytes long, and nearly nothing of it here.
        while at < last and here:
            here = _leading(self._entries(at, min(at + _LOOK, last)), at)
            at += here
        return max(start, min(stop, self.end_of(at - 1))) if at > first else start

    def gap_until(self, start: int, stop: int) -> int:
        """Return the offset up to which, from the missing piece at ``start`` on, nothing is here; ``stop`` at most."""
        first, last = self._span(start, stop)
        while first < last:
            look = self._entries(first, min(first + _LOOK, last))
            missing = _missing(look, first)
            if missing * _ENTRY.size < len(look):
                return max(start, min(stop, (first + missing) * PIECE_SIZE))
            first = self._behind_hole(first + missing)
        return stop

    def write(self, start: int, data: bytes) -> int:
        """Keep the whole pieces of ``data``, which begins at the piece that begins at ``start``; return their bytes."""
        first = start // PIECE_SIZE
        whole = len(data) if start + len(data) >= self.size else len(data) // PIECE_SIZE * PIECE_SIZE
        kept = memoryview(data)[:whole]
        entries = b"".join(
            _ENTRY.pack(zlib.crc32(kept[at : at + PIECE_SIZE]), first + at // PIECE_SIZE + 1)
            for at in range(0, whole, PIECE_SIZE)
        )
        _write_all(self._descriptor, kept, self._data + start)
        _write_all(self._descriptor, memoryview(entries), HEADER + first * _ENTRY.size)
        return whole

    def set_owner(self, owner: str) -> None:
        """Say that upstream has given bytes to this repository, unless it is known of another."""
        if not self.owner:
            self.owner = owner
            _write_all(self._descriptor, memoryview(header(self.size, owner, self.made)), 0)

    def claim(self, start: int, stop: int) -> PieceClaim | None:
        """Claim the pieces from ``start`` up to ``stop`` at most, before the first that somebody else has claimed.

        None where that is the first one, or the file has lost its name. Close the claim.
        """
        try:
            descriptor = self._open_again()
        except FileNotFoundError:
            return None
        try:
            if os.path.samestat(os.fstat(descriptor), os.fstat(self._descriptor)):
                claimed = self._lock(descriptor, *self._span(start, stop))
                if claimed:
                    return PieceClaim(descriptor, claimed[0] * PIECE_SIZE, min(claimed[1] * PIECE_SIZE, self.size))
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def _open_again(self) -> int:
        """Return a descriptor of its own, of whatever has the name by now."""
        return disk.open_file(self.path, os.O_RDWR)

    def is_claimed(self) -> bool:
        """Tell whether somebody fetches pieces."""
        return self._first_claimed(0, self.count) < self.count

    def free_until(self, start: int, stop: int) -> int:
        """Return the offset up to which, from ``start`` on, nothing is here nor claimed; ``stop`` at most."""
        stop = self.gap_until(start, stop)
        first, last = self._span(start, stop)
        return max(start, min(stop, self._first_claimed(first, last) * PIECE_SIZE))

    def bytes_here(self) -> int:
        """Return about how many bytes are here: what the disk has allocated, and no more than all."""
        return min(self.size, os.fstat(self._descriptor).st_blocks * disk.BLOCK)

    def _span(self, start: int, stop: int) -> tuple[int, int]:
        """Return the pieces from the first that these bytes touch up to, not including, the one after the last."""
        return start // PIECE_SIZE, -(-min(stop, self.size) // PIECE_SIZE)

    def __del__(self) -> None:
        os.close(self._descriptor)

    def _lock(self, descriptor: int, first: int, last: int) -> tuple[int, int] | None:
        while first < last:
            try:
                fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _flock(fcntl.F_WRLCK, first, last))
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
                # All of it again where it was freed in between.
                last = self._first_claimed(first, last)
            else:
                return first, last
        return None

    def _first_claimed(self, first: int, last: int) -> int:
        """Return the first of these pieces that somebody has claimed; ``last`` where nobody has."""
        while first < last:
            asked = fcntl.fcntl(self._descriptor, fcntl.F_OFD_GETLK, _flock(fcntl.F_WRLCK, first, last))
            kind, _, start, _, _ = _FLOCK.unpack(asked)
            if kind == fcntl.F_UNLCK:
                break
            # There may be another one in front of it.
            last = max(first, (start - HEADER) // _ENTRY.size)
        return last

    def _behind_hole(self, first: int) -> int:
        """Return the first piece from ``first`` on whose entry may be there: the map is as sparse as the file.

        To read all of the map would stop everybody for a minute where upstream has announced a blob of terabytes.
        """
        try:
            data = os.lseek(self._descriptor, HEADER + first * _ENTRY.size, os.SEEK_DATA)
        except OSError as error:
            # Nothing follows; or the file system does not tell holes.
            return self.count if error.errno == errno.ENXIO else first
        return max(first, (data - HEADER) // _ENTRY.size)

    def _entries(self, first: int, last: int) -> bytes:
        return os.pread(self._descriptor, max(0, last - first) * _ENTRY.size, HEADER + first * _ENTRY.size)

    def _check(self, data: bytes, entries: bytes, first: int, count: int) -> int:
        """Return how many bytes of ``data`` are what was written; forget the first piece that is not."""
        view = memoryview(data)
        for number in range(count):
            at = number * PIECE_SIZE
            piece = view[at : self.end_of(first + number) - first * PIECE_SIZE]
            if zlib.crc32(piece) != _ENTRY.unpack_from(entries, number * _ENTRY.size)[0]:
                _write_all(self._descriptor, memoryview(_NOTHING), HEADER + (first + number) * _ENTRY.size)
                return at
        return len(data)


class PieceClaim:
    """The right to fetch the pieces from ``start`` to ``stop``, offsets of the blob. Close it."""

    def __init__(self, descriptor: int, start: int, stop: int) -> None:
        self.start = start
        self.stop = stop
        self._descriptor = descriptor

    def shorten(self, stop: int) -> None:
        """Free the pieces from the one on that begins at ``stop``, or after it."""
        first, last = -(-stop // PIECE_SIZE), -(-self.stop // PIECE_SIZE)
        if first < last:
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, _flock(fcntl.F_UNLCK, first, last))
            self.stop = stop

    def close(self) -> None:
        """Free the pieces; twice does no harm."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def piece_count(size: int) -> int:
    """Return how many pieces a blob of ``size`` bytes has."""
    return -(-size // PIECE_SIZE)


def data_offset(count: int) -> int:
    """Return where the blob's bytes begin in a file of ``count`` pieces."""
    return HEADER + -(-count * _ENTRY.size // HEADER) * HEADER


def header(size: int, owner: str, made: float) -> bytes:
    """Return the first bytes of a file of pieces."""
    record = json.dumps({"size": size, "piece": PIECE_SIZE, "owner": owner, "made": made}).encode()
    return (_MAGIC + record + b"\n").ljust(HEADER, b" ")


def parse_header(data: bytes) -> tuple[int, str, float] | None:
    """Return the blob's size, the owner and when it was made; None of any other file, or of other pieces."""
    if len(data) != HEADER or not data.startswith(_MAGIC):
        return None
    try:
        record = json.loads(data[len(_MAGIC) :])
        size, owner, made = int(record["size"]), str(record["owner"]), float(record["made"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return (size, owner, made) if size > 0 and record["piece"] == PIECE_SIZE else None


def _leading(entries: bytes, first: int) -> int:
    """Return how many pieces are here from the first of ``entries`` on."""
    here = 0
    for _, number in _ENTRY.iter_unpack(entries):
        if number != first + here + 1:
            break
        here += 1
    return here


def _missing(entries: bytes, first: int) -> int:
    """Return how many pieces are not here from the first of ``entries`` on; an entry that is torn is none."""
    missing = 0
    while rest := entries[missing * _ENTRY.size :].lstrip(b"\0"):
        missing = (len(entries) - len(rest)) // _ENTRY.size
        if _ENTRY.unpack_from(entries, missing * _ENTRY.size)[1] == first + missing + 1:
            return missing
        missing += 1
    return len(entries) // _ENTRY.size


def _flock(kind: int, first: int, last: int) -> bytes:
    start, length = HEADER + first * _ENTRY.size, (last - first) * _ENTRY.size
    return _FLOCK.pack(kind, os.SEEK_SET, start, length, 0)


def _write_all(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written
