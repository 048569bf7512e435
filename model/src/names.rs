//! The names in a folder, packed into one run of bytes, so that a listing of
//! millions of files has a known size.

use std::mem::size_of;

/// Bytes of a name's length, which stands before it.
const LENGTH: usize = size_of::<u16>();

/// The smallest names of a folder that fit, to be given out in the order of
/// their bytes.
#[derive(Debug, Default)]
pub struct Names {
    /// Each name with its length before it.
    bytes: Vec<u8>,
    /// Where each of them begins.
    starts: Vec<u32>,
    room: usize,
    most: usize,
    /// This name and all larger ones were dropped.
    bound: Option<Vec<u8>>,
    /// How many were given out.
    given: usize,
}

fn name_at(bytes: &[u8], start: u32) -> &[u8] {
    let rest = bytes.get(start as usize..).unwrap_or_default();
    let Some((length, rest)) = rest.split_first_chunk::<LENGTH>() else { return &[] };
    rest.get(..usize::from(u16::from_ne_bytes(*length))).unwrap_or_default()
}

impl Names {
    /// No names yet: at most `room` bytes of them, and at most `most`. One name
    /// is held whatever its size.
    pub fn new(room: usize, most: usize) -> Self {
        Self { room, most, ..Self::default() }
    }

    /// The bytes that the names take.
    pub fn memory(&self) -> usize {
        self.bytes.len() + self.starts.len() * size_of::<u32>()
    }

    /// Whether no name was dropped.
    pub fn is_complete(&self) -> bool {
        self.bound.is_none()
    }

    /// Adds a name. Where there is no room for it, the larger half of all goes.
    pub fn add(&mut self, name: &[u8]) {
        // No file system has a longer name.
        let Ok(length) = u16::try_from(name.len()) else { return };
        let size = LENGTH + name.len() + size_of::<u32>();
        loop {
            if self.bound.as_ref().is_some_and(|bound| name >= bound.as_slice()) {
                return;
            }
            let is_full = self.memory() + size > self.room || self.starts.len() >= self.most;
            match self.starts.as_slice() {
                [only] if is_full && name >= name_at(&self.bytes, *only) => {
                    self.bound = Some(name.to_vec());
                    return;
                }
                [_, ..] if is_full => self.drop_larger_half(),
                _ => break,
            }
        }
        let Ok(start) = u32::try_from(self.bytes.len()) else { return };
        self.starts.push(start);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(name);
    }

    fn drop_larger_half(&mut self) {
        let bytes = &self.bytes;
        let kept = self.starts.len() / 2;
        let (_, middle, _) = self.starts.select_nth_unstable_by(kept, |a, b| name_at(bytes, *a).cmp(name_at(bytes, *b)));
        self.bound = Some(name_at(bytes, *middle).to_vec());
        self.starts.truncate(kept);
        // In the order in which they lie, each moves to the front.
        self.starts.sort_unstable();
        let mut end = 0;
        for start in &mut self.starts {
            let length = LENGTH + name_at(&self.bytes, *start).len();
            let from = *start as usize;
            self.bytes.copy_within(from..from + length, end);
            *start = u32::try_from(end).unwrap_or(u32::MAX);
            end += length;
        }
        self.bytes.truncate(end);
    }

    /// Puts the names in order, once all are there.
    pub fn sort(&mut self) {
        let bytes = &self.bytes;
        self.starts.sort_unstable_by(|a, b| name_at(bytes, *a).cmp(name_at(bytes, *b)));
        self.bytes.shrink_to_fit();
        self.starts.shrink_to_fit();
    }

    /// The next name. A name that was added twice is given twice.
    pub fn next_name(&mut self) -> Option<&[u8]> {
        let start = *self.starts.get(self.given)?;
        self.given += 1;
        Some(name_at(&self.bytes, start))
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn shuffled(count: usize) -> Vec<Vec<u8>> {
        // 7919 is prime, so that each number comes once.
        (0..count).map(|number| format!("{:05}", number * 7919 % count).into_bytes()).collect()
    }

    fn given(names: &mut Names) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| names.next_name().map(<[u8]>::to_vec)).collect()
    }

    #[test]
    fn the_smallest_that_fit_are_kept_in_order() {
        let all = shuffled(1000);
        let mut sorted = all.clone();
        sorted.sort();
        for (room, most) in [(usize::MAX, usize::MAX), (500, usize::MAX), (usize::MAX, 20), (1, usize::MAX), (usize::MAX, 1), (0, 0)] {
            for order in [&all, &sorted, &sorted.iter().rev().cloned().collect()] {
                let mut names = Names::new(room, most);
                for name in order {
                    names.add(name);
                    assert!(names.memory() <= room.max(LENGTH + 5 + 4), "{room} {most}");
                }
                names.sort();
                let is_complete = names.is_complete();
                let kept = given(&mut names);
                assert!(!kept.is_empty() && kept == sorted[..kept.len()], "{room} {most}: {kept:?}");
                assert_eq!(is_complete, kept.len() == 1000);
                if most == 20 {
                    assert!(kept.len() >= 10 && kept.len() <= 20, "{}", kept.len());
                }
            }
        }
    }
}
