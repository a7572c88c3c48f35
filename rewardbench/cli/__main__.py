"""``python -m rewardbench.cli`` is the ``rewardbench`` command."""

import sys

from rewardbench.cli.app import main

sys.exit(main())
