"""The fake upstream: a registry as the OCI distribution spec has it, for pulls, that errs where its `faults` say so."""

import json
import re
import ssl
import threading
from typing import Any
from urllib.parse import urlencode

from tests.harness.content import OCI_INDEX, Content
from tests.harness.faults import Answer, BodyFaults, Faults
from tests.harness.journal import Exchange
from tests.harness.loopback import Loopback
from tests.harness.tokens import Tokens
from tests.harness.wire import Cut, Reply, hold

# Greedy from the left, so that the last keyword counts: repositories may be called "a/manifests/b".
ROUTE = re.compile(r"/v2/(?P<repository>.+)/(?P<kind>manifests|blobs|tags|referrers)/(?P<name>[^/]+)")
RANGE = re.compile(r"bytes=(?P<first>\d*)-(?P<last>\d*)")
RATE_WINDOW = 21600
API_ERROR = [("Content-Type", "application/json"), ("Docker-Distribution-Api-Version", "registry/2.0")]
NOT_COUNTED = (401, 404, 429)


def error(status: int, code: str, headers: list[tuple[str, str]] | None = None) -> Reply:
    body = json.dumps({"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}).encode()
    return Reply(status, [*API_ERROR, *(headers or [])], body)


def scripted_reply(answer: Answer) -> Reply:
    """As a test wrote it; an error without a body or a type of its own is one of a registry."""
    headers = list(answer.headers.items())
    if answer.status < 400 or answer.body or "Content-Type" in answer.headers:
        return Reply(answer.status, headers, answer.body)
    if answer.status == 401 and "WWW-Authenticate" not in answer.headers:
        headers.append(("WWW-Authenticate", "Negotiate"))
    return error(answer.status, "UNKNOWN", headers)


def bytes_reply(data: bytes, headers: list[tuple[str, str]], asked: str | None, faults: BodyFaults | None) -> Reply:
    """200, or 206 or 416 where a single range is asked and the faults allow ranges."""
    match = RANGE.fullmatch(asked or "")
    if faults is not None and (faults.no_range or faults.gzip):
        match = None
    if match is None or match["first"] == match["last"] == "":
        return Reply(200, headers, data, faults)
    size = len(data)
    first = int(match["first"]) if match["first"] else max(0, size - int(match["last"]))
    last = min(int(match["last"]), size - 1) if match["first"] and match["last"] else size - 1
    if first > last:
        return error(416, "RANGE_INVALID", [("Content-Range", f"bytes */{size}")])
    span = ("Content-Range", f"bytes {first}-{last}/{size}")
    return Reply(206, [*headers, span], memoryview(data)[first : last + 1], faults, first)


class FakeUpstream(Content, Loopback):
    """Content, journal, `faults`. A request to an endpoint that no registry client should ask fails the test
    unless `strict` is off."""

    def __init__(self, tls: ssl.SSLContext | None = None, strict: bool = True) -> None:
        self.faults = Faults()
        self.tokens = Tokens(self.faults)
        self.strict = strict
        self._pulls = 0
        self._pulls_lock = threading.Lock()
        Content.__init__(self)
        Loopback.__init__(self, tls=tls)

    def hold_no_more(self) -> None:
        """Once a body is held, hold no other one; what is held stays so."""
        self.wait_until(lambda: any(each.held for each in self.exchanges))
        self.faults.hold_at = None

    def reset_faults(self) -> None:
        """Behave from now on; the content, the journal and the tokens stay."""
        self.faults.release()
        self.faults = self.tokens.faults = Faults()

    @property
    def token_requests(self) -> list[Exchange]:
        return [each for each in self.requests() if each.path == "/token"]

    @property
    def counted_pulls(self) -> int:
        """Manifest GETs, as Docker Hub counts them against its limit."""
        gets = self.requests("GET", "/manifests/")
        return sum(each.status not in NOT_COUNTED for each in gets)

    def answer(self, exchange: Exchange) -> Reply:
        faults, request = self.faults, f"{exchange.method} {exchange.path}"
        if faults.hold_before and re.search(faults.hold_before, request):
            hold(exchange, faults, self, self.stopping)
        if faults.delay and self.stopping.wait(faults.delay):
            raise Cut
        if faults.drop and re.search(faults.drop, request):
            raise Cut
        if scripted := faults.next_answer(request):
            return scripted_reply(scripted)
        reply = self._route(exchange)
        if faults.set_cookie:
            reply.headers.append(("Set-Cookie", "session=secret; Path=/"))
        return reply

    def _route(self, exchange: Exchange) -> Reply:
        match = ROUTE.fullmatch(exchange.path)
        if exchange.method not in ("GET", "HEAD"):
            return self._unexpected(exchange, 405)
        if exchange.path == "/token":
            return self.tokens.issue(exchange)
        if match is None and exchange.path != "/v2/":
            return self._unexpected(exchange, 404)
        refusal = self.tokens.refusal(exchange, match["repository"] if match else None, f"{self.url}/token")
        if refusal or match is None:
            return refusal or Reply(200, [("Content-Type", "application/json")], b"{}")
        repository, kind, name = match["repository"], match["kind"], match["name"]
        if kind == "manifests":
            return self._manifest(exchange, repository, name)
        if kind == "blobs":
            return self._blob(exchange, repository, name)
        if kind == "referrers":
            return self._referrers(exchange, repository, name)
        return self._tags_list(exchange, repository) if name == "list" else self._unexpected(exchange, 404)

    def _unexpected(self, exchange: Exchange, status: int) -> Reply:
        if self.strict:
            self.problems.append(f"nobody predicted {exchange.method} {exchange.path}")
        return error(status, "UNSUPPORTED")

    def _manifest(self, exchange: Exchange, repository: str, reference: str) -> Reply:
        faults = self.faults
        if exchange.method == "HEAD" and faults.no_head:
            return error(405, "UNSUPPORTED", [("Allow", "GET")])
        found = self.manifest(repository, reference)
        if found is None:
            return error(404, "MANIFEST_UNKNOWN")
        digest, manifest = found
        headers = [("Content-Type", manifest.media_type)]
        if not faults.no_digest_header:
            headers.append(("Docker-Content-Digest", digest))
        if faults.rate_limit is not None:
            limited, limits = self._count_pull(exchange, faults.rate_limit)
            headers += limits
            if limited:
                return error(429, "TOOMANYREQUESTS", [*limits, ("Retry-After", faults.retry_after)])
        if exchange.method == "HEAD" and (moved := faults.move_tag_after_head.pop(reference, None)):
            self.tag(repository, reference, moved)
        data = faults.manifest_bytes_override.get(digest, manifest.data)
        return Reply(200, headers, data, faults.own(digest))

    def _count_pull(self, exchange: Exchange, limit: int) -> tuple[bool, list[tuple[str, str]]]:
        with self._pulls_lock:
            limited = exchange.method == "GET" and self._pulls >= limit
            self._pulls += exchange.method == "GET" and not limited
            left = max(0, limit - self._pulls)
        return limited, [
            ("ratelimit-limit", f"{limit};w={RATE_WINDOW}"),
            ("ratelimit-remaining", f"{left};w={RATE_WINDOW}"),
            ("docker-ratelimit-source", "127.0.0.1"),
        ]

    def _blob(self, exchange: Exchange, repository: str, digest: str) -> Reply:
        faults, data = self.faults, self.blob(repository, digest)
        if exchange.method == "HEAD" and faults.no_head:
            return error(405, "UNSUPPORTED", [("Allow", "GET")])
        if data is None:
            return error(404, "BLOB_UNKNOWN")
        location = faults.redirect_to.format(digest=digest) if faults.redirect_to else None
        if faults.redirect_blobs_to:
            location = faults.redirect_blobs_to.presign(digest, data, faults.own_or_general(digest))
        if location:
            return Reply(faults.redirect_status, [("Location", location)])
        headers = [("Content-Type", "application/octet-stream"), ("Accept-Ranges", "bytes")]
        if not faults.no_digest_header:
            headers.append(("Docker-Content-Digest", digest))
        return bytes_reply(data, headers, exchange.headers.get("Range"), faults.own_or_general(digest))

    def _tags_list(self, exchange: Exchange, repository: str) -> Reply:
        tags = self.tags(repository)
        if tags is None:
            return error(404, "NAME_UNKNOWN")
        if self.faults.max_n and int(exchange.query.get("n", ["0"])[0]) > self.faults.max_n[0]:
            return error(self.faults.max_n[1], "PAGINATION_NUMBER_INVALID")
        after = exchange.query.get("last", [""])[0]
        behind = [tag for tag in tags if tag > after]
        if self.faults.page_by_token:
            page, links = self._page_by_token(exchange, tags)
        else:
            page, links = (tags, []) if self.faults.no_paging else self._page(exchange, behind)
        body = json.dumps({"name": repository, "tags": page}).encode()
        return Reply(200, [("Content-Type", "application/json"), *links], body)

    def _referrers(self, exchange: Exchange, repository: str, subject: str) -> Reply:
        if self.faults.no_referrers:
            return error(404, "NOT_FOUND")
        found, headers = self.referrers(repository, subject), [("Content-Type", OCI_INDEX)]
        if kind := exchange.query.get("artifactType", [""])[0]:
            found = [each for each in found if each.get("artifactType") == kind]
            headers.append(("OCI-Filters-Applied", "artifactType"))
        after = exchange.query.get("last", [""])[0]
        by_digest = {each["digest"]: each for each in found if each["digest"] > after}
        page, links = self._page(exchange, sorted(by_digest))
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [by_digest[digest] for digest in page]}
        return Reply(200, headers + links, json.dumps(document).encode())

    def _page_by_token(self, exchange: Exchange, entries: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
        begins = int(exchange.query.get("next_page", ["0"])[0], 16)
        size = min(int(exchange.query.get("n", ["50"])[0]), self.faults.page_size or 50)
        page, ends = entries[begins : begins + size], begins + size
        if ends >= len(entries):
            return page, []
        return page, [("Link", f'<{exchange.path}?n={size}&next_page={ends:x}>; rel="next"')]

    def _page(self, exchange: Exchange, entries: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
        """The first page of what is left to list, and the Link to the next one if there is any."""
        query: dict[str, Any] = {name: values[0] for name, values in exchange.query.items()}
        wanted = [int(query["n"])] if "n" in query else []
        limits = wanted + ([self.faults.page_size] if self.faults.page_size is not None else [])
        page = entries[: min(limits)] if limits else entries
        if not page or len(page) == len(entries):
            return page, []
        query |= {"n": len(page), "last": page[-1]}
        return page, [("Link", f'<{exchange.path}?{urlencode(query)}>; rel="next"')]
