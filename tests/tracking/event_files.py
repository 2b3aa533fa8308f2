"""Reads TensorBoard's files."""

import struct


def numbers_of(folder):
    """Steps and values by name, read as TensorBoard does: records with checksums, up to one that is cut off."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    found = {}
    for file in sorted(folder.iterdir()):
        content = file.read_bytes()
        while len(content) >= 12:
            (length,) = struct.unpack("<Q", content[:8])
            head, body, tail = content[:8], content[12 : 12 + length], content[12 + length : 16 + length]
            if len(tail) < 4:  # a killed start's
                break
            assert struct.unpack("<I", content[8:12]) == (masked_crc32c(head),)
            assert struct.unpack("<I", tail) == (masked_crc32c(body),)
            event = Event.FromString(body)
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found.setdefault(value.tag, []).append((event.step, value.simple_value))
            content = content[16 + length :]
    return found
