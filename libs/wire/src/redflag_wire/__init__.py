"""What travels between RedFlag programs: envelopes, keys, commands, reports, and how they are checked.

The library does no I/O. Clock and randomness come in as arguments; every refusal is a ``WireError`` with a stable
code. The bytes are described in docs/protocol.md, whose section numbers the docstrings cite.
"""
