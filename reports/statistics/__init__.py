"""From cells to estimates: accuracies, intervals, paired differences."""
