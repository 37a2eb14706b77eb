"""Speaks to the API server: this node's labels and annotations, Events, evictions.

Plain values in and out; what blocks is called from worker threads. What is to be said, and when, is
decided elsewhere. The requests are made with urllib3, which the official client is built on: that
client imports a model of every resource of Kubernetes, 33 MiB and 0.4 s, for six of its calls.
"""
