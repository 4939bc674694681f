"""`python -m aiki.cli` is the `aiki` command."""

from aiki.cli.main import main

if __name__ == "__main__":
    main()
