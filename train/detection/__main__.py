"""`python -m visnet.train.detection`: the detector's commands where nothing of visnet is installed, as in a Ray job."""

from visnet.train.detection.cli import detector

detector(prog_name="python -m visnet.train.detection")
