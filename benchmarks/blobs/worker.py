"""The process that runs the workflows' code."""

from benchmarks.blobs.program import KINDS
from benchmarks.serving import main, worker_of

if __name__ == "__main__":
    main(worker_of(*(program for program, _ in KINDS.values())))
