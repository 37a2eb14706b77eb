"""Inventory + Config -> what to offer, what to give, what to change. Pure.

Belongs here: Catalog, Placement, Steps, CDI documents as plain dicts. No I/O, no clock, no
logging, no randomness: time and ids come in as arguments, files go out through others.
"""
