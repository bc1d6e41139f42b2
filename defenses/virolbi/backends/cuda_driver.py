"""Runs CUDA C++ without a build step: NVRTC, which comes with PyTorch, compiles it, and ctypes launches the kernels."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torch

from harness.errors import UserError

SOURCE = Path(__file__).parent / "cuda_source"

Argument: TypeAlias = "torch.Tensor | int | ctypes.Array[ctypes.c_float] | ctypes.Array[ctypes.c_void_p]"
"""An argument of a kernel: a tensor for a pointer, an int for an int, a ctypes array for a struct of such members."""


def available() -> bool:
    """Whether kernels can be compiled here: PyTorch is built for CUDA, and NVRTC is there."""
    return torch.version.cuda is not None and torch.version.hip is None and _nvrtc() is not None


def architectures() -> list[int]:
    """The compute capabilities NVRTC compiles for, ascending, as 90 for 9.0."""
    library = _require_nvrtc()
    count = ctypes.c_int()
    _check_nvrtc(library.nvrtcGetNumSupportedArchs(ctypes.byref(count)))
    supported = (ctypes.c_int * count.value)()
    _check_nvrtc(library.nvrtcGetSupportedArchs(supported))
    return sorted(supported)


def target_for(capability: int, supported: Sequence[int]) -> str:
    """The target to compile for: machine code runs within its generation, PTX on every later one.

    >>> target_for(89, [75, 80, 90]), target_for(130, [75, 80, 90])
    ('sm_80', 'compute_90')

    Raises: UserError for a GPU older than every supported one.
    """
    older = [number for number in supported if number <= capability]
    if not older:
        raise UserError(
            f"this PyTorch compiles for compute capability {min(supported) / 10} and later, the GPU has "
            f"{capability / 10}. Use backend='reference' or --device cpu there, or a PyTorch for an older CUDA."
        )
    nearest = max(older)
    return f"{'sm' if nearest // 10 == capability // 10 else 'compute'}_{nearest}"


def compile_source(source: str, target: str, *options: str) -> bytes:
    """A file of cuda_source: machine code for the target `sm_90` and the like, PTX for `compute_90`.

    Fused multiply-add is off, because it rounds differently from the CPU.

    Raises: UserError without NVRTC; RuntimeError with the compiler's messages if the source does not compile.
    """
    library, program = _require_nvrtc(), ctypes.c_void_p()
    headers = sorted(SOURCE.glob("*.h"))
    texts, names = _strings(h.read_bytes() for h in headers), _strings(h.name.encode() for h in headers)
    text, name = (SOURCE / source).read_bytes(), source.encode()
    _check_nvrtc(library.nvrtcCreateProgram(ctypes.byref(program), text, name, len(headers), texts, names))
    flags = (f"--gpu-architecture={target}", "--std=c++17", "--fmad=false", *options)
    status = library.nvrtcCompileProgram(program, len(flags), _strings(flag.encode() for flag in flags))
    if status:
        raise RuntimeError(f"NVRTC on {source} for {target}: {_text_of(program, 'ProgramLog').decode()}")
    code = _text_of(program, "PTX" if target.startswith("compute") else "CUBIN")
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return code


class Kernels:
    """The kernels of one file on one device; launched on PyTorch's current stream there.

    Raises: UserError, RuntimeError as `compile_source`.
    """

    def __init__(self, device: torch.device, source: str, *options: str) -> None:
        self.device = device
        major, minor = torch.cuda.get_device_capability(device)
        code = compile_source(source, target_for(10 * major + minor, architectures()), *options)
        self._driver = _driver()
        self._context, self._module = ctypes.c_void_p(), ctypes.c_void_p()
        self._functions: dict[str, ctypes.c_void_p] = {}
        number = ctypes.c_int()
        with torch.cuda.device(device):
            self._check(self._driver.cuDeviceGet(ctypes.byref(number), device.index))
            self._check(self._driver.cuDevicePrimaryCtxRetain(ctypes.byref(self._context), number))
            self._check(self._driver.cuCtxSetCurrent(self._context))
            self._check(self._driver.cuModuleLoadData(ctypes.byref(self._module), code))

    def launch(self, name: str, blocks: int, threads: int, *arguments: Argument, shared_bytes: int = 0) -> None:
        """Start a kernel; the tensors among its arguments must be contiguous."""
        function, pointers = self._function(name), pack(arguments)
        with torch.cuda.device(self.device):
            self._check(self._driver.cuCtxSetCurrent(self._context))  # a thread new to CUDA has none yet
            stream = ctypes.c_void_p(torch.cuda.current_stream(self.device).cuda_stream)
            shape = (blocks, 1, 1, threads, 1, 1)
            self._check(self._driver.cuLaunchKernel(function, *shape, shared_bytes, stream, pointers, None))

    def _function(self, name: str) -> ctypes.c_void_p:
        if name not in self._functions:
            function = ctypes.c_void_p()
            self._check(self._driver.cuModuleGetFunction(ctypes.byref(function), self._module, name.encode()))
            self._functions[name] = function
        return self._functions[name]

    def _check(self, status: int) -> None:
        if status:
            message = ctypes.c_char_p()
            self._driver.cuGetErrorString(status, ctypes.byref(message))
            raise RuntimeError(f"CUDA driver: {(message.value or b'unknown error').decode()}")


def pack(arguments: Sequence[Argument]) -> ctypes.Array[ctypes.c_void_p]:
    """The addresses of a kernel's arguments, as the driver wants them; they live as long as the result."""
    values = [_value(argument) for argument in arguments]
    packed = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
    packed.values = values  # type: ignore[attr-defined]
    return packed


