"""The soak: a server answers for an hour while everything around it fails.

`python -m tests.soak --duration 1h` runs the server in a separate process, and in this one the
exporters, the Kubernetes API and the callers of a simulated cluster. Callers ask at a steady rate.
Faults come in cycles, random but seeded: several at once, then none until every answer is
exactly right again, then a quiet phase in which every answer must stay exactly right.

- `world`: nodes and pods, which determine the right answers.
- `exporter`, `api`, `hostile`: exporters, a Kubernetes API and callers that can misbehave.
- `stage`: the server with all of that around it.
- `faults`: every kind of fault, and when it is injected.
- `callers`, `checking`: the well-behaved callers, and whether their answers are right.
- `sampling`: memory, descriptors, tasks and the log of the server's process.
- `report`: the figures and the verdict.
- `run`: the soak from start to verdict.
"""
