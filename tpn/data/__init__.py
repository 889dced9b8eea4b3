"""From list files to batches: annotations, sampling, decoding, transforms, data set, loader."""
