"""The format of a cache of teacher outputs, and nothing else: numpy, zarr and h5py, never torch."""
