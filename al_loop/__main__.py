"""`python -m al_loop` is `al-loop`."""

from al_loop.cli import main

if __name__ == "__main__":
    main()
