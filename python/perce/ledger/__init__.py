"""The score ledger: which tokens became personal, for whom, when. Free of torch."""

from perce.ledger.distribution import Distribution
from perce.ledger.history import History, Visits
from perce.ledger.ledger import ScoreLedger

__all__ = ["Distribution", "History", "ScoreLedger", "Visits"]
