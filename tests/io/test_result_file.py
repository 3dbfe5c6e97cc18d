"""Saved results are equal bit for bit when read; incomplete, unknown and unwritable ones are refused in words."""

import ast
import errno
import os
import signal
import stat
import subprocess
import sys
import textwrap
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from io import BytesIO
from pathlib import Path
from typing import Any

import arviz as az
import jax
import numpy as np
import numpyro.distributions as dist
import pytest
import xarray as xr
from numpyro.distributions import transforms

import bayes_gmm as bg
from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.io.checkpoint import Checkpoint
from bayes_gmm.io.checksummed_file import VERSION, last_line, read_checksummed, write_checksummed
from bayes_gmm.io.distribution_serialisation import from_call, to_call
from bayes_gmm.mixture.covariance_structures import STRUCTURES
from bayes_gmm.objective.problem import Problem
from bayes_gmm.posterior.starting_fit import starting_fit

pytestmark = pytest.mark.numpyro


def check_same(found: Any, expected: Any, where: str = "result") -> None:
    """Both values have equal classes at every level, and arrays and numbers with equal bits."""
    if isinstance(expected, xr.DataTree):
        xr.testing.assert_identical(found, expected)
    elif isinstance(expected, dist.Distribution):
        assert jax.tree.structure(found) == jax.tree.structure(expected), where
        check_same(jax.tree.leaves(found), jax.tree.leaves(expected), where)
    elif isinstance(expected, np.ndarray | np.generic | jax.Array | float):
        one, other = np.asarray(found), np.asarray(expected)
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes()), where
    elif is_dataclass(expected):
        assert type(found) is type(expected), where
        for field in fields(expected):
            check_same(getattr(found, field.name), getattr(expected, field.name), f"{where}.{field.name}")
    elif isinstance(expected, tuple | list):
        assert type(found) is type(expected), where
        assert len(found) == len(expected), where
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            check_same(one, other, f"{where}[{number}]")
    elif isinstance(expected, dict):
        check_same(list(found.items()), list(expected.items()), where)
    else:
        assert isinstance(expected, Enum | bool | int | str | None), where
        assert (type(found), found) == (type(expected), expected), where


def through_a_file(result: Any, folder: Path) -> Any:
    result.save(folder / "result.nc")
    return bg.load(folder / "result.nc")


