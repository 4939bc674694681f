"""The worker process of the benchmark."""

from benchmarks.fairness.program import batch, fair, plain
from benchmarks.serving import main, worker_of

if __name__ == "__main__":
    main(worker_of(batch, fair, plain))
