"""One adapter a user: trained in turn over one frozen base model, from each user's own records."""

from perce.fleet.result import Figures, FleetReport, UserResult
from perce.fleet.run import train_fleet
from perce.fleet.script import FleetArguments, run_script
from perce.fleet.slot import AdapterSlot
from perce.fleet.table import print_report

__all__ = [
    "AdapterSlot",
    "Figures",
    "FleetArguments",
    "FleetReport",
    "UserResult",
    "print_report",
    "run_script",
    "train_fleet",
]
