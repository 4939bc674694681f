"""The worker process of the benchmark."""

from benchmarks.messages.program import child, counter, nap, parent, wide
from benchmarks.serving import main, worker_of

if __name__ == "__main__":
    main(worker_of(child, counter, nap, parent, wide))
