"""One declaration is all that a key needs: its value, its default and its place in the model follow from it."""

from __future__ import annotations

from dataclasses import dataclass

from registry_cache.config import values
from registry_cache.config.given import Given
from registry_cache.config.settings import list_setting, section, setting, settings_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    names: tuple[str, ...] = list_setting("a.names", values.line)
    path: str | None = setting("a.path", values.line)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    count: int = setting("a.count", values.whole(1, 9), "3", older="count")
    inner: Inner = section(Inner)
    derived: str


def test_a_declaration_is_enough() -> None:
    settings = {each.at(()): each for each in settings_of(Model)}
    given = Given("file", settings, [], {}, {}, values={("a", "path"): "/x"})

    assert [each.path for each in settings.values()] == ["a.count", "a.names", "a.path"]
    assert [each.structured for each in settings.values()] == [False, True, False]
    assert given.read(Model, derived="d") == Model(count=3, inner=Inner(names=(), path="/x"), derived="d")
    assert given.read(Inner, path="overridden").path == "overridden"
