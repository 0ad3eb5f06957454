"""A clock that a test sets, for state that takes its clock as an argument."""


class Clock:
    """Stands still until `now` is changed."""

    now = 100.0
    """Seconds."""

    def __call__(self) -> float:
        return self.now
