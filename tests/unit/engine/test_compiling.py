"""How compiled code is kept, and what a fault of that costs: one warning and a compilation, never a run."""

import os
import shutil
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import jacobian_ensembles

compiling = pytest.importorskip("jacobian_ensembles.engine.compiling", reason="numba is missing", exc_type=ImportError)

PACKAGE = Path(jacobian_ensembles.__file__).parent
#: Compiles little, keeps it, and says how often it was compiled.
SMALL = """
    import logging, sys, time
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    import numpy as np
    from jacobian_ensembles.engine import compiling, vectors

    @compiling.entry
    def doubled(x):
        vectors.store(x, 0, vectors.load(x, 0) * 2)

    x = np.ones((1, vectors.LANES), np.float32)
    doubled(x)
    print(x[0, 0], sum(doubled.stats.cache_hits.values()))
    """


@pytest.fixture
def run(tmp_path):
    """Run code in a process of its own, from a file, as numba keeps only what comes from one."""

    def call(code, **environment):
        path = tmp_path / "job.py"
        text = textwrap.dedent(code)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "kept"), **environment}
        command = [sys.executable, str(path)]
        process = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert process.returncode == 0, process.stderr
        return process.stdout.splitlines()

    return call


def kept(tmp_path, suffix):
    (path,) = (tmp_path / "kept").rglob(f"*.{suffix}")
    return path


def test_compiling_is_said_where_it_happens(run):
    verbose = SMALL.replace("basicConfig(", 'basicConfig(level="INFO", ')
    assert run(verbose) == [compiling.COMPILING, "2.0 0"]
    assert run(verbose) == ["2.0 1"]


def test_code_is_kept_for_the_next_process(run, tmp_path):
    assert run(SMALL) == ["2.0 0"]
    assert run(SMALL) == ["2.0 1"]
    assert compiling.digest() in kept(tmp_path, "nbi").name


def test_kept_code_needs_nothing_that_compiling_does_and_does_not_stand_in_its_way(run):
    """What numba learns before it compiles took a third of a second and 40 MB of every job."""
    run(SMALL)
    more = """
    print("numba.np.linalg" in sys.modules)

    @compiling.entry
    def summed(x):
        return np.zeros(3).sum() + x[0, 0]

    print(summed(x))
    """
    assert run(SMALL + more) == ["2.0 0", "True", "2.0"]  # another file: compiled anew
    assert run(SMALL + more) == ["2.0 1", "False", "2.0"]
    fresh = more.replace("summed", "added")
    assert run(SMALL + more + fresh)[-1] == "2.0"


def test_one_process_compiles_and_others_that_need_it_wait(run, tmp_path):
    (tmp_path / "job.py").write_text(textwrap.dedent(SMALL))
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda _: run(SMALL), range(3)))
    assert sorted(results) == [["2.0 0"], ["2.0 1"], ["2.0 1"]]


