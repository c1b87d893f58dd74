"""Counts for fixed pieces of work, which repeat where times do not: `make counts`.

It counts calls of Python functions, calls of functions written in C, executed bytecode
instructions, and, for work without a server, the peak memory in bytes. They are
the same on a busy machine and on an idle one; a test fails if one is 5 % above the value in
`recorded.json`. What happens inside C (msgspec, TLS, dict operations) counts as one call,
however long it takes: the benchmarks have the times.
"""
