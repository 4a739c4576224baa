"""What Dataflow's launcher runs, since it wants a file and no module: `python -m pipelines.stream` with its options."""

import runpy

if __name__ == "__main__":
    runpy.run_module("pipelines.stream", run_name="__main__", alter_sys=True)
