"""Accounts the memory of every tensor on one kind of device, also of one that is not there. Needs torch and numpy.

Where there is no card, computations run on torch's `meta` device: the same code with the same shapes, number formats
and lifetimes, without the numbers. What reaches the CPU from there is ones.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from support.cuda_allocator import Block, CachingAllocator, CardFull
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
LIBRARY_CALLS = frozenset({aten.convolution, aten.bmm, aten.mm, aten.addmm, aten.baddbmm})  # cuDNN and cuBLAS


class TensorMeter(TorchDispatchMode):
    """While active, whatever torch makes on the device is taken from `allocator` until it is gone.

    It sees what kernels return. It does not see what they take and give back inside; `copies` stands for that.
    """

    def __init__(self, allocator: CachingAllocator, device_type: str = "meta", *, copies: bool = False) -> None:
        """Account for one process.

        Args:
            allocator: Of the process.
            device_type: Where its tensors are.
            copies: Let each convolution and matrix product take, while it runs, as much again as its operands and its
                result: as a library that rearranges all of them first.
        """
        super().__init__()
        self.allocator = allocator
        self._device_type = device_type
        self._copies = copies
        self._blocks: dict[int, weakref.finalize[Any, Any]] = {}  # by the storage's address

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if _is_composite(func):  # in inference mode these arrive whole
            with self:
                return func.decompose(*args, **kwargs)
        if self._device_type == "meta" and func is aten._to_copy.default and _leaves(args[0], kwargs):
            return torch.ones(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        result = func(*args, **kwargs)
        made = [each for each in pytree.tree_leaves(result) if self._is_here(each)]
        for tensor in made:
            self.account(tensor)
        if self._copies and func.overloadpacket in LIBRARY_CALLS:
            tensors = made + [each for each in pytree.arg_tree_leaves(*args, **kwargs) if self._is_here(each)]
            self.allocator.release(self._allocate(sum(each.nbytes for each in tensors)))
        return result

    def _is_here(self, value: Any) -> bool:
        return isinstance(value, torch.Tensor) and value.device.type == self._device_type

    def account(self, tensor: torch.Tensor) -> None:
        """Count a tensor; the meter does so with those that are made while it is active."""
        storage = tensor.untyped_storage()
        address = storage._cdata
        if storage.nbytes() and address not in self._blocks:
            block = self._allocate(storage.nbytes())
            self._blocks[address] = weakref.finalize(storage, self._forget, address, block)

    def _allocate(self, size: int) -> Block:
        try:
            return self.allocator.allocate(size)
        except CardFull as error:
            raise torch.OutOfMemoryError(str(error)) from None

    def _forget(self, address: int, block: Block) -> None:
        del self._blocks[address]
        self.allocator.release(block)


@contextmanager
def read_as_cuda(allocator: CachingAllocator) -> Iterator[None]:
    """Let torch.cuda's questions about memory be answered by `allocator`, and its limit be set there."""

    def set_fraction(fraction: float, _device: object = None) -> None:
        allocator.limit_bytes = int(fraction * allocator.card.total_bytes)

    answers: dict[str, Any] = {
        "mem_get_info": lambda _device=None: (allocator.card.free_bytes, allocator.card.total_bytes),
        "memory_allocated": lambda _device=None: allocator.allocated_bytes,
        "memory_reserved": lambda _device=None: allocator.reserved_bytes,
        "max_memory_allocated": lambda _device=None: allocator.peak_allocated_bytes,
        "max_memory_reserved": lambda _device=None: allocator.peak_reserved_bytes,
        "reset_peak_memory_stats": lambda _device=None: allocator.reset_peaks(),
        "empty_cache": allocator.empty_cache,
        "set_per_process_memory_fraction": set_fraction,
        "is_available": lambda: True,
    }
    with mock.patch.multiple(torch.cuda, **answers):
        yield


@functools.cache
def _is_composite(func: Any) -> bool:
    return func.namespace == "aten" and torch._C._dispatch_has_kernel_for_dispatch_key(
        func.name(), "CompositeImplicitAutograd"
    )


def _leaves(tensor: torch.Tensor, kwargs: Mapping[str, Any]) -> bool:
    """Whether a copy goes from the device that has no numbers to one that needs some."""
    target = kwargs.get("device")
    return tensor.device.type == "meta" and target is not None and torch.device(target).type != "meta"
