"""The cross table of known labels and components, and the adjusted Rand index, which is scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, confusion_matrix

import bayes_gmm as bg
from bayes_gmm.clustering.label_agreement import agreement

RNG = np.random.default_rng(12)


@pytest.mark.parametrize("n_classes", [1, 2, 5, 30])
@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0])
def test_index_and_counts_are_those_of_scikit_learn(n_classes, noise):
    truth = RNG.integers(n_classes, size=200)
    components = np.where(RNG.random(200) < noise, RNG.integers(4, size=200), truth % 4)
    labels = [f"class {k:02d}" for k in truth]
    found = agreement(labels, components, 4, "kind")
    assert found.adjusted_rand_index == pytest.approx(adjusted_rand_score(truth, components), abs=1e-12)
    numbers = [found.classes.index(label) for label in labels]
    counts = confusion_matrix(numbers, components, labels=range(max(n_classes, 4)))
    np.testing.assert_array_equal(found.counts, counts[: len(found.classes), :4])
    assert "kind" in found.sentence()
    assert len(found.lines()) <= 15


def test_another_component_of_one_point_is_noticed():
    truth = np.repeat([0, 1, 2], 20)
    moved = truth.copy()
    moved[0] = 1
    labels = [str(k) for k in truth]
    assert agreement(labels, truth, 3).adjusted_rand_index == 1.0
    assert agreement(labels, moved, 3).adjusted_rand_index < 0.99


def test_points_without_a_label_do_not_count():
    found = agreement(["a", "", "b", "b"], np.array([0, 1, 1, 1]), 2)
    assert (found.n_unknown, found.counts.tolist()) == (1, [[1, 0], [0, 2]])
    assert "1 point without one" in found.sentence()
    assert found.records()[0] == {"class": "a", "component 0": 1, "component 1": 0}


def test_points_of_no_component_do_not_count():
    found = agreement(["a", "", "b", "b", "a"], np.array([0, -1, 1, -1, -1]), 2)
    assert (found.n_unknown, found.n_unassigned, found.counts.tolist()) == (1, 2, [[1, 0], [0, 1]])
    assert found.sentence().endswith("1.000; 1 point without one; 2 points of no component not counted")


@pytest.mark.numpyro
def test_tables_without_labels_are_compared_with_none(faithful_mle, faithful_posterior):
    comparison = bg.compare(faithful_mle, faithful_posterior)
    assert comparison.label_agreement is None
    assert "Rand" not in str(comparison)
