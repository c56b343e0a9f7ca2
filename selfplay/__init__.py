"""Self-play without a tensor: what the model is asked, what its answers are paid, and what keeps it near the book.

`environment.py` is the protocol the trainer knows, `factory.py` makes the one that was chosen, `text.py` is the environment
over the person's books, `rewards.py` the formulas, `book.py` what is measured on the book once, `advantages.py` and `leash.py` what the trainer does with
the pay. Pure Python throughout: no torch, no disk, no clock, no global random state.
"""
