//! The names in a folder, packed into one byte vector so that the memory of a listing of
//! millions of files is known.

use std::mem::size_of;

/// The size in bytes of the length that precedes each name.
const LENGTH: usize = size_of::<u16>();

/// The smallest names of a folder, as many as fit, in byte order.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// The names, each preceded by its length.
    bytes: Vec<u8>,
    /// The offset of each name.
    starts: Vec<u32>,
    room: usize,
    most: usize,
    /// The smallest name that was dropped, together with all larger ones.
    bound: Option<Vec<u8>>,
    /// How many names were returned.
    given: usize,
}

fn name_at(bytes: &[u8], start: u32) -> &[u8] {
    let rest = bytes.get(start as usize..).unwrap_or_default();
    let Some((length, rest)) = rest.split_first_chunk::<LENGTH>() else { return &[] };
    rest.get(..usize::from(u16::from_ne_bytes(*length))).unwrap_or_default()
}

impl Names {
    /// Creates an empty set for at most `most` names in `room` bytes. One name always
    /// fits.
    pub(crate) fn new(room: usize, most: usize) -> Self {
        Self { room, most, ..Self::default() }
    }

    /// Returns the memory of the names in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.bytes.len() + self.starts.len() * size_of::<u32>()
    }

    /// Returns whether no name was dropped.
    pub(crate) fn is_complete(&self) -> bool {
        self.bound.is_none()
    }

    /// Adds a name. If there is no room for it, the larger half of all names is dropped.
    pub(crate) fn add(&mut self, name: &[u8]) {
        // No file system has longer names.
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
        // In memory order, so that each name can be moved to the front.
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

    /// Sorts the names. Call this once all are added.
    pub(crate) fn sort(&mut self) {
        let bytes = &self.bytes;
        self.starts.sort_unstable_by(|a, b| name_at(bytes, *a).cmp(name_at(bytes, *b)));
        self.bytes.shrink_to_fit();
        self.starts.shrink_to_fit();
    }

    /// Returns the next name. A name that was added twice is returned twice.
    pub(crate) fn next_name(&mut self) -> Option<&[u8]> {
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
        // 7919 is prime, so every number occurs once.
        (0..count).map(|number| format!("{:05}", number * 7919 % count).into_bytes()).collect()
    }

    fn given(names: &mut Names) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| names.next_name().map(<[u8]>::to_vec)).collect()
    }

    #[test]
    fn the_smallest_names_are_kept_in_order() {
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
