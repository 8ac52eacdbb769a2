"""Everything, from nothing to both models: `python run.py`. A stage that was stopped goes on from its checkpoint."""

import argparse
import os
import time
from pathlib import Path

# Threads that wait by spinning would take the time of whatever else runs.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from tiny_r1 import cold_start, distill, grpo, precision, pretrain, rejection, trainer

STAGES = {
    "pretrain": (pretrain.run, dict(steps=1200), dict(steps=6, budget=2048)),
    "cold_start": (cold_start.run, dict(steps=36), dict(steps=3, count=40, budget=2048)),
    "grpo": (grpo.run, dict(iterations=12), dict(iterations=1, questions=4, group=4, most=24, measured=2)),
    "rejection": (
        rejection.run,
        dict(steps=(1800, 1800, 500, 1500, 600), wanted=1200),
        dict(steps=(3, 3, 3, 3, 3), wanted=0, budget=2048),
    ),
    "distill": (distill.run, dict(reading=900, steps=1500, wanted=5000), dict(reading=3, steps=3, wanted=0, budget=2048)),
    "precision": (precision.run, dict(steps=400), dict(steps=3, budget=1024)),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stages", nargs="*", help=f"only these, in order (default: all of {', '.join(STAGES)})")
    parser.add_argument("--work", type=Path, default=Path("work"), help="where checkpoints and logs go (default: work)")
    parser.add_argument("--smoke", action="store_true", help="a few steps of every stage, to see that all of it runs")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    args = parser.parse_args()
    for name in args.stages or STAGES:
        if name not in STAGES:
            parser.error(f"no stage {name!r}; there are {', '.join(STAGES)}")
    trainer.setup(args.threads, compiled=not args.smoke)
    for name in args.stages or STAGES:
        stage, full, smoke = STAGES[name]
        started = time.time()
        print(f"== {name}", flush=True)
        stage(args.work, **(smoke | {"compiled": False} if args.smoke else full))
        print(f"== {name}: {time.time() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
