"""The composition root of `plumbline run`: builds every object once.

Belongs here: the order of start and shutdown, the task group, signals, the rebuild loop
that swaps a new snapshot in. Does not: decisions (planning), answers to RPCs (serving).
"""
