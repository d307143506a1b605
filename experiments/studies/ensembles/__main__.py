"""``python -m experiments.studies.ensembles``."""

import sys

from experiments.studies.ensembles.command import main

if __name__ == "__main__":
    sys.exit(main())
