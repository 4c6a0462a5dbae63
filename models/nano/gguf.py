"""A small GGUF version 3 writer and reader: metadata, and tensors as F32, F16, BF16 or Q8_0.

Arrays are numpy; a tensor's numpy shape is the reverse of GGUF's extents.
"""

import struct

import numpy as np

ALIGNMENT = 32
F32, F16, Q8_0, BF16 = 0, 1, 8, 30
TYPES = {"F32": F32, "F16": F16, "Q8_0": Q8_0, "BF16": BF16}
# type: values in a block, bytes of a block
BLOCKS = {F32: (1, 4), F16: (1, 2), Q8_0: (32, 34), BF16: (1, 2)}

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q",
            12: "d"}
_NUMBER = {"u8": 0, "i8": 1, "u16": 2, "i16": 3, "u32": 4, "i32": 5, "f32": 6, "bool": 7,
           "str": 8, "u64": 10, "i64": 11, "f64": 12}


def encode_tensor(array, kind):
    """Bytes of the array in the given type."""
    x = np.ascontiguousarray(array, dtype=np.float32)
    if kind == F32:
        return x.tobytes()
    if kind == F16:
        return x.astype(np.float16).tobytes()
    if kind == BF16:
        bits = x.view(np.uint32)
        rounded = bits + 0x7FFF + ((bits >> 16) & 1)
        return (rounded >> 16).astype(np.uint16).tobytes()
    if kind != Q8_0:
        raise ValueError(f"tensor type {kind} cannot be written")
    x = x.reshape(-1, 32)
    d = np.abs(x).max(axis=1, keepdims=True) / np.float32(127)
    inverse = np.divide(np.float32(1), d, out=np.zeros_like(d), where=d > 0)
    scaled = x * inverse
    q = (np.sign(scaled) * np.floor(np.abs(scaled) + np.float32(0.5))).astype(np.int8)
    block = np.empty(len(x), dtype=[("d", "<f2"), ("q", "i1", 32)])
    block["d"], block["q"] = d[:, 0].astype(np.float16), q
    return block.tobytes()


def decode_tensor(data, kind, shape):
    """The float32 values of a tensor's bytes."""
    if kind == F32:
        x = np.frombuffer(data, "<f4")
    elif kind == F16:
        x = np.frombuffer(data, "<f2").astype(np.float32)
    elif kind == BF16:
        x = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    elif kind == Q8_0:
        block = np.frombuffer(data, dtype=[("d", "<f2"), ("q", "i1", 32)])
        x = block["d"].astype(np.float32)[:, None] * block["q"].astype(np.float32)
    else:
        raise ValueError(f"tensor type {kind} cannot be read")
    return x.reshape(shape).copy()


def _string(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(kind, value):
    if kind == "str":
        return _string(value)
    return struct.pack("<" + _SCALARS[_NUMBER[kind]], value)


def write(path, metadata, tensors):
    """metadata: list of (key, kind, value), kind 'u32', 'str', ... or '[str]' for an array.
    tensors: list of (name, numpy array, type id)."""
    head = bytearray(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)))
    for key, kind, value in metadata:
        head += _string(key)
        if kind.startswith("["):
            inner = kind[1:-1]
            head += struct.pack("<IIQ", 9, _NUMBER[inner], len(value))
            head += b"".join(_value(inner, v) for v in value)
        else:
            head += struct.pack("<I", _NUMBER[kind]) + _value(kind, value)
    at, blobs = 0, []
    for name, array, kind in tensors:
        data = encode_tensor(array, kind)
        extents = array.shape[::-1]
        if extents[0] % BLOCKS[kind][0]:
            raise ValueError(f"{name}: rows of {extents[0]} values do not fit tensor type {kind}")
        head += _string(name) + struct.pack("<I", len(extents))
        head += struct.pack(f"<{len(extents)}QIQ", *extents, kind, at)
        data += bytes(-len(data) % ALIGNMENT)
        at += len(data)
        blobs.append(data)
    head += bytes(-len(head) % ALIGNMENT)
    with open(path, "wb") as f:
        f.write(head)
        for blob in blobs:
            f.write(blob)


class _Cursor:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        value = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return value[0]

    def string(self):
        n = self.take("Q")
        self.at += n
        return self.data[self.at - n:self.at].decode()

    def value(self, kind):
        if kind == 8:
            return self.string()
        if kind == 9:
            inner, n = self.take("I"), self.take("Q")
            return [self.value(inner) for _ in range(n)]
        return self.take(_SCALARS[kind])


def read(path, dequantise=True):
    """(metadata dict, tensors dict). Tensors are float32 arrays, or with dequantise=False
    triples (type id, numpy shape, bytes)."""
    with open(path, "rb") as f:
        data = f.read()
    cursor = _Cursor(data)
    if data[:4] != b"GGUF":
        raise ValueError(f"{path} is not a GGUF file")
    cursor.at = 4
    version, n_tensor, n_key = cursor.take("I"), cursor.take("Q"), cursor.take("Q")
    if version not in (2, 3):
        raise ValueError(f"{path}: GGUF version {version} is not supported")
    metadata = {}
    for _ in range(n_key):
        key = cursor.string()
        metadata[key] = cursor.value(cursor.take("I"))
    infos = []
    for _ in range(n_tensor):
        name = cursor.string()
        extents = [cursor.take("Q") for _ in range(cursor.take("I"))]
        infos.append((name, tuple(extents[::-1]), cursor.take("I"), cursor.take("Q")))
    alignment = metadata.get("general.alignment", ALIGNMENT)
    start = -(-cursor.at // alignment) * alignment
    tensors = {}
    for name, shape, kind, offset in infos:
        if kind not in BLOCKS:
            raise ValueError(f"{path}: tensor {name} has type {kind}, which cannot be read")
        per_block, block_bytes = BLOCKS[kind]
        n_byte = int(np.prod(shape)) // per_block * block_bytes
        raw = data[start + offset:start + offset + n_byte]
        tensors[name] = decode_tensor(raw, kind, shape) if dequantise else (kind, shape, raw)
    return metadata, tensors
