"""`python -m cornu` is the command `cornu`."""

from cornu.cli import main

if __name__ == "__main__":
    main()
