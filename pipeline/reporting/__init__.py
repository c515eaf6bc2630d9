"""From what students left to the report: scores with intervals, tables, plots, the page."""
