"""Find out with how many threads steps that follow each other are computed fastest.

It depends on the model's size and on what else the machine does: on a busy one, threads that wait for each other can take ten times
as long as one. So now and then a few steps are tried with each number, more rarely the longer the same one wins.
"""

from __future__ import annotations

TRIES = 3  # steps with each number; the fastest counts
HOPELESS = 3  # times the fastest step of one thread: one such step ends a trial
FIRST_PERIOD, LONGEST_PERIOD = 32, 512  # steps from trial to trial


class ThreadChoice:
    """Chooses between one thread and `most`: ask before each step (`now`), tell its seconds after it (`took`)."""

    def __init__(self, most: int) -> None:
        self._numbers = (1, most) if most > 1 else (1,)
        self._chosen, self._period, self._steps_left = 1, FIRST_PERIOD, 0
        self._seconds: dict[int, list[float]] = {}

    @property
    def now(self) -> int:
        if self._steps_left or len(self._numbers) == 1:
            return self._chosen
        return next(number for number in self._numbers if len(self._seconds.get(number, ())) < TRIES)

    def took(self, seconds: float) -> None:
        if self._steps_left:
            self._steps_left -= 1
            return
        self._seconds.setdefault(self.now, []).append(seconds)
        tried = all(len(self._seconds.get(number, ())) >= TRIES for number in self._numbers)
        if tried or seconds > HOPELESS * min(self._seconds[self._numbers[0]]):
            self._choose()

    def _choose(self) -> None:
        best = min(self._seconds, key=lambda number: min(self._seconds[number]))
        self._period = min(2 * self._period, LONGEST_PERIOD) if best == self._chosen else FIRST_PERIOD
        self._chosen, self._steps_left, self._seconds = best, self._period, {}
