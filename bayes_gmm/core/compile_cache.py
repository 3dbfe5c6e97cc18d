"""A cache of compiled programs on disk, with which a new process takes a third of the time for its first fit."""

import hashlib
import platform
from importlib.metadata import version
from pathlib import Path

import jax

from bayes_gmm.core.export import output_errors


def use_compile_cache(folder: str | Path | None = None) -> Path:
    """Store compiled programs in a folder and load them from there, in this process from now on.

    This is a setting of JAX for the whole process, so the package makes it only when this function is called. Compiled
    programs run on one kind of machine: the folder has a subfolder for each processor and version of JAX. Do not share
    it between machines.

    Parameters
    ----------
    folder
        Folder of the cache, by default `.cache/bayes_gmm` in the home folder.

    Returns
    -------
    Path
        Subfolder for this machine.

    Raises
    ------
    OutputError
        When the folder cannot be created.

    Examples
    --------
    >>> import bayes_gmm as bg
    >>> bg.use_compile_cache()  # doctest: +SKIP
    """
    machine = hashlib.sha256(_processor().encode()).hexdigest()[:12]
    path = Path(folder or Path.home() / ".cache" / "bayes_gmm") / f"jaxlib-{version('jaxlib')}-{machine}"
    remedy = "Give another folder, or go without the cache."
    with output_errors(f"The folder {path} cannot be made", "a folder that can be written to", remedy):
        path.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    return path


def _processor() -> str:
    """Text that identifies the processor: its model and instruction sets, where the system lists them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
