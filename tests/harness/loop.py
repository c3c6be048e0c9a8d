"""A loop's time, as the test has it go on."""

from gevent.event import Event


class Loop:
    """What hears of time only when the test says so: a clock, and a pause that ends when the test lets it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.look = Event()

    def clock(self) -> float:
        return self.now

    def pause(self, _: float) -> None:
        self.look.wait()
        self.look.clear()
