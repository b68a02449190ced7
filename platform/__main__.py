"""`python -m visnet.platform`: the command line where `visnet` is not on the path."""

from visnet.platform.cli import main

main(prog_name="visnet")
