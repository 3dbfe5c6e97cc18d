"""Every door with what does not fit through it: one named error that says what was found, and nothing else ever."""

import csv
import datetime
import io
import warnings
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.sparse

import bayes_gmm as bg
from bayes_gmm import cli
from bayes_gmm.errors import ArgumentError, BayesGMMError, DataError, FitError, NotFittedError, OutputError
from bayes_gmm.estimators import BayesianGaussianMixture, GaussianMixture
from bayes_gmm.io.checksummed_file import last_line

pytestmark = [pytest.mark.wrong_types, pytest.mark.numpyro]

RNG = np.random.default_rng(20261125)
X = np.concatenate([RNG.normal(size=(15, 2)), RNG.normal(size=(15, 2)) + 6])
OTHER = RNG.normal(size=(30, 2))
ONES = np.ones(30)
LABELS = np.repeat([0, 1], 15)
SHARES = np.eye(2)[LABELS]
COVARIANCES = np.tile(np.eye(2), (2, 1, 1))
MIXTURE = bg.Mixture.from_moments([0.5, 0.5], [[0.0, 0.0], [6.0, 6.0]], COVARIANCES)
ONE_FEATURE = bg.Mixture.from_moments([0.5, 0.5], [[0.0], [6.0]], np.ones((2, 1, 1)))
THREE = bg.Mixture.from_moments(np.ones(3) / 3, np.zeros((3, 2)), np.tile(np.eye(2), (3, 1, 1)))


def changed(array, place, value):
    array = np.array(array)
    array[place] = value
    return array


NEVER_TOGETHER = changed(changed(X, np.s_[:15, 0], np.nan), np.s_[15:, 1], np.nan)
DEPENDENT = changed(X, np.s_[:, 1], 2 * X[:, 0] + 1)
DEPENDENT[::3, 1] = np.nan


