"""Ways to break a GGUF file on purpose."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from gguf import GGUFReader, GGUFValueType, GGUFWriter


def rewrite_gguf(path: Path, fields: Mapping[str, object], scale: Mapping[str, float] | None = None) -> None:
    """Writes the file again with other values for some fields, and some tensors multiplied."""
    reader = GGUFReader(path)
    architecture = str(reader.fields["general.architecture"].contents())
    target = path.with_suffix(".broken")
    writer = GGUFWriter(target, architecture)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = fields.get(name, field.contents())
        kind = field.types[0]
        sub = field.types[-1] if kind == GGUFValueType.ARRAY else None
        writer.add_key_value(name, value, kind, sub)
    for name in fields.keys() - reader.fields.keys():
        writer.add_key_value(name, fields[name], GGUFValueType.UINT32)
    for tensor in reader.tensors:
        data = tensor.data
        factor = (scale or {}).get(tensor.name)
        if factor is not None:
            data = (np.asarray(data, dtype=np.float32) * factor).astype(data.dtype)
        writer.add_tensor(tensor.name, data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    target.replace(path)
