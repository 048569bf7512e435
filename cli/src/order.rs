//! The order of a listing.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use clap::{Args, ValueEnum};
use persist_model::SnapshotMetadata;
use persist_paths::StorageLocation;
use persist_paths::key::natural_order;

/// The order of the snapshots that were found, and how many of them to list.
#[derive(Args, Clone, Copy)]
pub(crate) struct Order {
    /// What to sort by. Numbers in keys are compared as numbers.
    #[arg(long, value_enum, default_value = "key")]
    sort: Sort,
    /// Reverse the order: the last, the newest or the largest first.
    #[arg(long)]
    reverse: bool,
    /// List only the first N.
    #[arg(short = 'n', long = "limit", value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// List only the latest snapshot of each session: the one with the highest index, or,
    /// if several have it, the one taken last.
    #[arg(long)]
    latest: bool,
}

impl Order {
    /// Returns whether this is the order in which the storage lists them.
    pub(crate) fn is_natural(self) -> bool {
        self.sort == Sort::Key && !self.reverse && !self.latest
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// The key.
    Key,
    /// The time when the snapshot was taken.
    Time,
    /// The size of the state.
    Size,
}

impl Sort {
    fn compare(self, a: &SnapshotMetadata, b: &SnapshotMetadata) -> Ordering {
        let first = match self {
            Self::Key => Ordering::Equal,
            Self::Time => a.timestamp.cmp(&b.timestamp),
            Self::Size => a.uncompressed_size.cmp(&b.uncompressed_size),
        };
        first.then_with(|| natural_order(&a.key, &b.key))
    }
}

/// Compares two snapshots of a session by age.
pub(crate) fn by_age(a: &SnapshotMetadata, b: &SnapshotMetadata) -> Ordering {
    let (first, second) = (a.snapshot_index.cmp(&b.snapshot_index), a.timestamp.cmp(&b.timestamp));
    first.then(second).then_with(|| natural_order(&a.key, &b.key))
}

/// A snapshot, and the location that its key is relative to.
pub(crate) type Listed = (StorageLocation, Box<SnapshotMetadata>);

/// Snapshots that are collected to be sorted or compared.
pub(crate) struct Waiting {
    order: Order,
    all: Vec<Listed>,
    latest: HashMap<(String, String), Listed>,
}

/// How many snapshots beyond the limit are kept before the surplus is dropped.
const SURPLUS: usize = 1000;

impl Waiting {
    pub(crate) fn new(order: Order) -> Self {
        Self { order, all: Vec::new(), latest: HashMap::new() }
    }

    fn compare(&self, a: &SnapshotMetadata, b: &SnapshotMetadata) -> Ordering {
        let order = self.order.sort.compare(a, b);
        if self.order.reverse { order.reverse() } else { order }
    }

    pub(crate) fn add(&mut self, listed: Listed) {
        if self.order.latest {
            let session = (listed.1.agent_id.clone(), listed.1.session_id.clone());
            match self.latest.entry(session) {
                Entry::Vacant(entry) => {
                    entry.insert(listed);
                }
                Entry::Occupied(mut entry) => {
                    if by_age(&entry.get().1, &listed.1).is_lt() {
                        entry.insert(listed);
                    }
                }
            }
            return;
        }
        self.all.push(listed);
        if let Some(limit) = self.order.limit
            && self.all.len() > limit.saturating_add(SURPLUS)
        {
            self.sort();
            self.all.truncate(limit);
        }
    }

    fn sort(&mut self) {
        let mut all = std::mem::take(&mut self.all);
        all.sort_by(|a, b| self.compare(&a.1, &b.1));
        self.all = all;
    }

    pub(crate) fn in_order(mut self) -> impl Iterator<Item = Listed> {
        let latest = std::mem::take(&mut self.latest);
        self.all.extend(latest.into_values());
        self.sort();
        let limit = self.order.limit.unwrap_or(usize::MAX);
        self.all.into_iter().take(limit)
    }
}
