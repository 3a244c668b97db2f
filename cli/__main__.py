"""`python -m cli`: the command line without the installed `kitsweep`."""

from cli import main

if __name__ == "__main__":
    main()
