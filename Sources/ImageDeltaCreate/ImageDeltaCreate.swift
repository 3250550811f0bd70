// ImageDeltaCreate
