"""`python -m visnet.serve`: the service where nothing of visnet is installed, such as in a Ray job."""

from visnet.serve.cli import serve

serve(prog_name="python -m visnet.serve")
