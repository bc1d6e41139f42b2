"""From records to estimates: accuracies, intervals, paired differences."""
