"""The house: rooms in a strict order, each library in its place, small files, nothing global."""

import ast
import importlib
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import bayes_gmm as bg

PACKAGE = Path(bg.__file__).parent
TESTS = Path(__file__).parent

ORDER = (
    *("errors", "core", "io", "datasets", "mixture", "likelihood", "objective", "search", "mle", "bayes"),
    *("mcmc", "sampling", "clustering", "posterior", "assessment", "estimators", "figure_data", "plots"),
)
"""A room imports itself and those before it; what lies in the root, but for `errors`, comes after all of them."""

PUBLIC_ROOMS = ("datasets", "estimators", "plots")
PICKLED = {"mixture": "Mixture", "posterior": "Posterior"}

LIBRARIES = {
    "arviz": set(),
    "arviz_stats": set(),
    "xarray": {
        *("posterior.arviz_tree", "posterior.posterior", "posterior.prior_predictive", "posterior.sampling_run"),
        *("assessment.prior_sensitivity", "io.result_file"),
    },
    "matplotlib": {
        *(
            "figure_files",
            "plots.groups",
            "plots.imputed",
            "plots.style",
            "plots.clusters",
            "plots.coclustering",
            "plots.density",
        ),
        *("plots.diagnostics", "plots.ellipses", "plots.forest", "plots.ppc", "plots.prior_posterior"),
        *("plots.relabelling", "plots.selection", "plots.uncertainty"),
    },
    "numpyro.infer": set(),
    "numpyro": {
        *("bayes.prior", "bayes.sites", "bayes.tied_values", "bayes.model"),
        *(
            "bayes.exchangeable_log_normal",
            "bayes.marginally_uniform_cholesky",
            "bayes.shifted_gamma",
            "bayes.compiled_sites",
            "bayes.coordinates",
        ),
        *("io.distribution_serialisation", "io.serialisation"),
    },
    "optax": {"mle.gradient_ascent"},
    "tqdm": {
        *(
            "sampling.chains",
            "posterior.overlapping_components",
            "assessment.select_em",
            "mle.fit_stream",
            "mle.best_fit",
            "mle.multistart",
            "bayes.modes",
        ),
        *("assessment.fit_em_groups", "core.compilation"),
        *("assessment.bootstrap", "assessment.likelihood_ratio_test"),
    },
    "argparse": {"cli", "commands"},
    "csv": {"io.text_dialect", "io.text_file", "core.export", "commands"},
    "scipy": {
        *("posterior.relabelling", "assessment.profile_interval"),
        *("assessment.normal_approximation", "assessment.compare_models", "clustering.co_clustering"),
        *("mle.degrees_of_freedom", "mcmc.mixing", "core.hyperplanes"),
        *("sampling.label_symmetry", "sampling.t_mixture", "plots.diagnostics"),
    },
    "sklearn": {"estimators.sklearn_compat"},
    "pyarrow": {"io.dataframes"},
    "narwhals": {"io.dataframes"},
    "pandas": {"io.file_formats", "io.text_file"},
    "polars": set(),
}


def dotted(path: Path) -> str:
    """Name of a module below the package; a room's `__init__` has the room's name, the package's own is empty."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {dotted(path): path for path in sorted(PACKAGE.rglob("*.py"))}
MODULES = {module: ast.parse(path.read_text()) for module, path in PATHS.items()}
ROOMS = [name for name in ORDER if name != "errors"]
PAGE = (PACKAGE / "README.md").read_text(encoding="utf-8")


def room_of(module: str) -> int:
    """Place of a module's room in the order; the doors in the root come last."""
    room = module.split(".")[0]
    return ORDER.index(room) if room in ORDER else len(ORDER)


def imported(module: str) -> tuple[set[str], set[str]]:
    """Modules of the package and names of other libraries that a module imports, anywhere in it."""
    own, foreign = set(), set()
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} imports relatively, from {node.module}"
            name = node.module or ""
            if name.split(".")[0] != "bayes_gmm":
                foreign.add(name)
                continue
            below = name.removeprefix("bayes_gmm").removeprefix(".")
            inside = {f"{below}.{alias.name}".removeprefix(".") for alias in node.names}
            own |= (inside & set(MODULES)) or {below}
        elif isinstance(node, ast.Import):
            foreign |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "lazy_loader.load":
            foreign.add(ast.literal_eval(node.args[0]))
    return own, foreign


def test_the_whole_package_is_read() -> None:
    assert len(MODULES) > 120
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(ROOMS)


@pytest.mark.parametrize("module", MODULES)
def test_a_room_imports_only_rooms_before_it(module: str) -> None:
    upward = {name for name in imported(module)[0] if room_of(name) > room_of(module)}
    assert not upward or module == "", f"{module} imports from a later room: {upward}"


