r"""What tests share: a fake registry upstream, clients downstream, the real server between them, and more.

A test takes the fixtures it needs (tests/conftest.py):

    def test_eight_clients_of_a_cold_blob_cost_one_download(upstream, cache, puller):
        blob = upstream.add_blob(random_bytes(4 * MiB, seed=1))
        upstream.faults.hold_at = 1 * MiB                       # the upstream pauses here …
        pulls = [puller.start_blob("library/app", blob) for _ in range(8)]
        for pull in pulls:
            pull.wait_for(1 * MiB - 64 * KiB)                   # … everyone is already reading …
        upstream.faults.gate.set()                              # … and only now does it go on
        assert [pull.finish().digest for pull in pulls] == [blob] * 8
        assert upstream.gets(blob) == upstream.peak_in_flight(blob) == 1

FIXTURES
    upstream                 FakeUpstream; problems (a fake that failed, an unexpected request) fail the test
    make_upstream(tls=…)     one more; `tls.make_certificate(tmp_path)` gives the context and the CA file
    cdn                      FakeCdn on 127.0.0.2; credentials sent to it fail the test
    cache                    CacheServer: gunicorn, two workers, in front of `upstream`; a traceback in its log,
                             or another exit status than 0, fails the test
    make_cache(config, …)    make_cache({"tag_max_age": "1h"}), make_cache(root=cache.root) is a second instance,
                             url= another upstream, environment={…}, workers=4,
                             started=False where only commands are run
    puller, make_puller(url) Puller of `cache`, or of any URL
    store, layout, shelf     an empty store in this process: store_rig.Store, its Layout, cleanup_rig.Shelf
    Tests without a server (tests/pull) take `upstream` alone: `upstream.url`. Types: fixture_types.py.
    with running(FakeUpstream()) as upstream, running_cache(folder, upstream, config=…) as cache: …   (running.py)

CONTENT (content.py, images.py); the repository is "library/app" unless said
    blob = upstream.add_blob(data, "team/app", algorithm="sha512")
    upstream.add_manifest(document_or_bytes, OCI_MANIFEST, tag="1"); upstream.tag("library/app", "1", digest)  # moves
    upstream.untag("library/app", "1"); upstream.remove_blob(blob)
    image = make_image(upstream, tag="1", layers=3, layer_size=1 * MiB, kind="docker")   # .digest .blobs .layers
    index = make_index(upstream, tag="1", kind="oci")                                    # .digest .images
    make_artifact(upstream, image.digest); sign_as_cosign(upstream, image.digest)
    make_fallback_tag(upstream, image.digest)                                            # for no_referrers

FAULTS (faults.py has them all, a line each); set them at any time
    bodies of all blobs      upstream.faults.cut_after = [1 * MiB, 0]; .corrupt_at = 7; .rate = 1 * MiB; .no_range
    of one digest alone      upstream.faults.of(layer).hold_at = 1000; upstream.faults.of(layer).gate.set()
    any request              upstream.faults.answer("GET .*/blobs/", 503, times=2, Retry_After="5"); .status = 500
                             .hold_before = "HEAD .*/manifests/1$" (until the gate), .drop = "GET", .delay = 0.5
    access                   .require_token = True; .private.add("library/app"); .users["me"] = "secret"; .require_basic
    tokens                   upstream.tokens.revoke(); .token_seconds = 2; .token_size = 10**6; .realm; .challenges
    rate limit               .rate_limit = 1 (manifest GETs); upstream.counted_pulls
    the CDN                  .redirect_blobs_to = cdn; cdn.one_use = True; cdn.expire(); cdn.status; cdn.challenge
                             cdn.get_only = True
    redirects elsewhere      .redirect_to = "/v2/library/app/blobs/{digest}" (a loop), "ftp://…"
    tags, manifests          .move_tag_after_head["1"] = digest; .manifest_bytes_override[digest] = b"…"; .no_head
    an outage                upstream.stop() … upstream.start(): the port refuses, then answers again
    the end of all faults    upstream.reset_faults()
    bytes no library emits   RawServer(b"HTTP/1.1 200 OK\r\n…") (raw.py), make_cache(url=raw.url)

WHAT THE UPSTREAM SAW (journal.py; `cdn` has it too)
    upstream.gets(name), .heads(name), .bytes_sent(name), .in_flight(name), .peak_in_flight(name)   # name: digest, tag
    upstream.requests("HEAD", "/manifests/"), .token_requests, .exchanges[0].headers; .forget() starts anew
    upstream.wait_until(lambda: upstream.gets(blob) == 1)              # bounded, woken by every event; never sleep

CLIENTS (pullers.py)
    answer = puller.manifest("1"), puller.blob(digest), puller.get(path, {"Range": "bytes=5-"}), puller.head(path),
        puller.request("PUT", path, body=b"…")                         # .status .headers["X-Cache"] .body .json()
    pull = puller.start_blob("library/app", blob); pull.wait_for(1000); pull.close()      # leave in mid-body
    result = pull.finish()          # .digest (of what came) .size .complete .error .first_byte_seconds .status
    crowd = puller.start_crowd(1000, "library/app", blob, data); crowd.wait_until_reading()
    crowd.finish().right == 1000    # every byte compared, in a process of its own

THE SERVER (server.py; forked from a Python that has imported it, see forks.py; as from a shell: serving.py)
    cache.url, .root, .log_text(), .workers(), .rss(pid), .run("status", "--json")        # the CLI, to its end
    cache.kill_worker(cache.workers()[0]); cache.kill_all(); cache.restart()              # the port stays; a request
                                                                       # sent meanwhile waits in the kernel's queue
RAW BYTES (raw_client.py)
    raw_client.ask(cache.address, b"GET /v2/ HTTP/1.1\r\n…")   # the answer; exchange() reads to the end

REAL PROGRAMS (components.py, programs.py)
    require("skopeo")               # its path; skips on a laptop, fails where CI is set
    run([…], env), succeed([…])     # to its exit; the output of one that must not fail. environment(home): no proxy
    cache.run("status", "--json"), cache.run_on_terminal("verify"), PROGRAM            # registry-cache itself
"""
