"""Speaks to the kubelet about Dynamic Resource Allocation: registration, claims, health.

Belongs here: the sockets of a DRA driver, its gRPC services in every version from one
implementation, and the kubelet's rules for them (KEP-4381; the protocol is that of the kubelet
1.34 and later). Does not: know what a GPU is, read claims from the API server, or import agent.
"""
