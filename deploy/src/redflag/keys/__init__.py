"""The secrets of one installation: made on the first start, read on every other, never made twice."""
