"""Logs, and later metrics and probes.

Belongs here: how an event becomes a line. Does not: what is worth an event.
"""
