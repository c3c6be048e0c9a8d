"""A text that is not shown when it is printed or logged."""

from hmac import compare_digest
from typing import NoReturn

MASK = "********"


class Secret:
    """A password or what contains one. Only ``reveal()`` gives the text; printing, formatting and pickling do not."""

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        self.__text = text

    def reveal(self) -> str:
        """The text itself, for the one place that sends it."""
        return self.__text

    def __repr__(self) -> str:
        return f"Secret('{MASK}')"

    def __str__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return compare_digest(self.__text.encode(errors="surrogatepass"), other.__text.encode(errors="surrogatepass"))

    def __hash__(self) -> int:
        return hash(self.__text)

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, memo: object) -> "Secret":
        # dataclasses.asdict copies objects; without this it would go through pickle and fail.
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled")
