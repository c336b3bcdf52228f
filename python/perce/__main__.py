"""``python -m perce``: the ``perce`` command, for launchers that start a module on every rank."""

import sys

from perce.cli import main

sys.exit(main())
