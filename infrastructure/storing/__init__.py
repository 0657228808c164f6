"""What the stores share: rows, folds, scans, checks; no driver."""
