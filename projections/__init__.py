"""What is derived from events, and the questions that can be asked of it. Pure folds; knows no database."""
