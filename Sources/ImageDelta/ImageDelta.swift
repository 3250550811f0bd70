// ImageDelta
