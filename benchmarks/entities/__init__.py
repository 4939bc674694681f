"""The benchmark of entity actors: asks to many from one worker process, one alone, and memory after very many were touched."""