def empty(path):
    path.write_bytes(b"")


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def altered(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def foreign(path):
    path.write_bytes(b"not what numba writes")


@pytest.mark.parametrize(
    ("suffix", "harm"),
    [("nbi", empty), ("nbi", cut), ("nbi", foreign), ("nbc", empty), ("nbc", cut), ("nbc", altered)],
)
def test_damaged_code_costs_one_warning_and_a_compilation(run, tmp_path, suffix, harm):
    run(SMALL)
    harm(kept(tmp_path, suffix))
    *warnings, result = run(SMALL)
    assert result == "2.0 0"
    assert len(warnings) == 1
    assert str(tmp_path / "kept") in warnings[0]
    assert "cannot be used" in warnings[0]
    assert run(SMALL) == ["2.0 1"]  # and it has been replaced


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder_costs_one_warning(run, tmp_path):
    run(SMALL)
    index = kept(tmp_path, "nbi")
    index.write_bytes(b"")
    index.parent.chmod(0o500)
    try:
        *warnings, result = run(SMALL)
    finally:
        index.parent.chmod(0o700)
    assert (len(warnings), result) == (1, "2.0 0")


def test_a_folder_in_place_of_the_index_costs_one_warning(run, tmp_path):
    """What cannot be replaced, whoever the user is."""
    run(SMALL)
    index = kept(tmp_path, "nbi")
    index.unlink()
    index.mkdir()
    *warnings, result = run(SMALL)
    assert (len(warnings), result) == (1, "2.0 0")
    assert str(tmp_path / "kept") in warnings[0]


def test_where_code_can_be_kept_nowhere_it_is_compiled_all_the_same(run):
    nowhere = {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator", "NUMBA_CACHE_DIR": ""}
    *warnings, result = run(SMALL, **nowhere)
    assert (len(warnings), result) == (1, "2.0 0")
    assert "is kept nowhere" in warnings[0]


def test_an_edit_of_any_file_of_the_engine_is_seen(run, tmp_path):
    """numba itself looks at the file of the entry function alone."""
    copy = tmp_path / "jacobian_ensembles"
    copy.mkdir()
    shutil.copy(PACKAGE / "__init__.py", copy)
    shutil.copytree(PACKAGE / "engine", copy / "engine", ignore=shutil.ignore_patterns("__pycache__"))
    assert run(SMALL, PYTHONPATH=str(tmp_path)) == ["2.0 0"]
    words = copy / "engine" / "vectors.py"
    text = words.read_text()
    assert text.count('_arithmetic("mul")') == 1
    words.write_text(text.replace('_arithmetic("mul")', '_arithmetic("add")'))
    assert run(SMALL, PYTHONPATH=str(tmp_path)) == ["3.0 0"]


def compiled_functions(found, names):
    """Every function that numba compiles among some objects and what they close over."""
    for item in found:
        function = getattr(item, "py_func", None)
        if function is not None and function not in names:
            names[function] = f"{function.__module__}.{function.__qualname__}"
            compiled_functions([cell.cell_contents for cell in function.__closure__ or ()], names)
    return names


def test_no_two_compiled_functions_share_a_name_by_which_kept_code_of_several_processes_is_linked():
    from jacobian_ensembles.engine import activations, layers, loops, losses, network, training

    modules = (activations, layers, loops, losses, network, training)
    names = compiled_functions([item for module in modules for item in vars(module).values()], {})
    assert len(names) > 50
    assert sorted(names.values()) == sorted(set(names.values()))


#: Scores and gradients of a LeNet, with a line for every warning.
STEP = """
    import logging, sys
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    import torch
    from jacobian_ensembles.attacks.losses import loss_gradient
    from jacobian_ensembles.ensembles.ensemble import Ensemble
    from jacobian_ensembles.models.jacobian import exact_jacobian
    from jacobian_ensembles.models.lenet import LeNet, compiled
    from jacobian_ensembles.training.objectives.derivatives import loss_and_gradients
    net, x, y = LeNet(dropout=0.2), torch.rand(2, 1, 28, 28), torch.tensor([3, 4])
    assert compiled([net], x) is None
    loss_and_gradients(net, x, y, 0.1, torch.ones(1, 2, 10) / 10**0.5, torch.Generator())
    assert exact_jacobian(net, x).shape == (2, 10, 784)
    assert loss_gradient(Ensemble([net]), x, y, 12.0).shape == (1, 1, 28, 28)
    """


def test_without_numba_the_textbook_network_serves_and_one_line_says_so(run):
    (line,) = run('import sys\nsys.modules["numba"] = None\n' + textwrap.dedent(STEP))
    assert "LeNets run through torch's layers" in line


def test_where_numba_is_switched_off_the_textbook_network_serves_and_one_line_says_so(run):
    (line,) = run(STEP, NUMBA_DISABLE_JIT="1")
    assert "LeNets run through torch's layers" in line
    assert "NUMBA_DISABLE_JIT is set" in line


def test_jobs_that_classify_nothing_do_not_import_numba(run):
    (line,) = run(
        "import sys, jacobian_ensembles.models.lenet\nprint('numba' in sys.modules, 'llvmlite' in sys.modules)"
    )
    assert line == "False False"


def test_the_engine_is_imported_without_torch(run):
    (line,) = run("import sys, jacobian_ensembles.engine.passes\nprint('torch' in sys.modules)")
    assert line == "False"


def test_whole_registers_are_used_on_intels_processors_too(run):
    """There LLVM prefers vectors of half the length for what it vectorises itself."""
    from jacobian_ensembles.engine.vectors import LANES

    if LANES < 16:
        pytest.skip("no AVX-512")
    host = "import llvmlite.binding\nllvmlite.binding.get_host_cpu_name = lambda: 'sapphirerapids'\n"
    *_, line = run(host + textwrap.dedent(SMALL) + 'print("zmm" in next(iter(doubled.inspect_asm().values())))\n')
    assert line == "True"


@pytest.mark.faults
def test_code_that_one_process_kept_and_another_added_to_computes_the_same(run, tmp_path):
    step = """
        import torch
        from jacobian_ensembles.models.lenet import LeNet, compiled, rows
        from jacobian_ensembles.training.objectives.derivatives import loss_and_gradients
        generator = torch.Generator().manual_seed(0)
        net = LeNet(generator=generator)
        x, labels = torch.rand(50, 1, 28, 28, generator=generator), torch.arange(50) % 10
        if {first}:
            print(compiled([net], x).logits(rows(x)).sum())
        else:
            loss, gradients = loss_and_gradients(net, x, labels, 0.0)
            print(float(loss), [g.double().abs().sum().item() for g in gradients])
        """
    run(step.format(first=True))
    second = run(step.format(first=False))
    third = run(step.format(first=False))  # which has all of it kept
    assert second == third == run(step.format(first=False), NUMBA_CACHE_DIR=str(tmp_path / "alone"))


@pytest.mark.faults
def test_jobs_may_start_together_on_no_kept_code(tmp_path):
    path = tmp_path / "job.py"
    path.write_text(textwrap.dedent(SMALL))
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "kept")}
    command = [sys.executable, str(path)]
    jobs = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [job.communicate()[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0]
    assert {output.split()[0] for output in outputs} == {"2.0"}
