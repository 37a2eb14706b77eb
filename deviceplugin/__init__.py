"""Speaks to the kubelet: registration and the device-plugin API v1beta1 (DRA comes here too).

Belongs here: sockets, gRPC, the kubelet's rules, and a kubelet stand-in that plays the
other side. Takes and returns plain values through small Protocols. Does not: know what a
GPU is, or import agent.
"""
