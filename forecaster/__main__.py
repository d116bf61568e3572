"""Entry of ``python -m forecaster``."""

import sys

if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    sys.exit(f"forecaster runs on Python 3.11 to 3.13; this is {sys.version.split()[0]}")

from forecaster.cli import main

main()
