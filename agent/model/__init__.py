"""The nouns: frozen structs, and the exception tree. Pure.

Belongs here: values that more than one package speaks of. Does not: behaviour beyond
reading a value; nothing here imports another package of ours.
"""
