"""`report.html`: all that is known of a run, on one page that needs nothing else."""
