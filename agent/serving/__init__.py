"""Answers deviceplugin's Protocols from the current snapshot.

Belongs here: the glue between a kubelet question, as plain values, and planning's answer.
Does not: NVML, the API server, file scans: an RPC reads the snapshot and nothing else.
"""
