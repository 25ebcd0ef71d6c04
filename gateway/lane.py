"""Where a frame ends: the border that the front finds by itself, for every frame. Pure, no I/O.

What is inside a frame, and whether it may be, is the protocol's business; but the protocol is given
whole frames only, so that it never waits in the middle of one.
"""

MASKED = 0x80
LENGTH = 0x7F
MASK_BYTES = 4


def piece_end(data: bytes | bytearray, at: int, payload_bytes_max: int) -> int:
    """Where the piece ends that the protocol has to see of the frame that begins at `at`.

    That is the frame; or just its head when it is not masked or too long, on which the protocol
    fails. Beyond `len(data)`: as many bytes must be there before it can be told or handed over.
    """
    size = len(data)
    begin = at + 2
    if begin > size:
        return begin
    second = data[at + 1]
    length = second & LENGTH
    if length > 125:
        begin += 2 if length == 126 else 8
        if begin > size:
            return begin
        length = int.from_bytes(data[at + 2 : begin])
    if not second & MASKED or length > payload_bytes_max:
        return begin
    return begin + MASK_BYTES + length
