"""The worker process of the benchmark."""

from benchmarks.messages.program import child, counter, nap, parent, wide
from benchmarks.serving import main

if __name__ == "__main__":
    main([child, counter, nap, parent, wide])
