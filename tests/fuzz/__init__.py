"""Mutants of every kind of file that is read: each is refused, or read without harm.

    python -m tests.fuzz --kind pth --count 10000 --seed 3

`kinds.py` lists the kinds of files, `mutate.py` damages them, `child.py` reads them in a process
with limits of time and memory, and `run.py` judges what happened.
"""
