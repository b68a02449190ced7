"""`python -m visnet.batch`: the batch commands where nothing of visnet is installed, such as in a Ray job."""

from visnet.batch.cli import batch

batch(prog_name="python -m visnet.batch")
