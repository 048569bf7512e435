//! Damaged files for readers in Python, all in one process.

/// The Python functions for a harness: `report` checks that every damaged file is
/// refused, and prints how many there were.
const REPORT: &str = "
import sys

def damaged(whole, bits):
    # Flipped bits (this many in each byte), truncations and added bytes.
    for at in range(len(whole)):
        for bit in range(bits):
            yield whole[:at] + bytes([whole[at] ^ 1 << (at + bit) % 8]) + whole[at + 1 :]
    for length in range(len(whole)):
        yield whole[:length]
    for at in range(len(whole) + 1):
        for value in (0, 255):
            yield whole[:at] + bytes([value]) + whole[at:]

def report(whole, refuses, bits):
    answers = [refuses(file) for file in damaged(whole, bits)]
    assert all(answers), [number for number, refused in enumerate(answers) if not refused]
    print(len(answers))
";

/// Returns a harness that can call `report(whole, refuses, bits)`.
pub fn harness(harness: &str) -> String {
    format!("{REPORT}{harness}")
}
