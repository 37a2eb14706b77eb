"""What the operator asked for: the file, the flags, the environment, in that order of trust.

Belongs here: the schema, strict decoding with errors that name path, value and nearest
key, precedence. Pure but for the source readers. Does not: what the machine has.
"""
