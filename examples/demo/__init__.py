"""The demonstration: the workflow `audit` on the environment it runs in, with a worker that is killed half-way."""
