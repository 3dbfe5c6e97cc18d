"""The house: imports point down, one room for each library, small files, nothing global."""

import ast
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bayes_gmm"

FLOORS = {
    "maths and tables": {
        "errors",
        "checks",
        "csv_file",
        "foreign_tables",
        "table",
        "arguments",
        "compiled",
        "linalg",
        "datasets",
        "batches",
        "compile_cache",
        "frames",
        "checkpoint",
        "records",
        "sealed_file",
    },
    "the model": {
        *("moments", "conditional", "mixture", "stratified", "information_theory"),
        *("covariance", "scaling", "kernel", "ordered_sites", "sites", "prior", "ties", "numpyro_model"),
        *("distributions", "parts", "result_file"),
        *("collapse", "fixed", "conjugate", "objective", "problem", "posterior_problem", "centred"),
    },
    "inference": {
        *("starts", "extrapolation", "climb", "rounds", "information", "em_fit", "em", "laplace", "modes", "nuts"),
        *("unconstrained", "ascent", "gradient"),
        *("stream_fit", "running_statistics", "stochastic_em"),
        *("regularised", "seeding"),
    },
    "after inference": {
        *("resampling", "profile_likelihood", "likelihood_ratio", "selection"),
        *("agreement", "relabel", "predictive", "explanations", "tree", "verdict", "diagnostics"),
        *("posterior", "sampling_run", "sampling", "prior_check", "laplace_fit", "loading", "leave_one_out", "scene"),
        *("disagreement", "rows", "alignment", "points", "scores", "comparison", "stacking", "model_comparison"),
        *("co_clustering", "doubt", "marginals", "mixing", "replications"),
    },
    "faces": {
        *("canvas", "panels", "clusters", "certainty", "densities", "estimates", "beliefs", "criteria", "chains"),
        *("plots", "image", "page", "reporting", "commands", "cli"),
        *("peer", "parameter_forms", "estimator_rows", "estimator", "em_parameters", "em_estimator"),
        *("nuts_estimator", "estimators"),
    },
    "door": {"__init__", "__main__"},
}

ROOMS = {
    "arviz": {"leave_one_out"},
    "arviz_stats": {"diagnostics", "mixing"},
    "xarray": {"tree", "posterior", "prior_check", "leave_one_out", "result_file"},
    "matplotlib": {
        "image",
        *("canvas", "panels", "clusters", "certainty", "densities", "estimates", "beliefs", "criteria", "chains"),
    },
    "numpyro.infer": {"nuts"},
    "numpyro": {"prior", "sites", "ties", "numpyro_model", "nuts", "distributions", "parts"},
    "optax": {"ascent"},
    "tqdm": {"nuts", "selection", "stochastic_em", "resampling", "likelihood_ratio"},
    "argparse": {"cli", "commands"},
    "csv": {"csv_file", "records", "datasets", "commands"},
    "scipy": {"relabel", "starts", "profile_likelihood", "disagreement", "stacking", "co_clustering", "chains"},
    "sklearn": {"peer"},
    "pyarrow": {"foreign_tables"},
    "pandas": set(),
    "polars": set(),
}

MODULES = {path.stem: ast.parse(path.read_text()) for path in sorted(PACKAGE.glob("*.py"))}
FLOOR_OF = {module: number for number, modules in enumerate(FLOORS.values()) for module in modules}


def imported(tree: ast.Module) -> tuple[set[str], set[str]]:
    """Modules of the package and names of other libraries that a module imports, anywhere in it."""
    own, foreign = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            own |= {node.module} if node.module else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            foreign.add(node.module or "")
        elif isinstance(node, ast.Import):
            foreign |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "lazy_loader.load":
            foreign.add(ast.literal_eval(node.args[0]))
    return own, foreign


def test_every_module_has_a_floor() -> None:
    assert set(FLOOR_OF) == set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    upward = {name for name in imported(MODULES[module])[0] if FLOOR_OF[name] > FLOOR_OF[module]}
    assert not upward, f"{module} imports from a floor above: {upward}"


def test_no_import_is_circular() -> None:
    graph = {module: imported(tree)[0] & set(MODULES) for module, tree in MODULES.items()}
    settled: set[str] = set()
    while ready := {module for module in graph if module not in settled and graph[module] <= settled}:
        settled |= ready
    assert settled == set(graph), f"in a circle: {set(graph) - settled}"


@pytest.mark.parametrize("library", ROOMS)
def test_each_library_stays_in_its_room(library: str) -> None:
    users = {
        module
        for module, tree in MODULES.items()
        if any(name == library or name.startswith(library + ".") for name in imported(tree)[1])
    }
    assert users <= ROOMS[library], f"{library} is used outside its room: {users - ROOMS[library]}"
    assert ROOMS[library] <= users, f"{library} no longer needs all its rooms"


def test_files_and_functions_stay_small() -> None:
    lengths = {path.name: len(path.read_text().splitlines()) for path in PACKAGE.glob("*.py")}
    assert not {name: length for name, length in lengths.items() if length > 300}
    bodies = sorted(
        node.end_lineno - node.body[0].end_lineno if ast.get_docstring(node) else node.end_lineno - node.lineno
        for tree in MODULES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    )
    assert bodies[len(bodies) // 2] < 10
    assert bodies[int(0.9 * len(bodies))] <= 40


def test_public_names_are_these_and_can_all_be_imported() -> None:
    import bayes_gmm as bg

    assert set(bg.__all__) == {
        *(
            "fit_em",
            "fit_gradient",
            "fit_stream",
            "select_em",
            "fit_nuts",
            "prior_predictive",
            "fit_laplace",
            "compare",
            "compare_models",
            "report",
            "model",
        ),
        *("plot_clusters", "plot_ellipses", "plot_pair", "plot_uncertainty", "plot_coclustering", "plot_density"),
        *("plot_ppc", "plot_forest", "plot_prior_posterior", "plot_selection", "plot_relabelling", "plot_diagnostics"),
        *("Mixture", "EMFit", "EMStatus", "Posterior", "LaplaceFit", "Prior", "Comparison", "ModelComparison"),
        *("Selection", "Table"),
        *("entropy", "entropy_bounds", "kl_divergence", "EntropyBounds", "Estimate"),
        *("GradientFit", "StreamFit", "StreamStatus", "ConjugatePrior"),
        *("bootstrap", "Bootstrap", "profile_interval", "likelihood_ratio_test", "LikelihoodRatioTest"),
        *("as_table", "read_table", "datasets", "errors", "estimators", "load", "use_compile_cache"),
        *("BayesGMMError", "DataError", "ArgumentError", "OutputError", "FitError", "FitWarning"),
    }
    for name in bg.__all__:
        assert getattr(bg, name).__doc__, f"{name} has no docstring"
    assert callable(bg.model)
    assert callable(bg.compare)


def in_a_fresh_process(code: str) -> str:
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_import_loads_no_heavy_library() -> None:
    loaded = in_a_fresh_process(
        """
        import sys, bayes_gmm
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
