"""A cache of compiled programs on disk, with which a new process takes half the time for its first answer.

It begins with the first computation, in the package's own folder under the user's cache folder, unless the user chose a
folder, switched it off, or gave JAX a cache. A program that is loaded is the one that was compiled, so that numbers do
not depend on it. The cache is JAX's; what is here is where it lies, who may read it, and how large it becomes.
"""

import hashlib
import os
import platform
import stat
import sys
import warnings
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

from bayes_gmm.core.export import output_errors
from bayes_gmm.errors import OutputError

VARIABLE = "BAYES_GMM_COMPILE_CACHE"
"""Environment variable with another folder for the cache, or "off"."""

LARGEST = 512 * 2**20
"""Bytes that the cache may hold when a process begins: the programs not used for longest are deleted beyond it."""

_OFF = "off"
_REMEDY = f"Give another folder, or go without the cache: set the variable {VARIABLE} to {_OFF}."
_PROBE = "probe"
"""File beside the programs which says that the probe is among them."""


def use_compile_cache(folder: str | Path | bool | None = None) -> Path | None:
    """Store compiled programs in a folder and load them from there, in this process from now on.

    The first computation does so by itself, in the default folder, unless this function was called before it, JAX's
    option `jax_compilation_cache_dir` is set, or the environment variable BAYES_GMM_COMPILE_CACHE is "off" or names
    another folder. It is a setting of JAX for the whole process: other programs are stored too. Compiled programs run
    on one kind of machine: there is a subfolder for each processor and version of JAX. The folder is readable by its
    owner alone, and holds at most 512 MB.

    Parameters
    ----------
    folder
        Folder of the cache; None or True for the default, False to go without a cache.

    Returns
    -------
    Path
        Subfolder for this machine; None without a cache.

    Raises
    ------
    OutputError
        When the folder cannot be created or written to, or belongs to somebody else.

    Examples
    --------
    >>> import bayes_gmm as bg
    >>> bg.use_compile_cache()  # doctest: +SKIP
    """
    _chosen.append(True)
    if folder is False:
        _set_folder(None)
        return None
    return _begin(_default_folder() if folder is None or folder is True else Path(folder))


_chosen: list[bool] = []
"""Not empty once the process has a cache, or has none because the user said so."""


def keep_programs() -> None:
    """Begin the cache where the user has not decided about it; without a folder to write to there is none."""
    if _chosen or jax.config.jax_compilation_cache_dir or not jax.config.jax_enable_compilation_cache:
        return
    _chosen.append(True)
    wanted = os.environ.get(VARIABLE, "")
    if wanted.lower() == _OFF:
        return
    try:
        _begin(Path(wanted) if wanted else _default_folder())
    except (OutputError, RuntimeError) as error:  # a home that does not exist is a RuntimeError
        if wanted:
            warnings.warn(f"{VARIABLE}: {error}", stacklevel=2)


def _default_folder() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "bayes_gmm"
    local = os.environ.get("LOCALAPPDATA") if sys.platform == "win32" else os.environ.get("XDG_CACHE_HOME")
    return Path(local or Path.home() / ".cache") / "bayes_gmm"


def _begin(folder: Path) -> Path:
    machine = hashlib.sha256(_processor().encode()).hexdigest()[:12]
    path = folder / f"jax-{version('jax')}-{version('jaxlib')}-{machine}"
    with output_errors(f"The folder {path} cannot be made", "a folder that can be written to", _REMEDY):
        path.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
    _check_owner(path)
    _make_room(folder)
    _set_folder(path)
    _probe(path)
    return path


def _check_owner(path: Path) -> None:
    """Refuse a folder that others can write to, for whoever can runs programs here."""
    found = path.stat()
    if hasattr(os, "getuid") and found.st_uid != os.getuid():
        raise OutputError(f"The folder {path} belongs to another user.", "a folder of one's own", _REMEDY)
    if not os.access(path, os.W_OK):
        raise OutputError(f"The folder {path} cannot be written to.", "a folder that can be written to", _REMEDY)
    path.chmod(stat.S_IRWXU)


def _make_room(folder: Path) -> None:
    """Delete the programs of all machines and versions that were not used for longest, beyond `LARGEST`."""
    entries = []
    for path in folder.glob("jax-*/*"):
        with suppress(OSError):  # another process may delete as well
            found = path.stat()
            entries.append((max(found.st_atime, found.st_mtime), found.st_size, path))
    excess = sum(size for _, size, _ in entries) - LARGEST
    for _, size, path in sorted(entries):
        if excess <= 0:
            return
        excess -= size
        for deleted in (path, path.parent / _PROBE):
            deleted.unlink(missing_ok=True)


def _set_folder(path: Path | None) -> None:
    compilation_cache.reset_cache()  # JAX looks at its option once
    jax.config.update("jax_compilation_cache_dir", None if path is None else str(path))
    if path is not None:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def _probe(path: Path) -> None:
    """Compile a small program, and say so once where one that an earlier process stored is not found again.

    On some processors XLA stores programs that it refuses to load: a cache that takes time and gives none.
    """
    hits: list[str] = []

    def listen(event: str, **_: Any) -> None:
        if event == "/jax/compilation_cache/cache_hits":
            hits.append(event)

    stored = path / _PROBE
    jax.monitoring.register_event_listener(listen)
    jax.jit(_one_more).lower(jax.ShapeDtypeStruct((3,), "float32")).compile()
    jax.monitoring.unregister_event_listener(listen)
    if stored.exists() and not hits:
        _set_folder(None)
        found = (
            f"Compiled programs are stored in {path}, but JAX does not load them, so this process goes without them."
        )
        warnings.warn(f"{found} To say this no more, set the variable {VARIABLE} to {_OFF}.", stacklevel=2)
    elif any(path.iterdir()):
        with suppress(OSError):
            stored.touch()


def _one_more(x: jax.Array) -> jax.Array:
    return x + 1


def _processor() -> str:
    """Text that identifies the processor: its model and instruction sets, where the system lists them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
