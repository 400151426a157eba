"""What a learner has of their own: copies of the notebooks, predictions, and how far they are."""
