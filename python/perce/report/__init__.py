"""Reports that only read: score tables and prepared data in, a page or terminal text out."""

from perce.report.files import check_writable, replacing
from perce.report.heatmap import Section, write_html
from perce.report.terminal import print_scores
from perce.report.view import (
    PERSONAL_THRESHOLD,
    RecordView,
    ScoreSummary,
    ShownItem,
    record_views,
    summarise,
)

__all__ = [
    "PERSONAL_THRESHOLD",
    "RecordView",
    "ScoreSummary",
    "Section",
    "ShownItem",
    "check_writable",
    "print_scores",
    "record_views",
    "replacing",
    "summarise",
    "write_html",
]
