"""Plain Python. `python -m bellmax`: the command line."""

import os
import sys

if sys.path[:1] == [os.getcwd()]:
    del sys.path[0]  # Python put it there; what a file names must not be found in the current folder

from bellmax.cli import main

main(prog_name="bellmax")
