"""What we ask and what we conclude: runs, records, comparisons, reports and the command line."""
