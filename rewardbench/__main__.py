"""``python -m rewardbench``: the command, where a launcher wants a module."""

import sys

from rewardbench.cli import main

sys.exit(main())
