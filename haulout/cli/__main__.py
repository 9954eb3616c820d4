"""`python -m haulout.cli`: the command line without its console script."""

from haulout.cli.main import main

main()
