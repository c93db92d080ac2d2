"""Tensors of the protocol as NumPy arrays and back."""

import numpy

from protocol import Failure, pack_strings, unpack_strings

_DTYPES = {"f32": "<f4", "f64": "<f8", "f16": "<f2", "i8": "i1", "i16": "<i2", "i32": "<i4", "i64": "<i8", "u8": "u1", "u16": "<u2",
           "u32": "<u4", "u64": "<u8", "bool": "?", "c64": "<c8", "c128": "<c16"}
_NAMES = {numpy.dtype(code): name for name, code in _DTYPES.items()}


def to_array(value, payloads):
    dtype, shape = value["dtype"], value["shape"]
    data = payloads[value["payload"]]
    if dtype == "string":
        texts = numpy.empty(shape, dtype=object)
        texts.reshape(-1)[:] = [text.decode() for text in unpack_strings(data)]
        return texts
    if dtype not in _DTYPES:
        raise Failure("unsupported", f"NumPy has no {dtype}")
    return numpy.frombuffer(data, dtype=_DTYPES[dtype]).reshape(shape)


def to_python(value, payloads):
    """Arrays, lists of what sequences hold, dictionaries, None."""
    if value is None:
        return None
    if "sequence" in value:
        return [to_python(item, payloads) for item in value["sequence"]]
    if "keys" in value:
        return dict(zip(value["keys"], (to_python(v, payloads) for v in value["values"])))
    return to_array(value, payloads)


def from_array(array, payloads):
    array = numpy.asarray(array)
    if array.dtype.kind in "OUS":
        texts = [t if isinstance(t, bytes) else str(t).encode() for t in array.reshape(-1)]
        payloads.append(pack_strings(texts))
        name = "string"
    else:
        name = _NAMES.get(array.dtype)
        if name is None:
            raise Failure("unsupported", f"there is no dtype for NumPy's {array.dtype}")
        # ascontiguousarray makes one dimension of none.
        payloads.append(numpy.ascontiguousarray(array).reshape(-1).view("u1") if array.size else b"")
    return {"dtype": name, "shape": list(array.shape), "payload": len(payloads) - 1}


def from_python(value, payloads):
    if value is None:
        return None
    if isinstance(value, list):
        items = [from_python(item, payloads) for item in value]
        dtypes = [item["dtype"] for item in items if item and "dtype" in item]
        return {"sequence": items, "dtype": dtypes[0] if dtypes else "f32"}
    if isinstance(value, dict):
        return {"keys": list(value), "values": [from_array(v, payloads) for v in value.values()]}
    return from_array(value, payloads)
