"""Bits of a header read one field after the other, as the standards of H.264, HEVC and WMV write their syntax."""


class Bits:
    """A reader of fields from the first bit on. Raises EOFError past the end."""

    def __init__(self, data: bytes) -> None:
        self.value, self.left = int.from_bytes(data), 8 * len(data)

    def take(self, count: int) -> int:
        """u(count): an unsigned number of so many bits."""
        self.left -= count
        if self.left < 0:
            raise EOFError
        return self.value >> self.left & ((1 << count) - 1)

    def number(self) -> int:
        """ue(v): an unsigned Exp-Golomb number (ISO 14496-10, 9.1). A signed one takes the same bits."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

    def signed(self) -> int:
        """se(v): 0, 1, -1, 2, -2, …"""
        number = self.number()
        return (number + 1) // 2 if number % 2 else -(number // 2)


def unescaped(data: bytes) -> bytes:
    """The bytes of a NAL unit without those that keep start codes out of it (ISO 14496-10, 7.4.1)."""
    return data.replace(b"\0\0\3", b"\0\0")
