"""`python -m backburner`: the same as the `backburner` command."""

from backburner.cli import main

if __name__ == "__main__":
    main()
