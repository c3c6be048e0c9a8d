"""The text of nginx' configuration, with ``@name@`` where a value goes; ``deployment.nginx`` fills it in."""

FILE = """\
# nginx in front of registry-cache: written by `registry-cache nginx`, to be copied to /etc/nginx/conf.d/.
# Write it anew after each change of upstreams, http or storage in the cache's configuration.
# What it does, and why each odd line is there: docs/nginx.md.

upstream registry_cache {
    server unix:@socket@ max_fails=0;
    keepalive 32;
}

log_format registry_cache '$remote_addr $time_iso8601 "$request" $status $body_bytes_sent $request_time '
                          '$sent_http_x_cache app=$upstream_status id=$registry_cache_id "$http_user_agent"';
@auth_cache@

# nginx' own $request_id is 16 bytes of randomness: an eighth of what a hit costs.
map "" $registry_cache_id {
    default "$msec-$connection-$connection_requests";
}

# Which registry a query names. "@no_query@": there is no query. "": the application has to read it.
map $args $registry_cache_ns {
    "" "@no_query@";
@queries@
    default "";
}

# As the answer repeats it: containerd escapes the colon of a port.
map $arg_ns $registry_cache_namespace {
    "~^(?<rc_host>[^%]+)%3A(?<rc_port>[0-9]+)$" "$rc_host:$rc_port";
    default $arg_ns;
}

# Does the request ask for all of it, without a condition? The application judges conditions and ranges: what nginx says
# to a range behind the end would carry the headers of a hit.
map "$request_method$http_range$http_if_range$http_if_match$http_if_none_match$http_if_unmodified_since"
    $registry_cache_asks {
    GET @plainly@;
    HEAD @plainly@;
    default "";
}

# The repository's folder in the store. By the request line's own letters: $uri is decoded and tidied.
map "$registry_cache_asks:$registry_cache_ns$request_uri" $registry_cache_folder {
@folders@
    default "-";
}

map $http_range $registry_cache_part {
    "" "";
    default bytes;
}

map $request $registry_cache_method {
    "~^(?<rc_method>[A-Z]+) " $rc_method;
    default "This";
}

server {
@listen@
    server_name @server_name@;
    server_tokens off;
@tls@

    access_log @log@ registry_cache@log_buffer@;

    # Before the body: a layer of gigabytes is not taken to be thrown away.
    if ($request_method !~ "^(?:GET|HEAD)$") {
        return 405;
    }
    client_max_body_size 1k;
    client_header_timeout 30s;
    client_body_timeout 30s;
    large_client_header_buffers 8 8k;
    keepalive_timeout 75s;
    keepalive_requests 10000;
    # A client that reads nothing for so long is let go, and its socket's memory with it. The kernel asks for more only
    # when a third of a buffer of megabytes is free, and a slow client needs minutes for that.
    send_timeout 600s;
    reset_timedout_connection on;

    # The bytes are what the digest names, and so is the ETag.
    merge_slashes off;
    gzip off;
    charset off;
    etag off;
    if_modified_since off;
    expires off;
    default_type application/json;
    # A file that went between two looks is the application's affair and no error.
    log_not_found off;

    sendfile on;
    sendfile_max_chunk 512k;
    tcp_nopush on;
    tcp_nodelay on;
    # Content never changes under a name; but what is open keeps its room on the disk, so not for long.
    open_file_cache max=4096 inactive=10s;
    open_file_cache_valid 2s;
    open_file_cache_min_uses 2;
    open_file_cache_errors off;

    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Request-Id $registry_cache_id;
    # A download's first byte waits for upstream, and any other for what comes after it; the application bounds both.
    proxy_connect_timeout 5s;
    proxy_send_timeout 60s;
    proxy_read_timeout @patience@s;
    # A connection that the application closed while it was idle, and nothing else, is worth a second try.
    proxy_next_upstream error;
    # The application says X-Accel-Buffering: no where bytes arrive slowly. Nothing is ever collected on the disk.
    proxy_request_buffering off;
    proxy_max_temp_file_size 0;
    proxy_buffer_size 128k;
    proxy_buffers 4 64k;
    proxy_busy_buffers_size 128k;

@error_pages@
    # What was passed on because of one error may end in another.
    recursive_error_pages on;

    location / {
        proxy_pass http://registry_cache$request_uri;
    }

    location @registry_cache {
        proxy_pass http://registry_cache$request_uri;
    }

    location ~ "/blobs/(?<registry_cache_algorithm>sha256|sha512):(?<registry_cache_hex>[0-9a-f]+)$" {
@guard@
        alias @blob@;
        # Not here, or evicted meanwhile, or no password: the application's to answer.
        error_page 403 404 500 = @registry_cache;
        types {}
        default_type application/octet-stream;
@hit@
    }

    location ~ "/manifests/(?<registry_cache_algorithm>sha256|sha512):(?<registry_cache_hex>[0-9a-f]+)$" {
@guard@
        root @root@;
        try_files @kinds@ @registry_cache;
        error_page 403 404 500 = @registry_cache;
        types {
@types@
        }
        # No Accept-Ranges: nobody asks for a part of a manifest.
        max_ranges 0;
@hit@
    }

    # Blobs that the application has found, where http.accel is on (X-Accel-Redirect).
    location @blobs_at@ {
        internal;
        alias @blobs@;
        error_page 403 404 500 = @registry_cache_itself;
        types {}
        default_type application/octet-stream;
        max_ranges 1;
@sent@
    }

    # What it has found was evicted since: this time it sends the bytes itself, or fetches them.
    location @registry_cache_itself {
        proxy_set_header Connection "";
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Request-Id $registry_cache_id;
        proxy_set_header X-Registry-Cache-Accel off;
        proxy_pass http://registry_cache$request_uri;
    }
@auth@
@errors@
}
"""

ERROR = """\

    location = /_registry-cache/errors/@status@ {
        internal;
        # A push announces gigabytes, and is refused for being a push.
        client_max_body_size 0;
@headers@
        return @status@ @body@;
    }
"""

TLS = """\
    ssl_certificate @certificate@;
    ssl_certificate_key @key@;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:registry_cache:10m;
    ssl_session_timeout 1h;
"""

# Whoever was let in is not asked about for five seconds. The key is the header itself, hence a folder in memory.
AUTH_CACHE = """\

proxy_cache_path @folder@ levels=1 keys_zone=registry_cache_auth:1m inactive=10s max_size=16m use_temp_path=off;
"""

AUTH_LOCATIONS = """\

    # May this client pull? What /v2/ says to it, remembered for five seconds where that is yes.
    location = /_registry-cache/auth {
        internal;
        proxy_pass http://registry_cache/v2/;
        proxy_method GET;
        proxy_cache registry_cache_auth;
        proxy_cache_key $http_authorization;
        proxy_cache_valid 200 5s;
        proxy_ignore_headers Cache-Control Expires Set-Cookie Vary X-Accel-Expires;
        # Not a 401: its challenge would be sent twice. The application answers the request itself, with its own.
        proxy_intercept_errors on;
        error_page 401 403 404 429 500 502 503 504 =403 @registry_cache_denied;
    }

    location @registry_cache_denied {
        return 403;
    }
"""
