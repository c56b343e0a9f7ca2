"""Count what a training has done by its events: time in iterations and in rounds of self-play, without evaluations, and rewards."""

from __future__ import annotations

from dataclasses import dataclass, field

from events import Evaluated, Event, IterationDone, SelfPlayDone


@dataclass
class Course:
    """What a training has done so far, by its events."""

    iterations: int = 0
    seconds: float = 0.0
    play_seconds: float = 0.0
    seconds_before_play: float = 0.0
    rewards: list[float] = field(default_factory=list)  # of each round
    _elapsed: float = 0.0
    _last: float = 0.0  # seconds of the last iteration

    def add(self, event: Event, tokens: int) -> None:
        """Count an event; `tokens` are those of an iteration."""
        if isinstance(event, SelfPlayDone):
            if not self.rewards:
                self.seconds_before_play = self.seconds - self._last
            self.rewards.append(event.reward)
        elif isinstance(event, IterationDone | Evaluated):
            if isinstance(event, IterationDone):
                self._last = event.elapsed_seconds - self._elapsed
                self.iterations, self.seconds = event.iteration, self.seconds + self._last
                self.play_seconds += max(0.0, self._last - tokens / event.tokens_per_second)
            self._elapsed = event.elapsed_seconds
