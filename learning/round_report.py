"""Put a round of self-play into events: the texts with their loops marked, and means over them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from engine.rollouts import Rollouts
from events import Band, Rollout, SelfPlayDone, Writing
from selfplay.environment import Prompt, Score
from selfplay.loops import spans
from tokenizer import Tokenizer


def reported(
    prompts: Sequence[Prompt], written: Rollouts, scores: Sequence[Score], greedy: Sequence[bool], tokenizer: Tokenizer
) -> list[Rollout]:
    """Return each text with its score and the places of its faults."""
    rows = zip(prompts, written.completions, written.finished, scores, greedy, strict=True)
    return [_reported(*row, tokenizer) for row in rows]


def _reported(
    prompt: Prompt, completion: list[int], finished: bool, score: Score, greedy: bool, tokenizer: Tokenizer
) -> Rollout:
    tokens = completion[:-1] if finished else completion
    return Rollout(
        prompt=prompt.text,
        completion=tokenizer.decode(tokens),
        reward=score.reward,
        reward_breakdown=dict(score.breakdown),
        copied=score.copied,
        copies=score.copies,
        greedy=greedy,
        looped=len(score.faults) / max(1, len(completion)),
        loops=spans([fault for fault in score.faults if fault < len(tokens)], _borders(tokens, tokenizer)),
    )


def _borders(tokens: Sequence[int], tokenizer: Tokenizer) -> list[int]:
    """Return the characters before each token and after the last; a token within a character begins after it."""
    sizes = accumulate((len(tokenizer.token_bytes(token)) for token in tokens), initial=0)
    text = b"".join(map(tokenizer.token_bytes, tokens))
    return [len(text[:size].decode("utf-8", errors="replace")) for size in sizes]


def round_event(iteration: int, number: int, rollouts: Sequence[Rollout], book: Mapping[str, Band]) -> SelfPlayDone:
    """Return the event of a round: means over the texts of all processes."""
    return SelfPlayDone(
        iteration=iteration,
        round=number,
        reward=_mean(one.reward for one in rollouts),
        reward_breakdown=_mean_parts([one.reward_breakdown for one in rollouts]),
        looped=_mean(one.looped or 0.0 for one in rollouts),
        copied=_mean(one.copied for one in rollouts),
        book=dict(book),
        rollouts=tuple(rollouts),
    )


def writing(rollouts: Sequence[Rollout]) -> Writing:
    """Return the means over texts that were written in one way, and the first of them."""
    return Writing(
        reward=_mean(one.reward for one in rollouts),
        reward_breakdown=_mean_parts([one.reward_breakdown for one in rollouts]),
        looped=_mean(one.looped or 0.0 for one in rollouts),
        text=rollouts[0].completion,
        loops=rollouts[0].loops,
    )


def _mean_parts(breakdowns: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each part over the rollouts that have it; an environment may score different tasks by different parts."""
    names = dict.fromkeys(name for parts in breakdowns for name in parts)
    return {name: _mean(parts[name] for parts in breakdowns if name in parts) for name in names}


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
