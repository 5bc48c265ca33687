"""``python -m cellglass``: the command line."""

from cellglass.cli import main

main()
