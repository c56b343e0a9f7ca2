"""What test_processes.py lets torchrun start: a training with self-play in which rank 0 prints its events as JSON."""

from __future__ import annotations

import json
import sys

from azr_trainer import AZRTrainer
from corpus.dataset import split, tokenize
from events import to_json
from machine.processes import ending_at_once, joined
from tests.training_kit import SELF_PLAY, SHAPE, TEXT, TRAINING, changed, finish, make_model, play, ready_to_play, wild
from tokenizer import Tokenizer


def main(options: str) -> None:
    tokenizer = Tokenizer.fit([TEXT], SHAPE.vocab_size)
    dataset = finish(tokenize([split(TEXT, 0.1)], tokenizer))
    config = changed(TRAINING, self_play=changed(SELF_PLAY, num_prompts=9), dropout=0.0, **json.loads(options))
    with joined() as ranks:
        player = play(tokenizer, config.self_play, ranks=ranks)
        model, state = wild(make_model(), std=0.1), ready_to_play(tokenizer)
        trainer = AZRTrainer(model, tokenizer, dataset, config, self_play=player, state=state, ranks=ranks)
        for event in trainer.run():
            if ranks.is_main:
                print(json.dumps(to_json(event)), flush=True)


if __name__ == "__main__":
    with ending_at_once():
        main(sys.argv[1])
