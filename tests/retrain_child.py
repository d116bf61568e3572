"""One retraining of the small market in a process of its own, to be killed."""

import sys
from pathlib import Path

from market import Market

if __name__ == "__main__":
    home, day, mode = sys.argv[1:]
    market = Market(Path(home), settings={"full_every": 1000}).at(day)
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    sys.stdout.write(f"{market.run(mode).status}\n")
