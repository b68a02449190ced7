"""`python -m visnet.train`: the training command where nothing of visnet is installed, such as in a Ray job."""

from visnet.train.cli import train

train(prog_name="python -m visnet.train")
