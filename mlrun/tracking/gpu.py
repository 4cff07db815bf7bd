"""NVIDIA GPUs through NVML, when a driver and the `pynvml` module are there; otherwise there are none."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mlrun.tracking.importing import importing

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["GPU", "gpus"]


class GPU:
    """One GPU.

    Attributes:
        index: its number in NVML.
        name: product name.
        memory_bytes: memory of the device.
    """

    def __init__(self, nvml: Any, index: int) -> None:
        self._nvml = nvml
        self._handle = nvml.nvmlDeviceGetHandleByIndex(index)
        self.index = index
        name = nvml.nvmlDeviceGetName(self._handle)
        self.name = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
        self.memory_bytes = int(nvml.nvmlDeviceGetMemoryInfo(self._handle).total)

    def sample(self) -> dict[str, float]:
        """Read what the device tells now: percent, bytes, watts, degrees Celsius; what it cannot tell is left out."""
        nvml, handle = self._nvml, self._handle
        readers: dict[str, Callable[[], Any]] = {
            "utilization_percent": lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu,
            "memory_used_bytes": lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used,
            "power_watts": lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000.0,
            "temperature_celsius": lambda: nvml.nvmlDeviceGetTemperature(
                handle, nvml.NVML_TEMPERATURE_GPU
            ),
        }
        out: dict[str, float] = {}
        for name, read in readers.items():
            try:
                out[name] = float(read())
            except Exception:  # noqa: BLE001 - NVMLError when a device lacks this sensor
                continue
        if "memory_used_bytes" in out and self.memory_bytes:
            out["memory_percent"] = 100.0 * out["memory_used_bytes"] / self.memory_bytes
        return out


def gpus() -> list[GPU]:
    """Return the GPUs of this host; empty without driver, module or devices.

    Takes tens of milliseconds the first time; never raises.
    """
    try:
        with importing():
            nvml: Any = import_module("pynvml")
        nvml.nvmlInit()
        return [GPU(nvml, index) for index in range(nvml.nvmlDeviceGetCount())]
    except Exception:  # noqa: BLE001 - no module, no driver, no permission: there are no GPUs to watch
        return []
