"""`python -m tasks.cli`: the command line without the installed `kitsweep`."""

from tasks.cli import main

if __name__ == "__main__":
    main()
