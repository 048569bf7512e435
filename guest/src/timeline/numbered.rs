//! A map from numbers, mostly filled in ascending order: a sorted vector. Each kind of
//! `BTreeMap` adds about 10 KB to the component; this adds a few hundred bytes.

use std::ops::RangeInclusive;

/// Values by number, in ascending order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Numbered<T>(Vec<(u64, T)>);

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Numbered<T> {
    fn position(&self, number: u64) -> Result<usize, usize> {
        // The usual case.
        if self.0.last().is_none_or(|(last, _)| *last < number) {
            return Err(self.0.len());
        }
        self.0.binary_search_by_key(&number, |(found, _)| *found)
    }

    /// Sets the value of a number.
    pub(crate) fn insert(&mut self, number: u64, value: T) {
        match self.position(number) {
            Ok(at) => {
                if let Some((_, old)) = self.0.get_mut(at) {
                    *old = value;
                }
            }
            Err(at) => self.0.insert(at, (number, value)),
        }
    }

    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        self.position(number).ok().and_then(|at| self.0.get(at)).map(|(_, value)| value)
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        self.position(number).is_ok()
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<T> {
        self.position(number).ok().map(|at| self.0.remove(at).1)
    }

    /// Returns the value of the highest number up to this one.
    pub(crate) fn at_or_below(&self, number: u64) -> Option<(u64, &T)> {
        let end = self.0.partition_point(|(found, _)| *found <= number);
        self.0.get(end.checked_sub(1)?).map(|(number, value)| (*number, value))
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &T)> + Clone {
        self.0.iter().map(|(number, value)| (*number, value))
    }

    pub(crate) fn numbers(&self) -> impl DoubleEndedIterator<Item = u64> + Clone {
        self.0.iter().map(|(number, _)| *number)
    }

    pub(crate) fn range(&self, range: RangeInclusive<u64>) -> impl DoubleEndedIterator<Item = (u64, &T)> + Clone {
        let start = self.0.partition_point(|(number, _)| number < range.start());
        let end = self.0.partition_point(|(number, _)| number <= range.end());
        self.0.get(start..end).unwrap_or_default().iter().map(|(number, value)| (*number, value))
    }

    /// Keeps the numbers for which this is true.
    pub(crate) fn retain(&mut self, is_kept: impl Fn(u64) -> bool) {
        self.0.retain(|(number, _)| is_kept(*number));
    }

    /// Keeps the numbers whose values are so.
    pub(crate) fn retain_values(&mut self, is_kept: impl Fn(&T) -> bool) {
        self.0.retain(|(_, value)| is_kept(value));
    }

    /// Returns the numbers and values, in ascending order.
    pub(crate) fn into_vec(self) -> Vec<(u64, T)> {
        self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Numbered<()> {
    /// Adds numbers, which are best in ascending order.
    pub(crate) fn extend(&mut self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            if !self.contains(number) {
                self.insert(number, ());
            }
        }
    }

    /// Returns these numbers, in any order.
    pub(crate) fn of(mut numbers: Vec<u64>) -> Self {
        numbers.sort_unstable();
        numbers.dedup();
        Self(numbers.into_iter().map(|number| (number, ())).collect())
    }
}

impl<T> Numbered<T> {
    /// Returns the value of a number, which is added if it is missing.
    pub(crate) fn or_insert_with(&mut self, number: u64, value: impl FnOnce() -> T) -> &mut T {
        let at = match self.position(number) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, (number, value()));
                at
            }
        };
        #[allow(clippy::indexing_slicing, reason = "the value was found or added there")]
        &mut self.0[at].1
    }
}

impl<T: Default> Numbered<T> {
    /// Returns the value of a number, which is added with its default if it is missing.
    pub(crate) fn or_default(&mut self, number: u64) -> &mut T {
        self.or_insert_with(number, T::default)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map(numbers in prop::collection::vec((0..40_u64, any::<u8>(), any::<bool>()), 0..100)) {
            let (mut map, mut model) = (Numbered::default(), BTreeMap::new());
            for (number, value, is_removed) in numbers {
                if is_removed {
                    prop_assert_eq!(map.remove(number), model.remove(&number));
                } else {
                    map.insert(number, value);
                    model.insert(number, value);
                }
                *map.or_default(value.into()) = value;
                *model.entry(value.into()).or_default() = value;
            }
            prop_assert!(map.iter().eq(model.iter().map(|(number, value)| (*number, value))));
            for number in 0..45 {
                prop_assert_eq!(map.get(number), model.get(&number));
                prop_assert_eq!(map.contains(number), model.contains_key(&number));
                prop_assert_eq!(map.at_or_below(number), model.range(..=number).next_back().map(|(number, value)| (*number, value)));
                prop_assert!(map.range(10..=number).eq(model.range(10..=number.max(10)).filter(|(found, _)| **found <= number).map(|(number, value)| (*number, value))));
            }
        }
    }
}
