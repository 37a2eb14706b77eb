"""Commands: parse arguments, call one function of the agent, print its answer.

Belongs here: the command line, tables and JSON for people and scripts, exit codes.
Does not: decisions, reading the machine, anything the daemon needs. typer and rich are
imported only here, so that the daemon never pays for them.
"""
