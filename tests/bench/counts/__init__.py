"""Counts of fixed pieces of work, which repeat where times do not: `make counts`.

Counted are the calls of Python functions, the calls of functions written in C, the bytecode
instructions executed, and for work without a server the bytes of memory at its peak. They are
the same on a busy machine and on an idle one, and a test fails where one of them is 5 % above what
`recorded.json` has. What happens inside C (msgspec, TLS, dict operations) counts as one call,
however long it takes: the benchmarks have the times.
"""