class Shared:
    """Fits that many rows need, each made once, and files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def mle(self):
        return bg.fit_em(X, 2, n_starts=4)

    @cached_property
    def single(self):
        return bg.fit_em(X, 1)

    @cached_property
    def of_other_data(self):
        return bg.fit_em(OTHER, 1)

    @cached_property
    def of_other_columns(self):
        return bg.fit_em(bg.Table(X, ("a", "b")), 1)

    @cached_property
    def of_gaps(self):
        return bg.fit_em(changed(X, (4, 1), np.nan), 1)

    @cached_property
    def held(self):
        return bg.fit_em(X, 2, fixed={"weights": "equal"}, n_starts=4)

    @cached_property
    def hard(self):
        return bg.fit_em(X, 2, assignment="hard", n_starts=4)

    @cached_property
    def posterior(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return bg.fit_nuts(X, 2, start=self.mle, num_warmup=20, num_samples=20, num_chains=2, progress=False)

    @cached_property
    def laplace(self):
        return bg.fit_laplace(X, 2, start=self.mle, num_draws=20)

    @cached_property
    def bootstrap(self):
        return bg.bootstrap(self.mle, n_replicates=3)

    @cached_property
    def comparison(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return bg.compare(self.mle, self.posterior)

    @cached_property
    def saved(self):
        self.mle.save(self.folder / "mle.nc")
        return (self.folder / "mle.nc").read_bytes()

    def file(self, name, content):
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def table(self, name, rows):
        text = io.StringIO()
        csv.writer(text).writerows(rows)
        return self.file(name, text.getvalue())


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return Shared(tmp_path_factory.mktemp("bad"))


class Bad(NamedTuple):
    name: str
    call: Callable[[Shared], Any]
    found: str
    kind: type = ArgumentError


def em(*args, **options):
    return lambda _: bg.fit_em(*(args or (X, 2)), **options)


def gradient(**options):
    return lambda _: bg.fit_gradient(X, 2, **options)


def nuts(*args, **options):
    return lambda _: bg.fit_nuts(*(args or (X, 2)), **{"progress": False, **options})


def hmc(*args, **options):
    return lambda _: bg.fit_hmc(*(args or (X, 2)), **{"progress": False, **options})


def laplace(**options):
    return lambda _: bg.fit_laplace(X, 2, **options)


def with_prior(**parts):
    return lambda _: bg.prior_predictive(X, 2, prior=bg.Prior(**parts), num_draws=2)


def moments(weights=(0.5, 0.5), means=((0, 0), (6, 6)), covariances=COVARIANCES):
    return lambda _: bg.Mixture.from_moments(weights, means, covariances)


def estimator(*args, x=X, fit=None, **parameters):
    return lambda _: GaussianMixture(*args, **parameters).fit(x, **(fit or {}))


def bayesian(*args, **parameters):
    return lambda _: BayesianGaussianMixture(*args, **parameters).fit(X)


def fitted(call):
    return lambda _: call(GaussianMixture(2, random_state=0).fit(X))


DATA = [
    Bad("spurious", em(spurious="drop"), r"spurious is 'drop'"),
    Bad("progress", em(progress="no"), r"progress is 'no'"),
    Bad("None", em(None, 1), r"one NoneType, None", DataError),
    Bad("dict", em({"a": [1, 2, 4]}, 1), r"one dict, \{'a'", DataError),
    Bad("set", em({1.0, 2.0}, 1), r"one set", DataError),
    Bad("generator", em((row for row in X), 1), r"one generator", DataError),
    Bad("path", em("table.csv", 1), r"one str, 'table\.csv'", DataError),
    Bad("ragged", em([[1, 2], [3]], 1), r"ragged rows: row 0 has 2 values, row 1 has 1", DataError),
    Bad("three axes", em(np.zeros((4, 3, 2)), 1), r"3 axes, shape \(4, 3, 2\)", DataError),
    Bad("empty", em(np.empty((0, 2)), 1), r"without rows, shape \(0, 2\)", DataError),
    Bad("sparse", em(scipy.sparse.csr_array(X), 1), r"sparse matrix", DataError),
    Bad("constant", em(changed(X, np.s_[:, 1], 3), 1), r"'x2' is constant, every value is 3", DataError),
    Bad("NaN", em(changed(X, (4, 1), np.nan), 2, missing="refuse"), r"'x2' holds nan in row 4", DataError),
    Bad("no value", em(changed(X, np.s_[:, 1], np.nan), 2), r"'x2' holds no value at all", DataError),
    Bad("never together", em(NEVER_TOGETHER, 1), r"No row has both 'x1' and 'x2'", DataError),
    Bad("dependent where seen", em(DEPENDENT, 1), r"'x[12]' is a linear combination", DataError),
    Bad("missing", em(missing="impute"), r"missing is 'impute'"),
    Bad("adam", lambda _: bg.fit_gradient(changed(X, (4, 1), np.nan), 2, method="adam"), r"missing cells \(x2 1\)"),
    Bad("infinity", em(changed(X, (4, 1), -np.inf), 2), r"'x2' holds -inf in row 4", DataError),
    Bad("complex", em(X + 1j, 2), r"complex numbers", DataError),
    Bad("dates", em(X.astype("M8[s]"), 2), r"dates", DataError),
    Bad("date objects", em([[datetime.date(2020, 1, 1), 1]] * 3, 2), r"datetime\.date", DataError),
    Bad("objects", em(X.astype(object), 2), r"no plain numbers", DataError),
    Bad("fewer rows than components", em(X[:3], 4), r"3 rows for 4 components", DataError),
    Bad("no more rows than columns", em(X[:2], 1), r"2 rows of 2 columns", DataError),
    Bad("names twice", lambda _: bg.Table(X, ("a", "a")), r"more than one column named 'a'", DataError),
    Bad("wide integers", em([[2**1024], [1]], 1), r"'x1' holds 1797", DataError),
]

FIT_EM = [
    Bad("K is numpy bool", em(X, np.True_), r"n_components is np\.True_"),
    Bad("K is bool", em(X, True), r"n_components is True"),
    Bad("K is a float", em(X, 2.0), r"n_components is 2\.0"),
    Bad("K is a numpy float", em(X, np.float64(2)), r"n_components is np\.float64\(2\.0\)"),
    Bad("K is text", em(X, "2"), r"n_components is '2'"),
    Bad("K is zero", em(X, 0), r"n_components is 0"),
    Bad("K is negative", em(X, -1), r"n_components is -1"),
    Bad("K is None", em(X, None), r"n_components is None"),
    Bad("K is an array", em(X, np.array([1, 2])), r"n_components is array\(\[1, 2\]\)"),
    Bad("structure", em(covariance_type="round"), r"'round'.*\"full\".*EII.*VVV"),
    Bad("structure is None", em(covariance_type=None), r"covariance_type is None.*full"),
    Bad("structure is a list", em(covariance_type=["full"]), r"covariance_type is \['full'\]"),
    Bad("n_starts 0", em(n_starts=0), r"n_starts is 0"),
    Bad("n_starts 1.5", em(n_starts=1.5), r"n_starts is 1\.5"),
    Bad("tol NaN", em(tol=np.nan), r"tol is nan"),
    Bad("tol negative", em(tol=-1e-3), r"tol is -0\.001"),
    Bad("tol infinite", em(tol=np.inf), r"tol is inf"),
    Bad("tol text", em(tol="1e-3"), r"tol is '1e-3'"),
    Bad("tol numpy bool", em(tol=np.True_), r"tol is np\.True_"),
    Bad("tol complex", em(tol=1j), r"tol is 1j"),
    Bad("max_steps 0", em(max_steps=0), r"max_steps is 0"),
    Bad("max_steps -1", em(max_steps=-1), r"max_steps is -1"),
    Bad("max_steps 1.5", em(max_steps=1.5), r"max_steps is 1\.5"),
    Bad("max_steps huge", em(max_steps=2**40), r"max_steps is 1099511627776"),
    Bad("seed negative", em(seed=-1), r"seed is -1"),
    Bad("seed huge", em(seed=2**40), r"seed is 1099511627776"),
    Bad("seed None", em(seed=None), r"seed is None"),
    Bad("seed text", em(seed="0"), r"seed is '0'"),
    Bad("seed key", em(seed=jax.random.key(0)), r"seed is "),
    Bad("assignment", em(assignment="fuzzy"), r"assignment is 'fuzzy'"),
    Bad("assignment is a list", em(assignment=["soft"]), r"assignment is \['soft'\]"),
    Bad("components unknown", em(components="cauchy"), r"components is 'cauchy'.*\"gaussian\" or \"t\""),
    Bad("components is a number", em(components=2), r"components is 2"),
    Bad("degrees without t", em(degrees_of_freedom=4.0), r"components is 'gaussian'"),
    Bad("degrees unknown", em(components="t", degrees_of_freedom="few"), r"degrees_of_freedom is 'few'.*per component"),
    Bad("degrees negative", em(components="t", degrees_of_freedom=-1), r"degrees of freedom are .*-1"),
    Bad("degrees of three", em(components="t", degrees_of_freedom=[1, 2, 3]), r"degrees of freedom are .*1\.0, 2\.0"),
    Bad("degrees NaN", em(components="t", degrees_of_freedom=np.nan), r"degrees of freedom are .*nan"),
    Bad("family", em(family="t"), r"no argument family.*Take components"),
    Bad("random_state", em(random_state=1), r"no argument random_state.*Take seed"),
    Bad("misspelt", em(n_start=1), r"no argument n_start.*Take n_starts"),
    Bad("accelerate is text", em(accelerate="no"), r"accelerate is 'no'"),
    Bad("prior of fit_nuts", em(prior=bg.Prior()), r"prior is .*Prior"),
    Bad("conjugate kappa", lambda _: bg.ConjugatePrior(mean_shrinkage=-1), r"mean_shrinkage .* is -1"),
    Bad(
        "conjugate kappa bool", lambda _: bg.ConjugatePrior(mean_shrinkage=np.True_), r"mean_shrinkage .* is np\.True_"
    ),
    Bad("conjugate mean", em(prior=bg.ConjugatePrior(mean=[0.0])), r"mean of the ConjugatePrior is \[0\.0\]"),
    Bad("conjugate scale", em(prior=bg.ConjugatePrior(scale=[[1, 2], [2, 1]])), r"scale .* not symmetric positive"),
    Bad("conjugate scale ragged", em(prior=bg.ConjugatePrior(scale=[[1], [2, 1]])), r"scale of the ConjugatePrior is"),
    Bad("conjugate scale text", em(prior=bg.ConjugatePrior(scale="wide")), r"scale of the ConjugatePrior is 'wide'"),
    Bad("start of other K", em(start=THREE), r"means of shape \(3, 2\)"),
    Bad("start of other D", em(start=ONE_FEATURE), r"means of shape \(2, 1\)"),
    Bad("start batched", em(start=jax.tree.map(lambda a: a[None], MIXTURE)), r"shape \(1, 2, 2\)"),
    Bad(
        "start NaN",
        em(start=bg.Mixture(log_weights=np.log([0.5, 0.5]), means=np.full((2, 2), np.nan), scale_tril=COVARIANCES)),
        r"NaN",
    ),
    Bad("start labels too short", em(start=LABELS[:-1]), r"shape \(29,\)"),
    Bad("start labels too high", em(start=LABELS + 1), r"labels of the start are \[1, 2\]"),
    Bad("start labels lack one", em(start=0 * LABELS), r"labels of the start are \[0\]"),
    Bad("start labels text", em(start=LABELS.astype(str)), r"type <U"),
    Bad("start responsibilities", em(start=2 * SHARES), r"shape \(30, 2\).*sum|sum.*row"),
    Bad("start responsibilities negative", em(start=changed(SHARES, 0, [2, -1])), r"shape \(30, 2\)"),
    Bad("start responsibilities NaN", em(start=changed(SHARES, 0, np.nan)), r"shape \(30, 2\)"),
    Bad("start responsibilities of K + 1", em(start=np.full((30, 3), 1 / 3)), r"shape \(30, 3\)"),
    Bad("start complex", em(start=SHARES + 0j), r"complex"),
    Bad("start ragged", em(start=[[1, 0], [1]]), r"start is one list"),
    Bad("start text", em(start="kmeans"), r"start .*str"),
    Bad("start an EMFit", lambda s: bg.fit_em(X, 2, start=s.mle), r"start .*EMFit.*\.mixture"),
    Bad("start of too few points", em(start=changed(0 * LABELS, 0, 1)), r"too few points"),
    Bad("labels too short", em(labels=LABELS[1:]), r"labels has shape \(29,\)"),
    Bad("labels out of range", em(labels=LABELS + 1), r"labels has shape .* values \[1, 2\]"),
    Bad("labels below -1", em(labels=LABELS - 2), r"values \[-2, -1\]"),
    Bad("labels text", em(labels=LABELS.astype(str)), r"labels .*<U"),
    Bad("labels of halves", em(labels=LABELS / 2), r"values \[0\.0, 0\.5\]"),
    Bad("labels ragged", em(labels=[[0], [0, 1]]), r"labels .*list"),
    Bad("labels of bools", em(labels=LABELS > 0), r"labels .*bool"),
    Bad("labels a scalar", em(labels=0), r"labels is one int, 0"),
    Bad("labels infinite", em(labels=np.where(LABELS, np.inf, 0.0)), r"inf"),
    Bad("weights negative", em(sample_weight=-ONES), r"sample_weight .*-1"),
    Bad("weights NaN", em(sample_weight=changed(ONES, 3, np.nan)), r"sample_weight .*nan.*row 3"),
    Bad("weights zero", em(sample_weight=0 * ONES), r"sample_weight .*zero"),
    Bad("weights short", em(sample_weight=ONES[1:]), r"sample_weight has shape \(29,\)"),
    Bad("weights of two axes", em(sample_weight=ONES[:, None]), r"sample_weight has shape \(30, 1\)"),
    Bad("weights text", em(sample_weight=["heavy"] * 30), r"sample_weight .*'heavy'"),
    Bad("weights complex", em(sample_weight=ONES * 1j), r"sample_weight .*complex"),
    Bad("weights ragged", em(sample_weight=[[1], [1, 2]]), r"sample_weight .*list"),
    Bad("weights dict", em(sample_weight={0: 1}), r"sample_weight .*dict"),
    Bad("weights too large", em(sample_weight=1e308 * ONES), r"sample_weight .*1e\+308"),
    Bad("weights leave one row", em(sample_weight=changed(0 * ONES, 0, 1.0)), r"1 rows of 2 columns", DataError),
    Bad("fixed unknown", em(fixed={"mean": 0}), r"fixed is \['mean'\]"),
    Bad("fixed list", em(fixed=["weights"]), r"fixed is \['weights'\]"),
    Bad("fixed component", em(fixed={"means": {2: [0, 0]}}), r"components \[2\]"),
    Bad("fixed component True", em(fixed={"means": {True: [0, 0]}}), r"components \[True\]"),
    Bad("fixed mean's shape", em(fixed={"means": {0: [0, 0, 0]}}), r"fixed\[means\]\[0\] is \[0, 0, 0\]"),
    Bad("fixed means' shape", em(fixed={"means": np.zeros((3, 2))}), r"fixed\[means\] is"),
    Bad("fixed mean text", em(fixed={"means": {0: "middle"}}), r"is 'middle'"),
    Bad("fixed weights", em(fixed={"weights": [0.5, 0.6]}), r"sum 1\.1"),
    Bad("fixed weight above 1", em(fixed={"weights": {0: 1.5}}), r"\[1\.5\]"),
    Bad("fixed weights text", em(fixed={"weights": "same"}), r"is 'same'"),
    Bad("fixed covariance", em(fixed={"covariances": {0: [[1, 2], [2, 1]]}}), r"cannot be factorised"),
    Bad("fixed covariance lopsided", em(fixed={"covariances": {0: [[1, 0.5], [0, 1]]}}), r"not symmetric"),
    Bad("fixed covariance tiny", em(fixed={"covariances": {0: 1e-20 * np.eye(2)}}), r"times as wide"),
    Bad("fixed key is no text", em(fixed={0: 1, "means": 2}), r"fixed is \['0', 'means'\]"),
]

OTHER_FITS = [
    Bad("gradient, K", lambda _: bg.fit_gradient(X, 2.0), r"n_components is 2\.0"),
    Bad("gradient, method", gradient(method="newton"), r"method is 'newton'"),
    Bad("gradient, rate", gradient(method="adam", learning_rate=0), r"learning_rate is 0"),
    Bad("gradient, rate text", gradient(learning_rate="fast"), r"learning_rate is 'fast'"),
    Bad("gradient, tol", gradient(tol=np.nan), r"tol is nan"),
    Bad("gradient, tol numpy bool", gradient(tol=np.False_), r"tol is np\.False_"),
    Bad("gradient, batch", gradient(batch_size=0), r"batch_size is 0"),
    Bad("gradient, structure", gradient(covariance_type="EVE"), r"'EVE'.*coordinates"),
    Bad("gradient, start", gradient(start=THREE), r"shape \(3, 2\)"),
    Bad("gradient, weights", gradient(sample_weight=-ONES), r"sample_weight"),
    Bad("gradient, seed", gradient(seed=-5), r"seed is -5"),
    Bad("gradient, max_steps", gradient(max_steps=1.5), r"max_steps is 1\.5"),
    Bad("stream, one table", lambda _: bg.fit_stream(X, 2), r"batches are one ndarray"),
    Bad("stream, text", lambda _: bg.fit_stream("table.csv", 2), r"batches are one str"),
    Bad("stream, None", lambda _: bg.fit_stream(None, 2), r"batches are one NoneType"),
    Bad("stream, no batch", lambda _: bg.fit_stream([], 2), r"no batch", DataError),
    Bad("stream, second batch", lambda _: bg.fit_stream([X, X[:, :1]], 1), r"Batch 2: Found 1 columns", DataError),
    Bad("stream, NaN", lambda _: bg.fit_stream([X, np.nan * X], 1), r"Batch 2: .*nan in row 0", DataError),
    Bad("stream, exponent", lambda _: bg.fit_stream([X], 2, step_exponent=0.5), r"step_exponent is 0\.5"),
    Bad("stream, average_from", lambda _: bg.fit_stream([X], 2, average_from=0), r"average_from is 0"),
    Bad("stream, start", lambda _: bg.fit_stream([X], 2, start=LABELS), r"start is a ndarray"),
    Bad("stream, start's shape", lambda _: bg.fit_stream([X], 2, start=THREE), r"shape \(3, 2\)"),
    Bad("stream, structure", lambda _: bg.fit_stream([X], 2, covariance_type="x"), r"covariance_type is 'x'"),
    Bad("select, criterion", lambda _: bg.select_em(X, [1], criterion="dic"), r"criterion is 'dic'"),
    Bad("select, criterion list", lambda _: bg.select_em(X, [1], criterion=["bic"]), r"criterion is \['bic'\]"),
    Bad("select, nothing", lambda _: bg.select_em(X, []), r"n_components is empty"),
    Bad("select, one number", lambda _: bg.select_em(X, 3), r"n_components is 3"),
    Bad("select, text", lambda _: bg.select_em(X, "12"), r"n_components is '12'"),
    Bad("select, floats", lambda _: bg.select_em(X, [1.0]), r"n_components is 1\.0"),
    Bad("select, too many", lambda _: bg.select_em(X, [31]), r"30 rows for 31", DataError),
    Bad("select, structure", lambda _: bg.select_em(X, [1], covariance_type=["x"]), r"covariance_type is 'x'"),
    Bad("select, structure 3", lambda _: bg.select_em(X, [1], covariance_type=3), r"covariance_type is 3"),
    Bad("select, option", lambda _: bg.select_em(X, [1], n_start=3), r"n_start\b"),
    Bad("groups, none", lambda _: bg.fit_em_groups(X, [0] * 29), r"by has shape \(29,\)"),
    Bad("groups, more than rows", lambda _: bg.fit_em_groups(X, range(40)), r"by has shape \(40,\)"),
    Bad("groups, name", lambda _: bg.fit_em_groups(X, "site"), r"by is 'site'"),
    Bad("groups, gap", lambda _: bg.fit_em_groups(X, [None, *range(29)]), r"Row 0 has no group", DataError),
    Bad("groups, K", lambda _: bg.fit_em_groups(X, [0] * 30, 0), r"n_components is 0"),
    Bad("groups, no K", lambda _: bg.fit_em_groups(X, [0] * 30, []), r"n_components is empty"),
    Bad("groups, criterion", lambda _: bg.fit_em_groups(X, [0] * 30, criterion="dic"), r"criterion is 'dic'"),
    Bad("groups, structure", lambda _: bg.fit_em_groups(X, [0] * 30, covariance_type="x"), r"covariance_type is 'x'"),
    Bad("groups, weights", lambda _: bg.fit_em_groups(X, [0] * 30, sample_weight=ONES), r"cannot take sample_weight"),
    Bad("test, replicates", lambda _: bg.likelihood_ratio_test(X, 1, n_replicates=0), r"n_replicates is 0"),
    Bad("test, K", lambda _: bg.likelihood_ratio_test(X, "1"), r"n_components is '1'"),
    Bad("test, K + 1", lambda _: bg.likelihood_ratio_test(X, 30), r"30 rows for 31", DataError),
    Bad("test, weights", lambda _: bg.likelihood_ratio_test(X, 1, sample_weight=ONES), r"cannot take sample_weight"),
    Bad("test, seed", lambda _: bg.likelihood_ratio_test(X, 1, seed=True), r"seed is True"),
]

POSTERIOR = [
    Bad("hmc, chains", hmc(num_chains=0), r"num_chains is 0"),
    Bad("hmc, samples True", hmc(num_samples=True), r"num_samples is True"),
    Bad("hmc, acceptance", hmc(target_accept_prob=1.0), r"target_accept_prob is 1\.0"),
    Bad("hmc, K", hmc(X, 2.5), r"n_components is 2\.5"),
    Bad("nuts, chains", nuts(num_chains=0), r"num_chains is 0"),
    Bad("nuts, samples True", nuts(num_samples=True), r"num_samples is True"),
    Bad("nuts, samples 10.0", nuts(num_samples=10.0), r"num_samples is 10\.0"),
    Bad("nuts, warm-up", nuts(num_warmup=0), r"num_warmup is 0"),
    Bad("nuts, acceptance", nuts(target_accept_prob=1.0), r"target_accept_prob is 1\.0"),
    Bad("nuts, seed", nuts(seed=-1), r"seed is -1"),
    Bad("nuts, K", nuts(X, 2.5), r"n_components is 2\.5"),
    Bad("nuts, data", nuts(changed(X, 0, np.inf), 2), r"holds inf in row 0", DataError),
    Bad("nuts, relabelling", nuts(relabelling="sort"), r"relabelling is 'sort'"),
    Bad("nuts, structure", nuts(covariance_type="VEV"), r"'VEV', for which there is no prior"),
    Bad("nuts, structure unknown", nuts(covariance_type="blob"), r"'blob'"),
    Bad("nuts, checkpoint", nuts(checkpoint="/nowhere/at/all/run.draws"), r"/nowhere/at/all/run\.draws", OutputError),
    Bad("nuts, checkpoint folder", lambda s: nuts(checkpoint=s.folder)(s), r"checkpoint .* cannot be", OutputError),
    Bad("nuts, checkpoint number", nuts(checkpoint=3), r"checkpoint is 3"),
    Bad("nuts, checkpoint strange", lambda s: nuts(checkpoint=s.file("a.txt", "hello"))(s), r"no checkpoint"),
    Bad("nuts, prior", nuts(prior=bg.ConjugatePrior()), r"prior is ConjugatePrior"),
    Bad("nuts, start of other data", lambda s: nuts(X, 1, start=s.of_other_data)(s), r"start has 1 components .*30"),
    Bad("nuts, start of other K", lambda s: nuts(start=s.single)(s), r"start has 1 components"),
    Bad("nuts, start a mixture", nuts(start=MIXTURE), r"start is .*Mixture"),
    Bad("laplace, draws", laplace(num_draws=0), r"num_draws is 0"),
    Bad("laplace, structure", laplace(covariance_type="EVE"), r"no prior"),
    Bad("laplace, start", laplace(start="em"), r"start is .*str"),
    Bad("laplace, prior", laplace(prior="flat"), r"prior is 'flat'"),
    Bad("prior draws", lambda _: bg.prior_predictive(X, 2, num_draws=-1), r"num_draws is -1"),
    Bad("prior seed", lambda _: bg.prior_predictive(X, 2, seed=0.5), r"seed is 0\.5"),
    Bad("scales and variances", lambda _: bg.Prior(scales=1.0, variances=1.0), r"both scales and variances"),
    Bad("prior's weights shape", with_prior(weights=dist.Dirichlet(np.ones(3))), r"weights has shape \(3,\)"),
    Bad("prior's weights support", with_prior(weights=dist.Normal(0, 1)), r"weights is Normal"),
    Bad("prior's weights held", with_prior(weights=[0.5, 0.6]), r"holds weights at \[0\.5, 0\.6\]"),
    Bad("prior's weights ragged", with_prior(weights=[[0.5], [0.5, 0.1]]), r"weights"),
    Bad("prior's means shape", with_prior(means=dist.Normal(np.zeros(3), 1.0)), r"means has shape \(3,\)"),
    Bad("prior's means discrete", with_prior(means=dist.Poisson(2.0)), r"means is Poisson"),
    Bad("prior's means text", with_prior(means="zero"), r"means .*'zero'"),
    Bad("prior's scales negative", with_prior(scales=-1.0), r"holds scales at .*-1"),
    Bad("prior's scales support", with_prior(scales=dist.Normal(0, 1)), r"scales is Normal"),
    Bad("prior's variances NaN", with_prior(variances=np.nan), r"variances at .*nan"),
    Bad("prior's correlations", with_prior(correlations=2.0), r"correlations at .*2\.0"),
    Bad("prior's correlations shape", with_prior(correlations=dist.LKJCholesky(3, 1.0)), r"shape \(3, 3\)"),
    Bad("prior's correlations text", with_prior(correlations="none"), r"correlations .*'none'"),
    Bad("prior's correlations matrix", with_prior(correlations=2 * np.eye(2)), r"correlations .*2\.0"),
    Bad("prior holds all", with_prior(weights=[0.5, 0.5], means=0.0, scales=1.0, correlations=0.0), r"every parameter"),
    Bad("prior concentration", lambda _: bg.Prior().with_concentration(-1, 2), r"concentration .* is -1"),
    Bad("prior without data", lambda _: bg.Prior().sample(3, 2, 2, seed=0), r"takes its scale from data"),
    Bad("with_prior", lambda s: s.posterior.with_prior(0), r"num_draws is 0"),
    Bad("density, probability", lambda s: s.posterior.density(X, probability=1.0), r"probability is 1\.0"),
    Bad("density, columns", lambda s: s.posterior.density(X[:, :1]), r"shape \(30, 1\)"),
    Bad("log_prob, text", lambda s: s.posterior.log_prob("x"), r"points .*str"),
    Bad("log_prob, infinite", lambda s: s.posterior.log_prob([[np.inf, 1.0]]), r"points .*inf"),
    Bad("predict, ragged", lambda s: s.posterior.predict([[1, 2], [3]]), r"points .*list"),
    Bad("sample, none", lambda s: s.posterior.sample(0, seed=0), r"n_points is 0"),
    Bad("resample", lambda s: s.laplace.resample(0), r"num_draws is 0"),
]

MIXTURES = [
    Bad("weights sum", moments(weights=(0.5, 0.6)), r"weights are \[0\.5, 0\.6\]"),
    Bad("weights negative", moments(weights=(-0.5, 1.5)), r"-0\.5"),
    Bad("weights text", moments(weights="equal"), r"weights .*'equal'"),
    Bad("weights complex", moments(weights=(0.5j, 0.5)), r"weights .*complex"),
    Bad("weights None", moments(weights=None), r"weights .*None|shapes \(\)"),
    Bad("shapes", moments(means=((0, 0),)), r"shapes \(2,\), \(1, 2\) and \(2, 2, 2\)"),
    Bad("ragged means", moments(means=((0,), (0, 1))), r"means .*\(0,\)"),
    Bad("NaN", moments(means=((0, np.nan), (0, 0))), r"NaN or infinity"),
    Bad("not symmetric", moments(covariances=COVARIANCES + np.triu(np.ones((2, 2)), 1)), r"not symmetric"),
    Bad("not definite", moments(covariances=-COVARIANCES), r"cannot be factorised"),
    Bad("points of other D", lambda _: MIXTURE.log_prob(X[:, :1]), r"shape \(30, 1\)"),
    Bad("points of one axis", lambda _: MIXTURE.responsibilities(X[0]), r"shape \(2,\)"),
    Bad("points text", lambda _: MIXTURE.predict([["a", "b"]]), r"points .*'a'"),
    Bad("points ragged", lambda _: MIXTURE.predict([[1, 2], [3]]), r"points .*list"),
    Bad("points complex", lambda _: MIXTURE.log_prob(X + 1j), r"points .*complex"),
    Bad("points dates", lambda _: MIXTURE.log_prob(X.astype("M8[s]")), r"points .*datetime64"),
    Bad("points infinite", lambda _: MIXTURE.predict(changed(X, (3, 0), np.inf)), r"inf.*row 3|row 3.*inf"),
    Bad("sample -1", lambda _: MIXTURE.sample(-1, seed=0), r"n_points is -1"),
    Bad("sample 1.5", lambda _: MIXTURE.sample(1.5, seed=0), r"n_points is 1\.5"),
    Bad("sample seed", lambda _: MIXTURE.sample(3, seed="x"), r"seed is 'x'"),
    Bad("marginal", lambda _: MIXTURE.marginal([2]), r"features is \[2\]"),
    Bad("marginal twice", lambda _: MIXTURE.marginal([0, 0]), r"features is \[0, 0\]"),
    Bad("marginal, no list", lambda _: MIXTURE.marginal(0), r"features is 0"),
    Bad("marginal, mask", lambda _: MIXTURE.marginal([True, False]), r"features is \[True, False\]"),
    Bad("marginal, name", lambda _: MIXTURE.marginal(["a"]), r"features is \['a'\]"),
    Bad("condition on all", lambda _: MIXTURE.condition([0, 1], [[1, 2]]), r"features is \[0, 1\]"),
    Bad("condition, shape", lambda _: MIXTURE.condition([0], [1, 2]), r"shape \(2,\)"),
    Bad("condition, NaN", lambda _: MIXTURE.condition([0], [[np.nan]]), r"NaN"),
    Bad("condition, text", lambda _: MIXTURE.condition([0], [["a"]]), r"values .*'a'"),
    Bad("condition, far", lambda _: MIXTURE.condition([0], [[1e200]]), r"so far"),
    Bad("permute", lambda _: MIXTURE.permute([0, 0]), r"permutations .*\[0, 0\]"),
    Bad("permute, long", lambda _: MIXTURE.permute([0, 1, 2]), r"permutations .*\[0, 1, 2\]"),
    Bad("entropy, points", lambda _: bg.entropy(MIXTURE, n_points=1), r"n_points is 1"),
    Bad("entropy, of data", lambda _: bg.entropy(X), r"mixture is of type ndarray"),
    Bad("entropy bounds, of a fit", lambda s: bg.entropy_bounds(s.mle), r"mixture is of type EMFit"),
    Bad("divergence", lambda _: bg.kl_divergence(MIXTURE, ONE_FEATURE), r"p has 2 features and q has 1"),
    Bad("divergence of data", lambda _: bg.kl_divergence(MIXTURE, X), r"q is of type ndarray"),
]

AFTERWARDS = [
    Bad("errors", lambda s: s.mle.errors("hessian"), r"'hessian'"),
    Bad("bootstrap, kind", lambda s: bg.bootstrap(s.mle, kind="jackknife"), r"kind is 'jackknife'"),
    Bad("bootstrap, kind list", lambda s: bg.bootstrap(s.mle, kind=["rows"]), r"kind is \['rows'\]"),
    Bad("bootstrap, replicates", lambda s: bg.bootstrap(s.mle, n_replicates=0), r"n_replicates is 0"),
    Bad("bootstrap, one", lambda s: bg.bootstrap(s.mle, n_replicates=1).standard_errors, r"1 of 1|0 of 1", FitError),
    Bad("bootstrap, of data", lambda _: bg.bootstrap(X), r"fit is of type ndarray"),
    Bad("bootstrap, level", lambda s: s.bootstrap.intervals(95), r"level is 95"),
    Bad("bootstrap, level text", lambda s: s.bootstrap.intervals("95%"), r"level is '95%'"),
    Bad("profile, component", lambda s: bg.profile_interval(s.mle, 2), r"component is 2"),
    Bad("profile, True", lambda s: bg.profile_interval(s.mle, True), r"component is True"),
    Bad("profile, negative", lambda s: bg.profile_interval(s.mle, -1), r"component is -1"),
    Bad("profile, level", lambda s: bg.profile_interval(s.mle, 0, level=1.5), r"level is 1\.5"),
    Bad("profile, level text", lambda s: bg.profile_interval(s.mle, 0, level="high"), r"level is 'high'"),
    Bad("profile, held", lambda s: bg.profile_interval(s.held, 0), r"component is 0"),
    Bad("profile, one", lambda s: bg.profile_interval(s.single, 0), r"no free parameter", FitError),
    Bad("profile, hard", lambda s: bg.profile_interval(s.hard, 0), r"no free parameter", FitError),
    Bad("profile, of data", lambda _: bg.profile_interval(X, 0), r"fit is of type ndarray"),
    Bad("compare, swapped", lambda s: bg.compare(s.posterior, s.mle), r"mle is of type Posterior"),
    Bad("compare, no posterior", lambda s: bg.compare(s.mle, None), r"posterior is of type NoneType"),
    Bad("compare, other K", lambda s: bg.compare(s.single, s.posterior), r"1 components, the posterior 2"),
    Bad("compare, other data", lambda s: bg.compare(s.of_other_data, s.posterior), r"30 of 30 rows differ"),
    Bad("compare, other columns", lambda s: bg.compare(s.of_other_columns, s.posterior), r"columns a, b"),
    Bad("compare, bootstrap", lambda s: bg.compare(s.mle, s.posterior, bootstrap=3), r"bootstrap is of type int"),
    Bad("compare, other bootstrap", lambda s: bg.compare(s.held, s.posterior, bootstrap=s.bootstrap), r"another fit"),
    Bad("compare, test's shape", lambda s: bg.compare(s.mle, s.posterior, x_test=X[:, :1]), r"shape \(30, 1\)"),
    Bad("compare, test text", lambda s: bg.compare(s.mle, s.posterior, x_test="new"), r"x_test .*str"),
    Bad("compare, no test", lambda s: bg.compare(s.mle, s.posterior, x_test=X[:0]), r"x_test .*\(0, 2\)"),
    Bad(
        "compare, test inf",
        lambda s: bg.compare(s.mle, s.posterior, x_test=changed(X, (4, 1), np.inf)),
        r"x_test .*inf",
    ),
    Bad("shifts, of data", lambda _: bg.parameter_shifts(X), r"fit is of type ndarray"),
    Bad("shifts, against data", lambda s: bg.parameter_shifts(s.mle, X), r"reference is of type ndarray"),
    Bad("shifts, other K", lambda s: bg.parameter_shifts(s.mle, s.single), r"of 2 and 1 components"),
    Bad("shifts, no gaps", lambda s: bg.parameter_shifts(s.mle), r"is the plain Gaussian fit"),
    Bad("comparison, part", lambda s: s.comparison.records("all"), r"part is 'all'"),
    Bad("models, one", lambda s: bg.compare_models({"a": s.mle}), r"1 models"),
    Bad("models, list", lambda s: bg.compare_models([s.mle, s.single]), r"models is \["),
    Bad("models, data", lambda s: bg.compare_models({"a": s.mle, "b": X}), r"'b' is of type ndarray"),
    Bad("models, other data", lambda s: bg.compare_models({"a": s.mle, "b": s.of_other_data}), r"'b' of other data"),
    Bad("models, other columns", lambda s: bg.compare_models({"a": s.single, "b": s.of_other_columns}), r"of a, b"),
    Bad("report, wrong", lambda s: bg.report(s.mle, s.mle, "a.html"), r"posterior is of type EMFit"),
    Bad("report, nowhere", lambda s: bg.report(s.mle, s.posterior, "/nowhere/a.html"), r"/nowhere", OutputError),
    Bad("report, number", lambda s: bg.report(s.mle, s.posterior, 3), r"path is 3"),
]

AXES_OF_OTHER_KIND = SimpleNamespace(plot=print)
PLOTS = [
    Bad("imputed, of data", lambda _: bg.plot_imputed(X), r"posterior is of type ndarray"),
    Bad("imputed, no gaps", lambda s: bg.plot_imputed(s.mle), r"No cell is missing"),
    Bad("imputed, num", lambda s: bg.plot_imputed(s.of_gaps, num=0), r"num is 0"),
    Bad("ellipses, nothing", lambda _: bg.plot_ellipses(), r"Neither posterior nor mle"),
    Bad("ellipses, swapped", lambda s: bg.plot_ellipses(s.mle), r"posterior is of type EMFit"),
    Bad("ellipses, no data", lambda _: bg.plot_ellipses(mle=MIXTURE), r"holds no data"),
    Bad("ellipses, ax", lambda s: bg.plot_ellipses(mle=s.mle, ax=AXES_OF_OTHER_KIND), r"ax is of type SimpleNamespace"),
    Bad("ellipses, probability", lambda s: bg.plot_ellipses(mle=s.mle, probability=0.0), r"probability is 0\.0"),
    Bad("ellipses, probability 1", lambda s: bg.plot_ellipses(mle=s.mle, probability=1.0), r"probability is 1\.0"),
    Bad("ellipses, probability text", lambda s: bg.plot_ellipses(mle=s.mle, probability="all"), r"is 'all'"),
    Bad("ellipses, draws", lambda s: bg.plot_ellipses(s.posterior, n_draws=0), r"n_draws is 0"),
    Bad("ellipses, data", lambda s: bg.plot_ellipses(mle=s.mle, data=X[:, :1]), r"1 features", ArgumentError),
    Bad("ellipses, bad data", lambda s: bg.plot_ellipses(mle=s.mle, data="x"), r"one str", DataError),
    Bad("ellipses, draws as mle", lambda s: bg.plot_ellipses(mle=s.posterior.draws, data=X), r"batched"),
    Bad("clusters, wrong", lambda _: bg.plot_clusters(X), r"posterior is of type ndarray"),
    Bad("clusters, ax", lambda s: bg.plot_clusters(mle=s.mle, ax=3), r"ax is of type int"),
    Bad("pair, features", lambda s: bg.plot_pair(mle=s.mle, features=[0, 2]), r"features is \[0, 2\]"),
    Bad("pair, features twice", lambda s: bg.plot_pair(mle=s.mle, features=[0, 0]), r"features is \[0, 0\]"),
    Bad("pair, wrong", lambda _: bg.plot_pair("posterior"), r"posterior is of type str"),
    Bad("uncertainty, wrong", lambda _: bg.plot_uncertainty(MIXTURE), r"posterior is of type Mixture"),
    Bad("uncertainty, features", lambda s: bg.plot_uncertainty(s.mle, features="z"), r"features is 'z'"),
    Bad("uncertainty, mask", lambda s: bg.plot_uncertainty(s.mle, features=[True]), r"features is \[True\]"),
    Bad("uncertainty, points", lambda s: bg.plot_uncertainty(s.mle, n_points=0), r"n_points is 0"),
    Bad("uncertainty, ax", lambda s: bg.plot_uncertainty(s.mle, ax="new"), r"ax is of type str"),
    Bad("uncertainty, seed", lambda s: bg.plot_uncertainty(s.mle, seed=-1), r"seed is -1"),
    Bad("coclustering, wrong", lambda s: bg.plot_coclustering(s.mle), r"posterior is of type EMFit"),
    Bad("coclustering, points", lambda s: bg.plot_coclustering(s.posterior, max_points=10**6), r"1000000"),
    Bad("density, wrong", lambda s: bg.plot_density(s.mle), r"posterior is of type EMFit"),
    Bad("density, features", lambda s: bg.plot_density(s.posterior, features=5), r"features is 5"),
    Bad("density, probability", lambda s: bg.plot_density(s.posterior, probability=2), r"probability is 2"),
    Bad("density, mle", lambda s: bg.plot_density(s.posterior, mle=X), r"mle of type ndarray"),
    Bad("density, ax", lambda s: bg.plot_density(s.posterior, ax=[1]), r"ax is of type list"),
    Bad("ppc, wrong", lambda s: bg.plot_ppc(s.mle), r"posterior is of type EMFit"),
    Bad("ppc, probability", lambda s: bg.plot_ppc(s.posterior, probability=np.nan), r"probability is nan"),
    Bad("ppc, features", lambda s: bg.plot_ppc(s.posterior, features=[]), r"features is \[\]"),
    Bad("forest, wrong", lambda s: bg.plot_forest(s.posterior), r"comparison is of type Posterior"),
    Bad("forest, kind", lambda s: bg.plot_forest(s.comparison, parameters="means"), r"parameters is 'means'"),
    Bad("forest, nested", lambda s: bg.plot_forest(s.comparison, parameters=[["mean"]]), r"parameters is \[\['mean'\]"),
    Bad("forest, rows", lambda s: bg.plot_forest(s.comparison, n_rows=-1), r"n_rows is -1"),
    Bad("prior, wrong", lambda s: bg.plot_prior_posterior(s.laplace), r"posterior is of type LaplaceFit"),
    Bad("prior, kind", lambda s: bg.plot_prior_posterior(s.posterior, parameters=3), r"parameters is 3"),
    Bad("groups, wrong", lambda s: bg.plot_groups(s.mle), r"groups is of type EMFit"),
    Bad("selection, wrong", lambda s: bg.plot_selection(s.mle), r"EMFit"),
    Bad(
        "selection, criterion", lambda _: bg.plot_selection(bg.select_em(X, [1], progress=False), criterion="x"), r"'x'"
    ),
    Bad("relabelling, wrong", lambda s: bg.plot_relabelling(s.mle), r"posterior is of type EMFit"),
    Bad("relabelling, parameter", lambda s: bg.plot_relabelling(s.posterior, parameter="z"), r"parameter is 'z'"),
    Bad("relabelling, list", lambda s: bg.plot_relabelling(s.posterior, parameter=["means"]), r"\['means'\]"),
    Bad("relabelling, feature", lambda s: bg.plot_relabelling(s.posterior, feature=2), r"features? is 2"),
    Bad("diagnostics, wrong", lambda s: bg.plot_diagnostics(s.posterior.draws), r"posterior is of type Mixture"),
]


def torn(s):
    return bg.load(s.file("torn.nc", s.saved[:-200]))


def newer(s):
    content = s.saved[: s.saved.rindex(b"\nbayes_gmm result")]
    return bg.load(s.file("newer.nc", content + last_line(content, 99)))


def flipped(s):
    return bg.load(s.file("flipped.nc", s.saved[:900] + bytes([s.saved[900] ^ 1]) + s.saved[901:]))


FILES = [
    Bad("load, torn", torn, r"torn\.nc is a netCDF file without a seal"),
    Bad("load, flipped", flipped, r"flipped\.nc is damaged"),
    Bad("load, newer", newer, r"newer\.nc was written by a newer bayes_gmm, in version 99"),
    Bad("load, empty", lambda s: bg.load(s.file("empty.nc", "")), r"empty\.nc is empty"),
    Bad("load, text", lambda s: bg.load(s.file("b.txt", "hello\n")), r"b\.txt is no netCDF file"),
    Bad("load, missing", lambda s: bg.load(s.folder / "missing.nc"), r"missing\.nc cannot be read"),
    Bad("load, folder", lambda s: bg.load(s.folder), r"cannot be read"),
    Bad("load, None", lambda _: bg.load(None), r"path is None"),
    Bad("load, a number", lambda _: bg.load(10**6), r"path is 1000000"),
    Bad("load, zero byte", lambda _: bg.load("a\0b"), r"'a\\x00b'"),
    Bad("save, nowhere", lambda s: s.mle.save("/nowhere/mle.nc"), r"/nowhere/mle\.nc cannot be written", OutputError),
    Bad("save, over a folder", lambda s: s.mle.save(s.folder), r"cannot be written", OutputError),
    Bad("save, None", lambda s: s.mle.save(None), r"path is None"),
    Bad("save, posterior", lambda s: s.posterior.save("/nowhere/p.nc"), r"/nowhere/p\.nc", OutputError),
    Bad("to_csv, nowhere", lambda s: s.comparison.to_csv("/nowhere/a.csv"), r"/nowhere/a\.csv", OutputError),
    Bad("to_json, nowhere", lambda s: s.comparison.to_json("/nowhere/a.json"), r"/nowhere/a\.json", OutputError),
    Bad("to_csv, None", lambda s: s.comparison.to_csv(None), r"path is None"),
    Bad("read, missing", lambda s: bg.read_table(s.folder / "no.csv"), r"no\.csv does not exist", DataError),
    Bad("read, folder", lambda s: bg.read_table(s.folder), r"is a folder", DataError),
    Bad("read, empty", lambda s: bg.read_table(s.file("e.csv", "\n")), r"e\.csv is empty", DataError),
    Bad("read, header", lambda s: bg.read_table(s.table("h.csv", [["a", "b"]])), r"header and no rows", DataError),
    Bad("read, words", lambda s: bg.read_table(s.table("w.csv", [["a"], [1], ["x"]])), r"'x' on line 3", DataError),
    Bad("read, ragged", lambda s: bg.read_table(s.file("r.csv", "1,2\n3\n")), r"line 2 has 1", DataError),
    Bad("read, columns", lambda s: bg.read_table(s.table("c.csv", [["a"], [1], [2]]), "z"), r"no column 'z'"),
    Bad("read, columns 1", lambda s: bg.read_table(s.table("c.csv", [["a"], [1], [2]]), 1), r"1"),
    Bad("read, names twice", lambda s: bg.read_table(s.table("t.csv", [["a", "a"], [1, 2]])), r"named 'a'", DataError),
    Bad("read, binary", lambda s: bg.read_table(s.file("z.csv", b"1\0,2")), r"binary", DataError),
    Bad(
        "read, latin", lambda s: bg.read_table(s.file("l.csv", b"gr\xf6\xdfe\n1\n")), r"1 rows of 1 columns", DataError
    ),
    Bad("read, None", lambda _: bg.read_table(None), r"path is None"),
    Bad("read, a number", lambda _: bg.read_table(7), r"path is 7"),
    Bad("datasets", lambda _: bg.datasets.load("geyser"), r"'geyser'"),
    Bad("datasets, None", lambda _: bg.datasets.load(None), r"None"),
    Bad("datasets, list", lambda _: bg.datasets.load(["iris"]), r"\['iris'\]"),
]

ESTIMATORS = [
    Bad("K", estimator(2.0), r"n_components is 2\.0"),
    Bad("K numpy bool", estimator(np.True_), r"n_components is np\.True_"),
    Bad("K > N", estimator(31), r"n_components = 31, n_samples = 30", DataError),
    Bad("structure", estimator(covariance_type="round"), r"'round'"),
    Bad("tol", estimator(tol=-1), r"tol is -1"),
    Bad("tol NaN", estimator(tol=np.nan), r"tol is nan"),
    Bad("tol numpy bool", estimator(tol=np.True_), r"tol is np\.True_"),
    Bad("max_iter", estimator(max_iter=1.5), r"max_iter is 1\.5"),
    Bad("reg_covar", estimator(reg_covar="no"), r"reg_covar is 'no'"),
    Bad("n_init", estimator(n_init=0), r"n_init is 0"),
    Bad("init_params", estimator(init_params="kmean"), r"init_params is 'kmean'"),
    Bad("random_state", estimator(random_state=-1), r"-1 cannot be used to seed"),
    Bad("random_state text", estimator(random_state="x"), r"'x' cannot be used to seed"),
    Bad("random_state True", estimator(random_state=True), r"True cannot be used to seed"),
    Bad("weights_init", estimator(2, weights_init=[0.5, 0.6]), r"sum\(weights\) = 1\.1"),
    Bad("means_init", estimator(2, means_init=[[0, 0]]), r"'means' should have the shape of \(2, 2\)"),
    Bad("precisions_init", estimator(2, precisions_init=-COVARIANCES), r"positive-definite"),
    Bad("precisions_init text", estimator(2, precisions_init="x"), r"precision' should have the shape"),
    Bad("one axis", estimator(x=X[:, 0]), r"Expected 2D array, got 1D array", DataError),
    Bad("a number", estimator(x=3.0), r"Expected 2D array, got 0D array", DataError),
    Bad("None", estimator(x=None), r"NoneType|0D", DataError),
    Bad("one row", estimator(x=X[:1]), r"1 sample", DataError),
    Bad("infinity", estimator(x=changed(X, 0, np.inf)), r"inf in row 0", DataError),
    Bad("no value", estimator(x=changed(X, np.s_[:, 1], np.nan)), r"'x2' holds no value at all", DataError),
    Bad("complex", estimator(x=X + 1j), r"Complex", DataError),
    Bad("sparse", estimator(x=scipy.sparse.csr_array(X)), r"sparse", DataError),
    Bad("dates", estimator(x=X.astype("M8[s]")), r"dates", DataError),
    Bad("ragged", estimator(x=[[1, 2], [3]]), r"ragged", DataError),
    Bad("dict", estimator(x={"a": [1]}), r"dict|0D", DataError),
    Bad("weights negative", estimator(fit={"sample_weight": -ONES}), r"sample_weight"),
    Bad("weights text", estimator(fit={"sample_weight": "x"}), r"sample_weight .*'x'|sample_weight .*NaN"),
    Bad("parameter", lambda _: GaussianMixture().set_params(k=3), r"'k'"),
    Bad("not fitted", lambda _: GaussianMixture().predict(X), r"not fitted yet", NotFittedError),
    Bad("not fitted, sample", lambda _: GaussianMixture().sample(), r"not fitted yet", NotFittedError),
    Bad("not fitted, errors", lambda _: GaussianMixture().standard_errors_, r"not fitted yet", NotFittedError),
    Bad("other columns", fitted(lambda g: g.predict(X[:, :1])), r"X has 1 features", DataError),
    Bad("no rows", fitted(lambda g: g.predict(X[:0])), r"0 sample", DataError),
    Bad("infinity later", fitted(lambda g: g.score(changed(X, 0, np.inf))), r"inf in row 0", DataError),
    Bad("NaN in a stream", lambda _: GaussianMixture().partial_fit(changed(X, 0, np.nan)), r"nan in row 0", DataError),
    Bad("sample 0", fitted(lambda g: g.sample(0)), r"n_samples': 0"),
    Bad("sample True", fitted(lambda g: g.sample(True)), r"n_samples': True"),
    Bad("bayesian, K", bayesian("two"), r"n_components is 'two'"),
    Bad("bayesian, chains", bayesian(2, num_chains=0), r"num_chains is 0"),
    Bad("bayesian, structure", bayesian(2, covariance_type="VEV"), r"'VEV'"),
    Bad("bayesian, n_init", bayesian(2, n_init=0), r"n_init is 0"),
    Bad("bayesian, concentration", bayesian(2, weight_concentration_prior=-1.0), r"concentration .* is -1"),
    Bad("bayesian, concentration text", bayesian(2, weight_concentration_prior="x"), r"concentration .* is 'x'"),
    Bad("bayesian, prior", bayesian(2, prior="flat"), r"prior is 'flat'"),
    Bad(
        "bayesian, prior and concentration",
        bayesian(2, prior="flat", weight_concentration_prior=1.0),
        r"prior is of type str",
    ),
    Bad("bayesian, seed", bayesian(2, random_state=2**40), r"cannot be used to seed"),
    Bad("bayesian, not fitted", lambda _: BayesianGaussianMixture().verdict_, r"not fitted yet", NotFittedError),
]

GROUPS = {
    "data": DATA,
    "fit_em": FIT_EM,
    "fits": OTHER_FITS,
    "posterior": POSTERIOR,
    "mixture": MIXTURES,
    "afterwards": AFTERWARDS,
    "plots": PLOTS,
    "files": FILES,
    "estimators": ESTIMATORS,
}
ROWS = [pytest.param(row, id=f"{group}: {row.name}") for group, rows in GROUPS.items() for row in rows]


@pytest.mark.parametrize("row", ROWS)
def test_bad_input_gets_one_error_that_says_what_was_found(row, shared):
    with pytest.raises(BayesGMMError) as caught:
        row.call(shared)
    error = caught.value
    assert isinstance(error, row.kind)
    assert all(isinstance(part, str) and part.strip() for part in (error.found, error.expected, error.remedy))
    assert pytest.raises(BayesGMMError, match=rf"(?s){row.found}").matches(error)
    assert len(str(error)) < 2000


COMMANDS = [
    ("fit no_such_table.csv -k 2", r"no_such_table\.csv does not exist"),
    ("fit faithful -k 0", r"n_components is 0"),
    ("fit faithful -k 300", r"272 rows for 300 components"),
    ("fit faithful -k 2 --columns nothing", r"no column 'nothing'"),
    ("fit faithful -k 2 --covariance VEV", r"'VEV'"),
    ("fit faithful -k 2 --covariance round", r"'round'"),
    ("fit faithful -k 2 --starts 0", r"n_starts is 0"),
    ("fit faithful -k 2 --seed -1", r"seed is -1"),
    ("fit faithful -k 2 --num-chains 0", r"num_chains is 0"),
    ("fit faithful -k 2 --num-samples -5", r"num_samples is -5"),
    ("fit faithful -k 2 --num-warmup 0", r"num_warmup is 0"),
    ("fit faithful -k 2 --target-accept-prob 80", r"target_accept_prob is 80\.0"),
    ("fit faithful -k 2 --bootstrap -1", r"n_replicates is -1"),
    ("fit faithful -k 2 --out /dev/null/results", r"/dev/null/results"),
    ("report faithful -k 2 --out /dev/null/a.html", r"/dev/null"),
    ("select faithful -k 3-1", r"--components is '3-1'"),
    ("select faithful -k 0", r"n_components is 0"),
    ("select faithful -k 1 --covariance full,x", r"'x'"),
    ("select faithful -k 1 --starts 0", r"n_starts is 0"),
    ("datasets geyser", r"'geyser'"),
    ("fit faithful", r"--components"),
    ("fit faithful -k two", r"'two'"),
    ("select faithful --criterion dic", r"'dic'"),
    ("predict faithful", r"'predict'"),
    ("", r"COMMAND"),
]


@pytest.mark.parametrize(("command", "found"), COMMANDS, ids=[command or "nothing" for command, _ in COMMANDS])
def test_commands_end_with_one_message_and_no_traceback(command, found, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        code = cli.main(command.split())
    except SystemExit as error:  # argparse's own
        code = error.code
    printed = capsys.readouterr()
    assert code == 2
    assert printed.out == ""
    assert pytest.raises(ValueError, match=found).matches(ValueError(printed.err))
    assert "Traceback" not in printed.err
    assert len([line for line in printed.err.splitlines() if line.startswith("bayes-gmm")]) == 1
    assert not list(tmp_path.rglob("*.*"))


def test_there_are_enough_rows_and_all_differ():
    names = [param.id for param in ROWS]
    assert len(names) == len(set(names)) > 200
