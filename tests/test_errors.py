"""The error tree: codes and statuses as drawn, and records that another process can raise from."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator

import pytest

from registry_cache import errors
from registry_cache.errors import RegistryError, UpstreamCorrupt, forget_frames

# distribution-spec, "Error Codes".
CODES_OF_THE_SPEC = {
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
}


def tree(root: type[RegistryError]) -> Iterator[type[RegistryError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


ALL = [kind for kind in tree(RegistryError) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize(
    ("kind", "parent", "status", "code"),
    [
        (errors.NameInvalid, RegistryError, 400, "NAME_INVALID"),
        (errors.DigestInvalid, RegistryError, 400, "DIGEST_INVALID"),
        (errors.NameUnknown, errors.NotFound, 404, "NAME_UNKNOWN"),
        (errors.ManifestUnknown, errors.NotFound, 404, "MANIFEST_UNKNOWN"),
        (errors.BlobUnknown, errors.NotFound, 404, "BLOB_UNKNOWN"),
        (errors.Denied, RegistryError, 403, "DENIED"),
        (errors.Unsupported, RegistryError, 405, "UNSUPPORTED"),
        (errors.RangeNotSatisfiable, RegistryError, 416, "SIZE_INVALID"),
        (errors.TooManyRequests, RegistryError, 429, "TOOMANYREQUESTS"),
        (errors.Busy, RegistryError, 503, "UNAVAILABLE"),
        (errors.UpstreamError, RegistryError, 502, "UNKNOWN"),
        (errors.UpstreamCorrupt, errors.UpstreamError, 502, "UNKNOWN"),
        (errors.UpstreamUnavailable, errors.UpstreamError, 503, "UNAVAILABLE"),
        (errors.UpstreamTimeout, errors.UpstreamError, 504, "UNAVAILABLE"),
        (errors.StoreError, RegistryError, 500, "UNKNOWN"),
        (errors.StoreFull, errors.StoreError, 500, "UNKNOWN"),
    ],
)
def test_the_tree(kind: type[RegistryError], parent: type[RegistryError], status: int, code: str) -> None:
    assert kind.__base__ is parent
    assert (kind.status, kind.code) == (status, code)


# NotFound is what others catch; only its children are raised.
@pytest.mark.parametrize("kind", [kind for kind in ALL if 400 <= kind.status < 500 and kind is not errors.NotFound])
def test_a_refusal_has_a_code_of_the_spec(kind: type[RegistryError]) -> None:
    assert kind.code in CODES_OF_THE_SPEC


@pytest.mark.parametrize("kind", [errors.UpstreamError, errors.StoreError, errors.Busy, RegistryError])
def test_a_failure_of_ours_or_of_upstream_is_never_called_the_clients(kind: type[RegistryError]) -> None:
    assert all(child.status >= 500 for child in tree(kind) if kind is not RegistryError)
    assert kind.status >= 500


def test_no_two_errors_have_one_name() -> None:
    assert len({kind.__name__ for kind in ALL}) == len(ALL)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(
    ("detail", "retry_after"),
    [(None, None), ({"tag": "1.27", "of": [1, 2.5, None, True]}, 41 * 60.0), ("text", 0.0), ([], 0.25)],
)
def test_a_record_raises_the_same_error_elsewhere(
    kind: type[RegistryError], detail: object, retry_after: float | None
) -> None:
    error = kind("docker.io refused: “naïve”\n", detail=detail, retry_after=retry_after)

    again = RegistryError.from_record(json.loads(json.dumps(error.to_record())))

    assert type(again) is kind
    assert (again.message, str(again)) == (error.message, error.message)
    assert (again.detail, again.retry_after) == (detail, retry_after)
    assert (again.code, again.status) == (error.code, error.status)


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"error": "FromANewerVersion", "message": "m"},
        {"error": None, "message": None, "detail": None, "retry_after": None},
        {"error": ["BlobUnknown"], "message": 5, "retry_after": "soon"},
        {"error": "Exception"},
        {"error": "__init__"},
    ],
)
def test_a_record_of_an_unknown_kind_becomes_the_root(record: dict[str, object]) -> None:
    error = RegistryError.from_record(record)
    assert type(error) is RegistryError
    assert isinstance(error.message, str)
    assert error.retry_after is None


def test_a_whole_number_of_seconds_reads_back_as_seconds() -> None:
    record = {"error": "TooManyRequests", "message": "m", "retry_after": 60}
    assert RegistryError.from_record(record).retry_after == 60.0


def test_an_error_that_is_kept_keeps_nothing_of_where_it_was_raised() -> None:
    class Body:
        """Stands for megabytes."""

    alive = []

    def read() -> None:
        body = Body()
        alive.append(weakref.ref(body))
        try:
            raise OSError
        except OSError as cause:
            raise UpstreamCorrupt("wrong") from cause

    with pytest.raises(UpstreamCorrupt) as raised:
        read()
    kept = raised.value
    del raised
    assert alive[0]() is not None
    forget_frames(kept)
    assert alive[0]() is None
    assert isinstance(kept.__cause__, OSError)
