"""What Dataflow's launcher runs, since it wants a file: `carrel stream` with the options that it gives."""

import sys

from pipelines.command_line import main

if __name__ == "__main__":
    sys.argv[1:] = ["stream", "--", *sys.argv[1:]]
    main()
