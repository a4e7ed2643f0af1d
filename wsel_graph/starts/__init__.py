"""What a student does with its start: values fitted on calibration data, comparisons, and a look at the result."""
