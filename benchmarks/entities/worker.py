"""The worker process of the benchmark."""

from benchmarks.entities.program import Counter
from benchmarks.serving import main, worker_of

if __name__ == "__main__":
    main(worker_of(Counter))
