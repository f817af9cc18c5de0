"""Root features: the square roots of a photo's shares."""

import numpy as np

from job.maths.root_features import root_features


def test_the_squares_of_root_features_are_shares() -> None:
    rows = np.array([[1.0, 3.0, 0.0], [2.0, 2.0, 4.0]], np.float32)
    roots = root_features(rows)
    np.testing.assert_allclose(roots**2, [[0.25, 0.75, 0.0], [0.25, 0.25, 0.5]], rtol=1e-6)
    assert roots.dtype == np.float32


def test_brightness_that_multiplies_all_features_changes_nothing() -> None:
    rows = np.random.default_rng(0).random((5, 8), np.float32)
    np.testing.assert_allclose(root_features(rows), root_features(rows * np.float32(0.25)), rtol=1e-6)


def test_a_row_of_zeros_stays_zeros() -> None:
    assert not root_features(np.zeros((1, 4), np.float32)).any()
