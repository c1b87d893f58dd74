"""The soak: a server in a process of its own is asked for an hour while everything around it fails.

`python -m tests.soak --duration 1h` starts a cluster of simulated exporters, pods and a Kubernetes
API in this process, and the server in another. Callers ask at a steady rate. A seeded random
process injects faults in cycles: some faults at once, then none until every answer is exactly right
again, then a quiet phase in which every answer must stay so.

- `world`: the pods, and so the right answers.
- `exporter`, `api`, `hostile`: the exporters, the Kubernetes API and the callers that misbehave.
- `faults`: every kind of fault.
- `callers`: those who behave, and what they check.
- `sampling`: what the server's process takes, and what it logs.
- `report`: what was seen, and the verdict.
- `run`: puts them together.
"""
