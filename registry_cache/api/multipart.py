"""Several parts of a blob in one body, ``multipart/byteranges`` (RFC 9110 §14.6)."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence

from registry_cache.oci.byte_range import ByteRange
from registry_cache.pull.blob_body import FilePart, PulledBlob


class SeveralParts:
    """The body that has ``ranges`` in their order; each is announced with its place and its type."""

    def __init__(self, ranges: Sequence[ByteRange]) -> None:
        # In no blob that somebody has chosen, since it is not known before.
        boundary = secrets.token_hex(16)
        self.media_type = f"multipart/byteranges; boundary={boundary}"
        lead = f"\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: "
        self._parts = [(part, f"{lead}{part}\r\n\r\n".encode()) for part in ranges]
        self._end = f"\r\n--{boundary}--\r\n".encode()

    def __len__(self) -> int:
        return len(self._end) + sum(len(lead) + part.stop - part.start for part, lead in self._parts)

    def chunks(self, blob: PulledBlob, file_from: int | None) -> Iterator[bytes | FilePart]:
        """Yield the body; what has ``file_from`` bytes or more by file, None for nothing. Raises Cut."""
        for part, lead in self._parts:
            from_file = file_from is not None and part.stop - part.start >= file_from
            chunks = blob.parts(part.start, part.stop, from_file=from_file)
            # Asked for before anything is sent of it: an error of the first one can then still have a status.
            first = next(chunks, b"")
            yield lead
            yield first
            yield from chunks
        yield self._end
