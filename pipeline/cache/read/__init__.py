"""A published cache, read and checked: a folder or an address, Zarr or HDF5."""
