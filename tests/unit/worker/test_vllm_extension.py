"""What is said where vLLM's extension cannot load: the loader's own words about real files, in terms of packages."""

import sys

import pytest
from fake_vllm import MISSING, write_fakes

from backburner_schemas.errors import SettingsError
from backburner_worker.engine.vllm import extension
from backburner_worker.engine.vllm.extension import Kernels, load_kernels, reason

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="its extensions are Linux's")
X86 = ("_C", "_C_AVX2", "_C_AVX512")


@pytest.fixture
def vllm(tmp_path, monkeypatch):
    """Makes the packages, and has them be the ones that are imported."""
    before = {name for name in sys.modules if name.partition(".")[0] in {"torch", "vllm"}}
    for name in before:
        monkeypatch.delitem(sys.modules, name)

    def make(**options):
        monkeypatch.syspath_prepend(str(write_fakes(tmp_path / "fakes", **options)))

    yield make
    for name in [name for name in sys.modules if name.partition(".")[0] in {"torch", "vllm"}]:
        del sys.modules[name]


@needs_linux
def test_a_library_that_is_missing_is_named(vllm):
    vllm(broken=("_C",))
    with pytest.raises(SettingsError) as refused:
        load_kernels()
    message = refused.value.message
    assert message.startswith(f"vLLM's extension cannot load: {MISSING} is missing; find its package")
    assert f"apt-file search {MISSING}" in message
    assert f"dnf provides '*/{MISSING}'" in message


@needs_linux
@pytest.mark.parametrize(
    ("bf16", "avx512", "taken"), [(True, True, "_C"), (False, True, "_C_AVX512"), (False, False, "_C_AVX2")]
)
def test_the_extension_for_this_machine_is_the_one_that_has_to_load(vllm, bf16, avx512, taken):
    vllm(good=tuple({*X86} - {taken}), broken=(taken,), bf16=bf16, avx512=avx512)
    with pytest.raises(SettingsError, match="is missing"):
        load_kernels()


@needs_linux
@pytest.mark.parametrize(
    ("bf16", "avx512", "taken"), [(True, True, "_C"), (False, True, "_C_AVX512"), (False, False, "_C_AVX2")]
)
def test_those_for_other_machines_need_not_load(vllm, bf16, avx512, taken):
    vllm(good=(taken,), broken=tuple({*X86} - {taken}), bf16=bf16, avx512=avx512)
    assert load_kernels() is Kernels.LOADED


@needs_linux
def test_a_build_for_arm_has_one_extension(vllm):
    vllm(broken=("_C",), bf16=False, avx512=False)
    with pytest.raises(SettingsError, match="is missing"):
        load_kernels()


@needs_linux
def test_only_the_driver_may_be_missing_and_only_if_told_so(vllm, monkeypatch):
    vllm(broken=("_C_stable_libtorch",))
    with pytest.raises(SettingsError, match="is missing"):
        load_kernels(without_driver=True)
    monkeypatch.setattr(extension, "_DRIVER", MISSING)
    assert load_kernels(without_driver=True) is Kernels.NO_DRIVER
    with pytest.raises(SettingsError, match="NVIDIA's driver"):
        load_kernels()


def test_a_build_without_such_extensions_is_not_judged(vllm):
    vllm()
    assert load_kernels() is Kernels.ELSEWHERE


def test_torch_that_cannot_be_imported_is_told_as_that(vllm, tmp_path):
    vllm()
    (tmp_path / "fakes" / "torch" / "__init__.py").write_text("import no_such_part")
    with pytest.raises(SettingsError, match=r"torch cannot load: ModuleNotFoundError.*no_such_part"):
        load_kernels()


@pytest.mark.parametrize(
    ("library", "remedy"),
    [
        ("libnuma.so.1", "Debian, Ubuntu: sudo apt install libnuma1; Fedora: sudo dnf install numactl-libs"),
        ("libcuda.so.1", "NVIDIA's driver"),
        ("libcudart.so.13", "torch's nvidia-… packages"),
        ("libtorch_cuda.so", "it is torch's"),
        ("libfoo.so.3", "apt-file search libfoo.so.3"),
    ],
)
def test_each_library_has_its_remedy(library, remedy):
    error = ImportError(f"{library}: cannot open shared object file: No such file or directory")
    said = reason("vLLM's extension", error, "2.13.0")
    assert said.startswith(f"vLLM's extension cannot load: {library} is missing; ")
    assert remedy in said


def test_an_extension_for_another_torch_is_told_as_that():
    error = ImportError("/site/vllm/_C.abi3.so: undefined symbol: _ZN3c10")
    assert "another torch than the installed 2.13.0" in reason("vLLM's extension", error, "2.13.0")