@pytest.fixture(scope="module")
def saved_mle(faithful_mle: bg.EMFit, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("saved") / "mle.nc"
    faithful_mle.save(path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def loaded_mle(saved_mle: bytes, tmp_path_factory: pytest.TempPathFactory) -> bg.EMFit:
    path = tmp_path_factory.mktemp("loaded") / "mle.nc"
    path.write_bytes(saved_mle)
    return bg.load(path)


@pytest.fixture(scope="module")
def posterior_path(faithful_posterior: bg.Posterior, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "posterior.nc"
    faithful_posterior.save(path)
    return path


@pytest.fixture(scope="module")
def loaded_posterior(posterior_path: Path) -> bg.Posterior:
    return bg.load(posterior_path)


def test_the_comparison_notices_one_bit_and_one_type(faithful_mle: bg.EMFit) -> None:
    path = faithful_mle.path.copy()
    path[3] = np.nextafter(path[3], 0)
    for change in ({"path": path}, {"n_steps": 7}, {"kernel_error": -0.0}):
        with pytest.raises(AssertionError, match=next(iter(change))):
            check_same(replace(faithful_mle, **change), faithful_mle)


# Maximum likelihood


LABELS = np.where(np.arange(272) % 3, -1, 0)
PROBLEMS = {
    **{code: {"covariance_type": code} for code in STRUCTURES},
    "weights": {"sample_weight": np.linspace(0.5, 2.0, 272)},
    "labels": {"labels": LABELS},
    "fixed": {"fixed": {"weights": "equal", "means": {1: [4.0, 80.0]}}},
    "prior": {"prior": bg.ConjugatePrior(mean=[3, 70], scale=np.float64(0.1), degrees_of_freedom=7.0)},
    "hard": {"assignment": "hard"},
}


@pytest.mark.parametrize("options", PROBLEMS.values(), ids=PROBLEMS)
def test_whatever_was_asked_for_comes_back(
    options: dict[str, Any], faithful: bg.Table, faithful_mle: bg.EMFit, tmp_path: Path
) -> None:
    mle = replace(faithful_mle, problem=Problem.of(faithful, 2, **options))
    loaded = through_a_file(mle, tmp_path)
    check_same(loaded, mle)
    assert repr(loaded) == repr(mle)
    assert (loaded.aic(), loaded.bic(), loaded.icl()) == (mle.aic(), mle.bic(), mle.icl())
    assert loaded.problem.names_components == mle.problem.names_components


def test_a_fit_of_everything_at_once_comes_back(faithful: bg.Table, tmp_path: Path) -> None:
    options = {"covariance_type": "tied", "labels": LABELS, "fixed": {"means": {1: [4.0, 80.0]}}}
    mle = bg.fit_em(faithful, 2, n_starts=2, prior=bg.ConjugatePrior(), sample_weight=np.ones(272), **options)
    check_same(through_a_file(mle, tmp_path), mle)


def test_what_is_known_of_the_table_comes_back(faithful: bg.Table, faithful_mle: bg.EMFit, tmp_path: Path) -> None:
    table = bg.Table(
        faithful.values,
        ("Länge ~ 'mit' \"Namen\"", "x/y.z"),
        name="Messung",
        units=("µm", ""),
        source="a\nb\0c",
        caveats="keine",
        labels=tuple(np.random.default_rng(0).choice(["a", "b", ""], 272).tolist()),
    )
    mle = replace(faithful_mle, problem=Problem.of(table, 2))
    check_same(through_a_file(mle, tmp_path), mle)


def test_what_is_not_finite_comes_back(faithful_mle: bg.EMFit, tmp_path: Path) -> None:
    special = np.array([np.nan, -np.nan, -0.0, np.inf, -np.inf, 5e-324, np.nextafter(1, 2)])
    odd = replace(
        faithful_mle,
        status=bg.EMStatus.NONFINITE,
        log_likelihood=-np.inf,
        kernel_error=float("nan"),
        path=special,
        start_log_likelihoods=np.zeros(0),
        mixture=replace(faithful_mle.mixture, log_weights=np.array([-np.inf, 0.0])),
    )
    loaded = through_a_file(odd, tmp_path)
    np.testing.assert_array_equal(loaded.path.view(np.uint64)[2:], special.view(np.uint64)[2:])
    assert np.isnan(loaded.path[:2]).all()
    check_same(replace(loaded, path=special), odd)


def test_a_loaded_fit_does_all_that_it_did(faithful: bg.Table, faithful_mle: bg.EMFit, loaded_mle: bg.EMFit) -> None:
    check_same(loaded_mle, faithful_mle)
    assert not loaded_mle.table.values.flags.writeable
    assert loaded_mle.record() == faithful_mle.record()
    check_same(loaded_mle.errors("sandwich"), faithful_mle.errors("sandwich"))
    resampled = (bg.bootstrap(mle, n_replicates=4, progress=False) for mle in (loaded_mle, faithful_mle))
    check_same(*(each.standard_errors for each in resampled))
    problem = PosteriorProblem.of(faithful, 2, covariance_type="full", prior=None)
    assert starting_fit(problem, loaded_mle, seed=0, progress=False) is loaded_mle


# The posterior


def test_a_posterior_comes_back(faithful_posterior: bg.Posterior, loaded_posterior: bg.Posterior) -> None:
    check_same(loaded_posterior, faithful_posterior)
    assert repr(loaded_posterior) == repr(faithful_posterior)
    assert loaded_posterior._repr_html_() == faithful_posterior._repr_html_()
    assert str(loaded_posterior.verdict) == str(faithful_posterior.verdict)
    assert repr(loaded_posterior.prior) == repr(faithful_posterior.prior)
    for group in loaded_posterior.tree.groups[1:]:
        for variable in loaded_posterior.tree[group].data_vars.values():
            assert isinstance(variable.data, np.ndarray)


ANSWERS = {
    "responsibilities": lambda posterior: posterior.responsibilities(),
    "responsibilities_sd": lambda posterior: posterior.responsibilities_sd([[3.0, 70.0]]),
    "co_clustering": lambda posterior: posterior.co_clustering(posterior.table.values[:9]),
    "predict": lambda posterior: posterior.predict(),
    "log_prob": lambda posterior: posterior.log_prob([[3.0, 70.0]]),
    "density": lambda posterior: posterior.density([[3.0, 70.0]]),
    "sample": lambda posterior: posterior.sample(2, seed=1),
    "map": lambda posterior: posterior.map(lambda mixture: mixture.means[1] - mixture.means[0]),
    "draws_as_sampled": lambda posterior: posterior.draws_as_sampled,
    "with_prior": lambda posterior: posterior.with_prior(20)["prior_predictive"].to_dataset().x.values,
    "shares of modes": lambda posterior: posterior.modes.share,
    "loo": lambda posterior: az.loo(posterior.tree).elpd,
    "compare": lambda posterior: str(bg.compare(posterior.mle, posterior)),
    "figure": lambda posterior: bg.plot_ellipses(posterior, mle=posterior.mle).get_xlim(),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_loaded_posterior_answers_the_same(
    answer: Any, faithful_posterior: bg.Posterior, loaded_posterior: bg.Posterior
) -> None:
    check_same(answer(loaded_posterior), answer(faithful_posterior))


@pytest.mark.slow
def test_a_report_can_be_written_of_what_was_loaded(
    loaded_mle: bg.EMFit, loaded_posterior: bg.Posterior, tmp_path: Path
) -> None:
    bg.report(loaded_mle, loaded_posterior, tmp_path / "report.html")
    assert "num_warmup=200" in (tmp_path / "report.html").read_text()


def test_what_was_loaded_can_be_saved_again(
    loaded_posterior: bg.Posterior, faithful_posterior: bg.Posterior, tmp_path: Path
) -> None:
    check_same(through_a_file(loaded_posterior, tmp_path), faithful_posterior)


def test_plain_arviz_and_xarray_read_the_file(faithful_posterior: bg.Posterior, posterior_path: Path) -> None:
    for tree in (az.from_netcdf(posterior_path), xr.open_datatree(posterior_path)):
        with tree:
            xr.testing.assert_identical(
                tree["posterior"].to_dataset(), faithful_posterior.tree["posterior"].to_dataset()
            )
            assert tree.attrs["kind"] == "Posterior"
            assert tree.attrs["bayes_gmm_version"]
            assert az.summary(tree)["r_hat"].astype(float).max() < 1.01
            np.testing.assert_array_equal(tree["bayes_gmm"]["mle.mixture.means"], faithful_posterior.mle.mixture.means)


def test_a_laplace_fit_from_a_loaded_fit_comes_back(faithful: bg.Table, loaded_mle: bg.EMFit, tmp_path: Path) -> None:
    fit = bg.fit_laplace(faithful, 2, start=loaded_mle)
    loaded = through_a_file(fit, tmp_path)
    check_same(loaded, fit)
    assert repr(loaded) == repr(fit)
    xr.testing.assert_identical(loaded.tree, fit.tree)


IN_ANOTHER_PROCESS = """
import sys, bayes_gmm as bg
posterior = bg.load(sys.argv[1])
print(posterior.mle.bic().hex(), posterior.draws.means.sum().hex())
print(posterior.verdict.status.name, posterior.prior)
"""


@pytest.mark.slow
def test_another_process_finds_the_same_numbers(posterior_path: Path, faithful_posterior: bg.Posterior) -> None:
    command = [sys.executable, "-W", "error", "-c", IN_ANOTHER_PROCESS, str(posterior_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    numbers = f"{faithful_posterior.mle.bic().hex()} {faithful_posterior.draws.means.sum().hex()}"
    assert found == f"{numbers}\nGOOD {faithful_posterior.prior}\n"


# Priors


def with_means(posterior: bg.Posterior, means: Any) -> bg.Posterior:
    return replace(posterior, problem=replace(posterior.problem, prior=replace(posterior.prior, means=means)))


def kind(value: Any) -> str:
    return type(value).__name__


COVARIANCE = np.array([[1.0, 0.3], [0.3, 2.0]])
DISTRIBUTIONS = [
    dist.Normal(0.1, 2.1),
    dist.Normal(np.array([0.1, 0.2]), np.float32(0.3)),
    dist.Normal(jax.numpy.ones((2, 1)), np.ones(2)).to_event(1),
    dist.HalfNormal(0.1).expand((2, 2)).to_event(1),
    dist.StudentT(3.0, 0.1, 0.2),
    dist.Cauchy(0.1, 0.2),
    dist.Laplace(0.1, 0.2),
    dist.Uniform(-1.0, np.pi),
    dist.MultivariateNormal(np.zeros(2), COVARIANCE),
    dist.MultivariateNormal(np.zeros(2), precision_matrix=COVARIANCE),
    dist.MultivariateStudentT(3.0, np.zeros(2), np.linalg.cholesky(COVARIANCE)),
    dist.TruncatedNormal(0.1, 1.3, low=0.2),
    dist.TruncatedNormal(0.1, 1.3, low=0.2, high=0.9),
    dist.HalfCauchy(0.3),
    dist.LogNormal(-1.0, 0.3),
    dist.Gamma(2.1, 0.3),
    dist.InverseGamma(2.1 * np.ones((2, 2)), 0.3),
    dist.Exponential(0.3),
    dist.Weibull(1.1, 2.1),
    dist.Beta(0.3, 5.0),
    dist.Dirichlet(np.array([0.7, 0.1])),
    dist.LKJCholesky(3, 2.1),
    dist.LKJCholesky(2, 2.1, sample_method="cvine"),
    dist.TransformedDistribution(dist.Normal(0.1, 0.3), transforms.ExpTransform()),
    dist.TransformedDistribution(
        dist.HalfNormal(0.3), [transforms.AffineTransform(0.1, 0.3), transforms.PowerTransform(2.0)]
    ),
    dist.Normal(0.1, 0.2, validate_args=True),
]


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=kind)
def test_distributions_come_back(distribution: Any) -> None:
    check_same(from_call(to_call(distribution)), distribution)


def test_a_prior_of_many_kinds_comes_back_through_the_file(faithful_posterior: bg.Posterior, tmp_path: Path) -> None:
    prior = bg.Prior(
        weights=dist.Beta(5.0, 5.1),
        means=dist.MultivariateNormal(np.array([3.0, 70.0]), COVARIANCE),
        scales=dist.TransformedDistribution(
            dist.StudentT(3.0, 0.1, 0.3),
            [transforms.AffineTransform(0.0, np.array([1.0, 2.0])), transforms.ExpTransform()],
        ),
        correlations=0.1,
    )
    changed = replace(faithful_posterior, problem=replace(faithful_posterior.problem, prior=prior))
    loaded = through_a_file(changed, tmp_path)
    check_same(loaded.problem, changed.problem)
    check_same(loaded.problem.sites, changed.problem.sites)


def test_a_distribution_made_in_float64_comes_back_in_float64() -> None:
    with jax.enable_x64(True):
        wide = dist.LKJCholesky(2, 2.1)
    assert to_call(wide)["float64"]
    assert not to_call(dist.LKJCholesky(2, 2.1))["float64"]
    check_same(from_call(to_call(wide)), wide)


def test_parameters_held_by_the_prior_come_back(faithful_posterior: bg.Posterior, tmp_path: Path) -> None:
    held = with_means(faithful_posterior, [[2.0, 54], [4, 80.0]])
    check_same(through_a_file(held, tmp_path).prior, held.prior)


class OwnNormal(dist.Normal):
    """A distribution that is not part of NumPyro."""


REFUSED = [
    OwnNormal(0.0, 1.0),
    dist.BetaProportion(0.3, 2.0),
    dist.ImproperUniform(dist.constraints.interval(0.0, 1.0), (), ()),
    dist.MixtureSameFamily(dist.Categorical(np.array([0.3, 0.7])), dist.Normal(np.zeros(2), np.ones(2))),
    OwnNormal(0.0, 1.0).expand([2]),
    dist.Normal(0.0, 1.0).mask(False),
    np.array(["text"]),
    {1, 2},
]


@pytest.mark.parametrize("means", REFUSED, ids=kind)
def test_what_cannot_be_written_is_refused_and_nothing_is_written(
    means: Any, faithful_posterior: bg.Posterior, tmp_path: Path
) -> None:
    path = tmp_path / "result.nc"
    path.write_bytes(b"old")
    with pytest.raises(bg.ArgumentError, match=r"^problem\.prior\.means.* be written") as refusal:
        with_means(faithful_posterior, means).save(path)
    check_words(refusal.value)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["result.nc"]


# Incomplete files, and files of another kind


def check_words(error: bg.BayesGMMError) -> None:
    assert all(len(words) > 5 for words in (error.found, error.expected, error.remedy))
    assert error.found.endswith(".")
    assert error.remedy.endswith(".")


def check_refused(path: Path, words: str) -> None:
    content = path.read_bytes() if path.is_file() else None
    with pytest.raises(bg.ArgumentError, match=words) as refusal:
        bg.load(path)
    check_words(refusal.value)
    assert str(path) in str(refusal.value)
    assert content is None or path.read_bytes() == content


def test_a_flipped_bit_anywhere_is_noticed(saved_mle: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mle.nc"
    body = len(saved_mle) - len(last_line(b""))
    for position in [*range(0, body, 61), *range(body, len(saved_mle))]:
        for bit in (0, position % 7 + 1):
            damaged = bytearray(saved_mle)
            damaged[position] ^= 1 << bit
            path.write_bytes(damaged)
            with pytest.raises(bg.ArgumentError, match=r"is damaged|without a seal"):
                bg.load(path)
    check_refused(path, "without a seal")
    path.write_bytes(saved_mle)  # negative control
    bg.load(path)


@pytest.mark.parametrize("share", [1e-4, 0.01, 0.3, 0.9, 0.999])
def test_a_file_cut_short_is_refused(share: float, saved_mle: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mle.nc"
    path.write_bytes(saved_mle[: int(share * len(saved_mle))])
    check_refused(path, "is no netCDF file" if share < 1e-3 else "without a seal: it was cut short")


@pytest.mark.parametrize("missing", [1, 2, 64, 65, 80, 92, 93, 94, 500])
def test_a_file_that_lacks_its_last_bytes_is_refused(missing: int, saved_mle: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mle.nc"
    path.write_bytes(saved_mle[:-missing])
    check_refused(path, "without a seal")


def test_bytes_lost_repeated_or_added_are_noticed(saved_mle: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mle.nc"
    for changed in (saved_mle[:5000] + saved_mle[5001:], saved_mle[:5000] + saved_mle[4999:], b"x" + saved_mle):
        path.write_bytes(changed)
        check_refused(path, "is damaged")
    path.write_bytes(saved_mle + b"\n")
    check_refused(path, "without a seal")


def test_a_file_changed_by_another_program_is_refused(saved_mle: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mle.nc"
    path.write_bytes(saved_mle)
    xr.Dataset({"mine": 1.0}).to_netcdf(path, mode="a", group="notes", engine="h5netcdf")
    check_refused(path, "changed by another program|is damaged")


def test_a_newer_version_is_refused(saved_mle: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mle.nc"
    content = saved_mle[: -len(last_line(b""))]
    path.write_bytes(content + last_line(content, VERSION + 1))
    check_refused(path, rf"newer bayes_gmm, in version {VERSION + 1}.*Expected version {VERSION} or older\. Update")
    path.write_bytes(content + last_line(content, VERSION))  # negative control
    bg.load(path)


def with_another_content(saved: bytes, path: Path, change: Any) -> None:
    """Write a file that was changed by somebody who knows how to compute the checksum."""
    tree = xr.load_datatree(BytesIO(saved), engine="h5netcdf")
    change(tree)
    write_checksummed(path, tree.to_netcdf(engine="h5netcdf"))


def shift_the_data(tree: xr.DataTree) -> None:
    tree["bayes_gmm"]["problem.table.values"].values[0, 0] += 1e-9


def lose_an_array(tree: xr.DataTree) -> None:
    tree["bayes_gmm"] = tree["bayes_gmm"].to_dataset().drop_vars("mixture.means")


def name_another_kind(tree: xr.DataTree) -> None:
    tree.attrs["kind"] = "Forest"


def name_a_part(tree: xr.DataTree) -> None:
    tree.attrs["kind"] = "EMStatus"


def lose_the_group(tree: xr.DataTree) -> None:
    del tree["bayes_gmm"]


def describe(words: str) -> Any:
    def change(tree: xr.DataTree) -> None:
        own = tree["bayes_gmm"].to_dataset()
        tree["bayes_gmm"] = own.assign(description=((), words.replace("THE DATA", own["description"].item()[1:-1])))

    return change


CHANGES = {
    "nothing": (lambda tree: None, None),
    "data": (shift_the_data, "have the checksum .* Expected .* data which were fitted"),
    "array": (lose_an_array, "cannot be understood .*mixture.means"),
    "kind": (name_another_kind, "cannot be understood .*Forest"),
    "part": (name_a_part, "cannot be understood"),
    "group": (lose_the_group, "cannot be understood .*bayes_gmm"),
    "no json": (describe("{"), "cannot be understood .*JSON"),
    "a list": (describe("[]"), "cannot be understood"),
    "more": (describe('{THE DATA, "more": 1}'), "cannot be understood .*more"),
    "a function": (describe('{"mixture": {"eval": "1"}}'), "cannot be understood .*eval"),
    "a module": (describe('{"mixture": {"constraints": {}}}'), "cannot be understood .*constraints"),
}


@pytest.mark.parametrize(("change", "words"), CHANGES.values(), ids=CHANGES)
def test_another_content_with_a_right_checksum_is_refused(
    change: Any, words: str | None, saved_mle: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "mle.nc"
    with_another_content(saved_mle, path, change)
    if words is None:  # negative control
        bg.load(path)
    else:
        check_refused(path, words)


@pytest.mark.parametrize("name", ["constraints", "kl_divergence", "TruncatedNormal", "Distribution.__init__", "eval"])
def test_nothing_but_distributions_is_called(name: str) -> None:
    with pytest.raises(bg.ArgumentError, match=f"no distribution or transform {name}"):
        from_call({"float64": False, "call": {"name": name, "arguments": {}}})


STRANGERS = {
    "empty": (b"", "is empty"),
    "csv": (b"a,b\n1,2\n" * 100, "is no netCDF file"),
    "text": (b"bayes_gmm result 1 sha256 00", "is no netCDF file"),
    "zeros": (bytes(1000), "is no netCDF file"),
    "pickle": (b"\x80\x04\x95\x0b", "is no netCDF file"),
    "text with a checksum": (b"a,b\n" + last_line(b"a,b\n"), "cannot be understood"),
    "beginning of HDF5 with a checksum": (
        b"\x89HDF\r\n\x1a\n" + last_line(b"\x89HDF\r\n\x1a\n"),
        "cannot be understood",
    ),
}


@pytest.mark.parametrize(("content", "words"), STRANGERS.values(), ids=STRANGERS)
def test_another_kind_of_file_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "stranger"
    path.write_bytes(content)
    check_refused(path, words)


def test_other_netcdf_files_and_checkpoints_are_refused(faithful_posterior: bg.Posterior, tmp_path: Path) -> None:
    faithful_posterior.tree.to_netcdf(tmp_path / "tree.nc", engine="h5netcdf")
    check_refused(tmp_path / "tree.nc", "netCDF file without a seal.*xarray.open_datatree")
    with Checkpoint.open(tmp_path / "run", {"seed": 1}):
        pass
    check_refused(tmp_path / "run", r"is a checkpoint of a run that fit_nuts\(\.\.\., checkpoint=\) goes on with")


def test_a_missing_path_and_a_folder_are_refused(tmp_path: Path) -> None:
    check_refused(tmp_path / "missing.nc", r"cannot be read \(No such file or directory\)")
    check_refused(tmp_path, "cannot be read")


# Writing


def test_a_path_that_cannot_be_written_is_refused(faithful_mle: bg.EMFit, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "missing" / "mle.nc", tmp_path, tmp_path / "file" / "mle.nc"):
        with pytest.raises(bg.OutputError, match="cannot be written") as refusal:
            faithful_mle.save(path)
        check_words(refusal.value)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_when_writing_fails_the_old_file_stays(
    step: str, faithful_mle: bg.EMFit, saved_mle: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mle.nc"
    path.write_bytes(saved_mle)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(bg.OutputError, match="No space left on device"):
            replace(faithful_mle, n_steps=1).save(path)
    assert path.read_bytes() == saved_mle
    assert os.listdir(tmp_path) == ["mle.nc"]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="killed the Unix way")
def test_after_saves_that_failed_the_garbage_collector_finds_nothing_that_ends_the_process(
    saved_mle: bytes, tmp_path: Path
) -> None:
    """CPython crashes when it collects a view of a BytesIO's memory in a reference cycle with its owner."""
    (tmp_path / "mle.nc").write_bytes(saved_mle)
    code = """
        import gc, os, sys
        import bayes_gmm as bg
        mle = bg.load(sys.argv[1])
        def full(*_):
            raise OSError(28, "No space left on device")
        def fail(path):
            try:
                mle.save(path)
            except bg.OutputError as error:
                error.itself = error  # a cycle, which keeps the traceback and all its frames
                return
            raise AssertionError("it was saved")
        fail("no/such/folder/mle.nc")
        for name in ("replace", "fsync"):
            usual = getattr(os, name)
            setattr(os, name, full)
            fail(sys.argv[1])
            setattr(os, name, usual)
        gc.collect()
        print("alive")
        """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "mle.nc")]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout) == (0, "alive\n"), process.stderr


def test_a_process_killed_while_it_writes_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "result"
    write_checksummed(path, b"old")
    code = """
import os, signal, sys
from bayes_gmm.io.checksummed_file import write_checksummed
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
write_checksummed(sys.argv[1], b"new" * 100_000)
"""
    process = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert process.returncode == -signal.SIGKILL
    assert read_checksummed(path) == b"old"
    write_checksummed(path, b"new")
    assert read_checksummed(path) == b"new"


@pytest.mark.skipif(os.name != "posix", reason="permissions and links the Unix way")
def test_the_new_file_has_the_usual_permissions_and_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "usual").write_text("")
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "result")
    write_checksummed(tmp_path / "link", b"content")
    assert (tmp_path / "link").is_symlink()
    assert read_checksummed(tmp_path / "there" / "result") == b"content"
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "usual", tmp_path / "there" / "result")}
    assert len(modes) == 1


def test_column_names_that_netcdf_cannot_hold_are_refused(faithful_posterior: bg.Posterior, tmp_path: Path) -> None:
    named = faithful_posterior.tree["observed_data"].to_dataset().assign_coords(feature=["a\0b", "c"])
    odd = replace(faithful_posterior, tree=xr.DataTree.from_dict({"observed_data": named}))
    with pytest.raises(bg.OutputError, match=r"cannot be written.*Rename the columns"):
        odd.save(tmp_path / "odd.nc")
    assert os.listdir(tmp_path) == []


def test_no_module_of_the_package_pickles() -> None:
    paths = list(Path(bg.__file__).parent.rglob("*.py"))
    assert len(paths) > 120
    for path in paths:
        tree = ast.parse(path.read_text())
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not names & {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}, path.name
        assert "allow_pickle=True" not in path.read_text(), path.name
