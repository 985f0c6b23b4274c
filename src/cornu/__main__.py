"""`python -m cornu` is the command `cornu`."""

from cornu.cli import main

main()