def _value(argument: Argument) -> Any:
    if isinstance(argument, torch.Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    return ctypes.c_int(argument) if isinstance(argument, int) else argument


@functools.cache
def _nvrtc() -> ctypes.CDLL | None:
    for name in _nvrtc_names():
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        if hasattr(library, "nvrtcGetSupportedArchs"):  # the libraries that NVRTC keeps beside itself lack it
            return library
    return None


def _nvrtc_names() -> Iterator[str]:
    """Where NVRTC may be: loaded by PyTorch or known to the system, beside PyTorch, or in its own package."""
    major = (torch.version.cuda or "").split(".")[0]
    torch_folder = Path(torch.__file__).parent
    if sys.platform == "win32":
        yield f"nvrtc64_{major}0_0.dll"
        yield from map(str, (torch_folder / "lib").glob(f"nvrtc64_{major}*.dll"))
        return
    yield f"libnvrtc.so.{major}"
    for folder in (torch_folder / "lib", *torch_folder.parent.glob("nvidia/*/lib")):
        yield from map(str, sorted(folder.glob("libnvrtc*.so*")))


def _require_nvrtc() -> ctypes.CDLL:
    library = _nvrtc()
    if library is None:
        raise UserError(
            "the backend 'cuda' needs NVRTC, which comes with PyTorch for CUDA and is missing. "
            "Use backend='reference' or --device cpu, or install nvidia-cuda-nvrtc."
        )
    return library


def _check_nvrtc(status: int) -> None:
    if status:
        raise RuntimeError(f"NVRTC error {status}")


def _text_of(program: ctypes.c_void_p, what: str) -> bytes:
    """The program's `ProgramLog`, `PTX` or `CUBIN`."""
    library, size = _require_nvrtc(), ctypes.c_size_t()
    _check_nvrtc(getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    text = ctypes.create_string_buffer(size.value)
    _check_nvrtc(getattr(library, f"nvrtcGet{what}")(program, text))
    return text.raw


def _strings(texts: Iterable[bytes]) -> ctypes.Array[ctypes.c_char_p]:
    values = list(texts)
    return (ctypes.c_char_p * len(values))(*values)


@functools.cache
def _driver() -> ctypes.CDLL:
    return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
