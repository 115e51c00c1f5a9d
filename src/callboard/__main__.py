"""`python -m callboard` is `callboard`."""

from callboard.cli import main

main()
