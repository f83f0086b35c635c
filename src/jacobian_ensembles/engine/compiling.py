"""How the engine's functions are compiled, and where the compiled code is kept for the next process."""

from __future__ import annotations

import hashlib
import logging
import pickle
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.runtime.nrt import rtsys
from numba.core.serialize import dumps

log = logging.getLogger(__name__)
_PATIENCE = 300  # seconds that a process waits for another's compilation; a filelock.Timeout is an OSError
#: Only multiplication and addition are fused: sums keep their order, so that equal patches of an image tie in pooling.
_FLAGS: dict[str, Any] = {"fastmath": {"contract", "nsz"}, "error_model": "numpy", "nogil": True}
#: As written, for what must round like torch's separate operations.
_EXACT: dict[str, Any] = {"error_model": "numpy", "nogil": True}


@cache
def digest() -> str:
    """What the engine's source is, in 12 hexadecimal digits.

    numba knows whether the file of a function has changed, but the engine's code is compiled together from several.
    """
    whole = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        whole.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return whole.hexdigest()[:12]


def inner(function: Any) -> Any:
    """Compile a function that only compiled functions call."""
    return njit(**_FLAGS)(_named(function))


def inlined(function: Any) -> Any:
    """Compile a function into its callers."""
    return njit(forceinline=True, **_FLAGS)(_named(function))


def exact(function: Any) -> Any:
    """Compile a function for compiled callers, with every operation rounded by itself."""
    return njit(**_EXACT)(_named(function))


def variant(compile_: Callable[[Any], Any], *constants: Any) -> Callable[[Any], Any]:
    """Compile a function that is built around constants.

    Loops over constants are unrolled. The function gets a name of its own: code that separate processes compiled and
    kept is linked by name, so variants that shared one would run another's code.
    """

    def compiled(function: Any) -> Any:
        function.__qualname__ += "_" + "_".join(map(str, constants))
        return compile_(function)

    return compiled


def entry(function: Any) -> Any:
    """Compile a function for Python to call, once for all processes that find its code."""
    dispatcher = njit(**_FLAGS)(_named(function))
    try:
        dispatcher._cache = _Kept(dispatcher.py_func)
    except (RuntimeError, OSError) as error:
        _warn(f"is kept nowhere ({error}), so each process compiles anew")
    return dispatcher


def _named(function: Any) -> Any:
    function.__qualname__ = f"{function.__qualname__.replace('<locals>.', '')}_{digest()}"
    return function


def _warn(what: str) -> None:
    """Say once what is wrong with compiled code."""
    if not set(_SAID) - {COMPILING}:
        _SAID.append(what)
        log.warning("The compiled code of the engine %s. That takes half a minute of CPU time.", what)


_SAID: list[str] = []
#: Logged before what no process has compiled here; a run's display looks for it.
COMPILING = "Compiling the engine, once on this machine."


class _Checked(CompileResultCacheImpl):
    """Compiled code with a checksum: damaged code would not fail, but run."""

    def reduce(self, data: Any) -> Any:
        code = dumps(super().reduce(data))
        return hashlib.sha256(code).digest(), code

    def rebuild(self, target_context: Any, payload: Any) -> Any:
        checksum, code = payload
        if hashlib.sha256(code).digest() != checksum:
            raise ValueError("damaged code")
        return super().rebuild(target_context, pickle.loads(code))


class _Kept(FunctionCache):
    """numba's cache, except that a fault of it costs a warning and a compilation, never a run.

    What is not kept yet, one process compiles while others that need it wait. Where there are no locks, each compiles.
    """

    _impl_class = _Checked
    _lock: Any = None

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        if (found := self._load(sig, target_context)) is not None:
            return found
        if self._lock is not None:  # a compilation of this process failed
            return None
        from filelock import FileLock

        with suppress(OSError, NotImplementedError):
            Path(self.cache_path).mkdir(parents=True, exist_ok=True)
            lock = FileLock(Path(self.cache_path, f"{self._py_func.__qualname__}.lock"), timeout=_PATIENCE)
            lock.acquire()
            self._lock = lock  # until the code is saved, or this process ends
            if (found := self._load(sig, target_context)) is not None:
                self._release()
                return found
        return None

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _load(self, sig: Any, target_context: Any) -> Any:
        try:
            # numba's own way first learns all that can be compiled: most of the time and memory of a job, and kept code
            # needs nothing of it but memory for arrays
            rtsys.initialize(target_context)
            with self._guard_against_spurious_io_errors():
                found = self._load_overload(sig, target_context)
            if found is None and COMPILING not in _SAID:
                _SAID.append(COMPILING)
                log.info(COMPILING)
            return found
        except Exception as error:  # whatever a damaged pickle raises
            self._warn(error)
            with suppress(Exception):
                self.flush()  # else a damaged index would keep new code from being saved
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except Exception as error:
            self._warn(error)
        finally:
            self._release()

    def _warn(self, error: Exception) -> None:
        what = f"in {self.cache_path} cannot be used ({type(error).__name__}: {error}), so it is compiled anew"
        _warn(f"{what}; delete that folder if this comes again")