def test_no_import_is_circular() -> None:
    graph = {module: imported(module)[0] - {module} for module in MODULES}
    settled: set[str] = set()
    while ready := {module for module in graph if module not in settled and graph[module] <= settled}:
        settled |= ready
    assert settled == set(graph), f"in a circle: {set(graph) - settled}"


@pytest.mark.parametrize("library", LIBRARIES)
def test_each_library_stays_in_its_place(library: str) -> None:
    users = {
        module
        for module in MODULES
        if any(name == library or name.startswith(library + ".") for name in imported(module)[1])
    }
    assert users == LIBRARIES[library]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_neither_a_cupboard_nor_a_warehouse(room: str) -> None:
    assert 3 <= len(list((PACKAGE / room).glob("*.py"))) + len(list((PACKAGE / room).glob("*.csv"))) <= 16


@pytest.mark.parametrize("room", ROOMS)
def test_the_first_file_of_a_room_is_its_guide(room: str) -> None:
    guide = ast.get_docstring(MODULES[room])
    assert guide is not None
    assert "\nMay import: " in guide
    assert "\nAdd here: " in guide
    others = {path.stem for path in (PACKAGE / room).glob("*.py")} - {"__init__"}
    unmentioned = {name for name in others if f"`{name}`" not in guide}
    assert not unmentioned or room == "plots", f"the guide does not mention {unmentioned}"
    statements = MODULES[room].body[1:]
    if room in PUBLIC_ROOMS:
        assert ast.unparse(statements[-1]).endswith("lazy_loader.attach_stub(__name__, __file__)")
    elif room in PICKLED:
        assert ast.unparse(statements[-1]).endswith(f"submod_attrs={{'{room}': ['{PICKLED[room]}']}})")
    else:
        assert not statements, "a room that is no public door exports nothing"


def test_no_room_and_no_door_takes_the_place_of_a_public_name() -> None:
    # Importing a submodule sets an attribute of the package, and would replace a function of that name.
    in_the_root = {module.split(".")[0] for module in MODULES if module}
    assert in_the_root & set(bg.__all__) == {"datasets", "errors", "estimators"}


FILES_OF_VERBS = {
    **{"as_table": "table", "read_table": "table", "load": "loading", "report": "reporting"},
    **{"entropy_bounds": "entropy", "kl_divergence": "entropy", "use_compile_cache": "compile_cache"},
}


@pytest.mark.parametrize("verb", [name for name in bg.__all__ if name.islower()])
def test_a_public_verb_lives_in_the_file_of_its_name(verb: str) -> None:
    value = getattr(bg, verb)
    if callable(value):
        assert value.__module__.rsplit(".")[-1] == FILES_OF_VERBS.get(verb, verb.removeprefix("plot_"))


