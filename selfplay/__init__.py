"""Self-play without a tensor: what the model is asked, what its answers are paid, and which of their tokens are faults.

`environment.py` is the protocol the trainer knows, `factory.py` makes the one that was chosen, `text.py` is the environment
over the person's books, `rewards.py` the formulas, `loops.py` the faults, `book.py` what is measured on the book once, `gate.py` when
self-play starts and pauses. Pure Python throughout: no torch, no disk, no clock, no global random state.
"""
