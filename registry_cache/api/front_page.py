"""``/``: 200 for probes that were written for ``registry:2``, and a line for people."""

from __future__ import annotations

from flask import Blueprint, Response

# Where people read what a mirror is and how to tell their client of it.
_DOCUMENTS = "https://docs.docker.com/docker-hub/image-library/mirror/"
_PAGE = (
    "<!doctype html><title>registry-cache</title>"
    "<p>A mirror of container registries: pull from it as from the registry itself. "
    f'<a href="{_DOCUMENTS}">How to set up a client</a></p>\n'
)


def blueprint() -> Blueprint:
    """Return the route of ``/``, which has no login: a probe has none, and a 401 makes it kill the container."""
    routes = Blueprint("front_page", __name__)

    @routes.get("/")
    def page() -> Response:
        response = Response(_PAGE, mimetype="text/html")
        # CNCF Distribution's: a probe wants to know how the server is now.
        response.headers["Cache-Control"] = "no-cache"
        return response

    return routes
