"""Random bits to numbers, without state: a draw is a pure function of (seed, key, view).

Only the raw stream of a counter-based generator is taken from NumPy (Philox4x64-10, Salmon et al. 2011,
"Parallel random numbers: as easy as 1, 2, 3"), because NumPy promises that stream and not its distributions.
No global generator is read or moved.
"""

import hashlib

import numpy as np

# Views that are only ever drawn to fit a teacher are numbered from here, so they never coincide with cached
# views.
FIT_VIEWS = 2**32


def words(seed: int, key: str, view: int, count: int) -> np.ndarray:
    """`count` random 64-bit words for one (seed, key, view).

    Args:
        seed: in [0, 2^63).
        key: the sample's key; its BLAKE2b digest selects the stream.
        view: the view's number, in [0, 2^63).

    Returns:
        uint64 [count]; word i is the same whatever `count` is.
    """
    name = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")
    stream = np.random.Philox(
        key=np.array([seed, name], np.uint64), counter=np.array([0, view, 0, 0], np.uint64)
    )
    return stream.random_raw(count)


def uniforms(seed: int, key: str, view: int, count: int) -> np.ndarray:
    """Like `words`, as float64 in [0, 1): the upper 53 bits of each word, exactly."""
    return (words(seed, key, view, count) >> np.uint64(11)) * 2.0**-53


def permutation(seed: int, name: str, number: int, count: int) -> np.ndarray:
    """A permutation of range(count), int64 [count], from (seed, name, number): the order of random words."""
    return np.argsort(words(seed, name, number, count), kind="stable")


def normals(uniform: np.ndarray) -> np.ndarray:
    """Normal numbers from uniform ones, a pair from each pair (Box and Muller 1958).

    Args:
        uniform: float64 [N] in [0, 1), N even.

    Returns:
        float64 [N], mean 0 and standard deviation 1.
    """
    first, second = uniform.reshape(-1, 2).T
    radius, angle = np.sqrt(-2 * np.log(1 - first)), 2 * np.pi * second
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
