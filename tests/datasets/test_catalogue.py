"""The bundled data equal the published data, and their descriptions are true."""

import csv
from pathlib import Path

import numpy as np
import pytest

from bayes_gmm import datasets
from bayes_gmm.errors import ArgumentError

DATA = Path(datasets.__file__).parent

# name: (shape, mean of every column, sd of every column)
PUBLISHED = {
    "faithful": ((272, 2), (3.487783, 70.897059), (1.141371, 13.594974)),
    "iris": ((150, 4), (5.843333, 3.057333, 3.758, 1.199333), (0.8281, 0.4359, 1.7653, 0.7622)),
    "galaxies": ((82, 1), (20.831463,), (4.568135,)),
    "penguins": ((342, 4), (43.92193, 17.15117, 200.915205, 4201.754386), (5.459584, 1.974793, 14.061714, 801.954536)),
}


@pytest.mark.parametrize("name", datasets.names())
def test_shape_and_moments_are_the_published_ones(name):
    shape, means, deviations = PUBLISHED[name]
    values = datasets.load(name).values
    assert values.shape == shape
    np.testing.assert_allclose(values.mean(axis=0), means, atol=5e-7)
    np.testing.assert_allclose(values.std(axis=0, ddof=1), deviations, atol=5e-5)


@pytest.mark.parametrize("name", datasets.names())
def test_values_are_those_of_the_file(name):
    table = datasets.load(name)
    with (DATA / f"{name}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    measured = [[row[column] for column in table.columns] for row in rows]
    expected = [[float(cell) for cell in row] for row in measured if "NA" not in row]
    np.testing.assert_array_equal(table.values, expected)


@pytest.mark.parametrize("name", datasets.names())
def test_every_table_says_what_it_is(name):
    table = datasets.load(name)
    assert table.name == name
    assert table.units is not None
    assert "doi:10." in table.source
    assert table.caveats.endswith(".")


def test_galaxies_are_those_of_the_reference_and_not_of_mass():
    velocities = datasets.load("galaxies").values[:, 0]
    assert velocities[77] == 26.960
    assert (np.diff(velocities) > 0).all()
    assert velocities[73] == 24.366
    mean_of_mass = 20.82817  # what R prints, with 26.690 for 26.960
    np.testing.assert_allclose(velocities.mean() - mean_of_mass, 0.270 / 82, atol=5e-6)


def test_iris_is_fishers_copy_with_its_species():
    table = datasets.load("iris")
    np.testing.assert_array_equal(table.values[[34, 37]], [[4.9, 3.1, 1.5, 0.2], [4.9, 3.6, 1.4, 0.1]])
    np.testing.assert_array_equal(table.values[101], table.values[142])
    assert len(np.unique(table.values, axis=0)) == 149
    assert table.labels == ("setosa",) * 50 + ("versicolor",) * 50 + ("virginica",) * 50


def test_iris_agrees_with_scikit_learn():
    reference = pytest.importorskip("sklearn.datasets").load_iris()
    table = datasets.load("iris")
    np.testing.assert_array_equal(table.values, reference.data)
    assert table.labels == tuple(reference.target_names[reference.target])


def test_ties_of_faithful_are_as_its_caveats_say():
    eruptions, waiting = datasets.load("faithful").values.T
    values, counts = np.unique(waiting, return_counts=True)
    assert (values[counts.argmax()], counts.max(), len(values)) == (78, 15, 51)
    assert len(np.unique(eruptions)) == 126
    assert 272 - len(np.unique(np.stack([eruptions, waiting]), axis=1).T) == 16
    np.testing.assert_allclose(60 * eruptions, np.round(60 * eruptions), atol=0.041)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("faithfull", "Did you mean 'faithful'?"),
        ("Iris", "Did you mean 'iris'?"),
        ("galaxy", "Did you mean 'galaxies'?"),
        ("mine.csv", "read_table"),
    ],
)
def test_unknown_names_are_answered_with_the_known_ones(name, remedy):
    with pytest.raises(ArgumentError) as caught:
        datasets.load(name)
    assert repr(name) in caught.value.found
    assert all(known in caught.value.expected for known in datasets.names())
    assert remedy in caught.value.remedy


def test_two_penguins_were_not_measured_and_the_table_says_so():
    table = datasets.load("penguins")
    assert table.labels_from == "species"
    assert [table.labels.count(name) for name in ("Adelie", "Chinstrap", "Gentoo")] == [151, 68, 123]
    columns, rows = table.left_out
    assert columns == "left out: island (text), sex (text), year (years)"
    assert rows.startswith("left out: 2 of 344 rows with missing cells (bill_length_mm 2, ")
    assert rows.endswith("rows 3, 271 counted from 0")