def test_files_and_functions_stay_small() -> None:
    lengths = {module: len(path.read_text().splitlines()) for module, path in PATHS.items()}
    assert not {module: length for module, length in lengths.items() if length > 400}
    bodies = sorted(
        node.end_lineno - node.body[0].end_lineno if ast.get_docstring(node) else node.end_lineno - node.lineno
        for tree in MODULES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    )
    assert bodies[len(bodies) // 2] < 10
    assert bodies[int(0.9 * len(bodies))] <= 40


def test_the_tests_mirror_the_rooms() -> None:
    folders = {path.name for path in TESTS.iterdir() if path.is_dir() and list(path.glob("test_*.py"))}
    assert folders == {*ROOMS, "calibration"}


def test_public_names_are_these_and_can_all_be_imported() -> None:
    assert set(bg.__all__) == {
        *(
            "fit_em",
            "fit_gradient",
            "fit_stream",
            "select_em",
            "fit_em_groups",
            "fit_nuts",
            "fit_hmc",
            "prior_predictive",
            "fit_laplace",
        ),
        *("compare", "compare_models", "report", "model", "parameter_shifts", "ParameterShifts"),
        *(
            "plot_groups",
            "plot_imputed",
            "plot_clusters",
            "plot_ellipses",
            "plot_pair",
            "plot_uncertainty",
            "plot_coclustering",
            "plot_density",
        ),
        *("plot_ppc", "plot_forest", "plot_prior_posterior", "plot_selection", "plot_relabelling", "plot_diagnostics"),
        *("Mixture", "EMFit", "EMStatus", "Posterior", "LaplaceFit", "Prior", "Comparison", "ModelComparison"),
        *("Selection", "GroupFits", "Table"),
        *("entropy", "entropy_bounds", "kl_divergence", "EntropyBounds", "Estimate"),
        *("GradientFit", "StreamFit", "StreamStatus", "ConjugatePrior"),
        *("bootstrap", "Bootstrap", "profile_interval", "likelihood_ratio_test", "LikelihoodRatioTest"),
        *("as_table", "read_table", "datasets", "errors", "estimators", "load", "use_compile_cache"),
        *("BayesGMMError", "DataError", "ArgumentError", "OutputError", "FitError", "FitWarning", "DataWarning"),
    }
    for name in bg.__all__:
        assert getattr(bg, name).__doc__, f"{name} has no docstring"


def in_a_fresh_process(code: str) -> str:
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
    quickly = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # as in this process (conftest.py)
    process = subprocess.run(command, capture_output=True, text=True, check=False, env=quickly)
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_public_names_survive_the_import_of_every_module() -> None:
    in_a_fresh_process(
        f"""
        import importlib, types, matplotlib
        matplotlib.use("agg")
        import bayes_gmm as bg
        for module in {[module for module in MODULES if module not in ("", "__main__")]!r}:
            importlib.import_module("bayes_gmm." + module)
        modules = {{name for name in bg.__all__ if isinstance(getattr(bg, name), types.ModuleType)}}
        assert modules == {{"datasets", "errors", "estimators"}}, modules
        """
    )


def test_import_loads_no_heavy_library() -> None:
    loaded = in_a_fresh_process(
        """
        import sys, bayes_gmm, bayes_gmm.plots, bayes_gmm.estimators, bayes_gmm.datasets
        print(*sys.modules)
        """
    ).split()
    assert not {"jax", "numpyro", "optax", "arviz", "matplotlib", "scipy", "xarray", "pandas"} & set(loaded)


def test_loading_every_name_and_fitting_changes_no_global_setting() -> None:
    in_a_fresh_process(
        """
        import copy, jax, matplotlib, numpy, os, threading, warnings
        settings = lambda: (
            dict(jax.config.values), copy.deepcopy(dict(matplotlib.rcParams)), numpy.geterr(),
            numpy.get_printoptions(), dict(os.environ), list(warnings.filters),
        )
        matplotlib.use("Agg")
        import numpyro, arviz  # whatever these change is theirs
        before = settings()
        import bayes_gmm as bg
        for name in bg.__all__:
            getattr(bg, name)
        x = bg.datasets.load("faithful")
        mle = bg.fit_em(x, 2)
        posterior = bg.fit_nuts(x, 2, num_samples=50, num_chains=2, start=mle, progress=False)
        bg.compare(mle, posterior)
        bg.plot_ellipses(posterior, mle=mle)
        for one, other in zip(before, settings()):
            assert one == other, (one, other)
        result = []
        thread = threading.Thread(target=lambda: result.append(bg.fit_em(x, 2).log_likelihood))
        thread.start(); thread.join()
        assert result == [mle.log_likelihood]
        """
    )


@pytest.mark.parametrize("before", ["import arviz", "import bayes_gmm"])
@pytest.mark.parametrize("module", ["bayes.sites", "bayes.prior", "io.serialisation", "sampling.label_symmetry"])
def test_numpyro_is_whole_after_any_of_our_modules(before: str, module: str) -> None:
    # ArviZ leaves a NumPyro in sys.modules that loads on its first use, and a submodule imported before is not bound.
    found = in_a_fresh_process(
        f"""
        {before}
        import bayes_gmm.{module}
        import numpyro, numpyro.infer
        print(numpyro.distributions.distribution.Distribution is numpyro.distributions.Distribution)
        """
    )
    assert found.split() == ["True"]


def test_the_page_of_the_architecture_lists_the_rooms_in_their_order() -> None:
    rooms = re.findall(r"^\| `(\w+)(?:\.py|/)` \|", PAGE, re.MULTILINE)
    assert rooms == list(ORDER)
    first = re.findall(r"^\| `(\w+)/` \|.*\| `(\w+\.py)` \|$", PAGE, re.MULTILINE)
    assert len(first) == len(ROOMS)
    assert all((PACKAGE / room / name).exists() for room, name in first)


def test_every_path_on_the_page_of_the_architecture_exists() -> None:
    named = set(re.findall(r"`([\w/]+/\w*(?:\.py)?|\w+\.py)`", PAGE))
    assert len(named) > 50
    roots = [PACKAGE, PACKAGE.parent, *(PACKAGE / room for room in ROOMS)]
    assert not {path for path in named if not any((root / path).exists() for root in roots)}


def test_the_page_of_the_architecture_tells_the_file_of_every_public_name() -> None:
    for name in bg.__all__:
        value = getattr(bg, name)
        module = getattr(value, "__module__", value.__name__).removeprefix("bayes_gmm.")
        path = module.replace(".", "/") + ("/" if module in ROOMS else ".py")
        assert f"| `{name}` | `{path}` |" in PAGE, f"| `{name}` | `{path}` |"
        assert importlib.import_module(f"bayes_gmm.{module}")
