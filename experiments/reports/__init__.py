"""Pages, each one file, with the CSV and PNG behind them; a figure is a function of a table that is computed elsewhere.

`report.write_report` makes ``report.html``: do the runs of a directory do what theory and simulation say? Its tables
come from `experiments.agreement` and `run_tables`, its figures from `run_figures` and `leave_one_out_figures`.
`attribution_report.write_attribution` makes ``attribution.html``: what makes the bend of a table? Its tables come from
`experiments.attribution.tables`, its figures from `attribution_figures`. `page.write_page` writes either, page last.
"""
