//! Conversions between the types of hosts and those that cross the component's boundary.

/// Implements conversions between [`ErrorCode`](crate::ErrorCode) and the codes that a
/// binding generator made from the WIT interface `storage`, or from a world with the same
/// list. Takes the path of the generated module.
#[macro_export]
macro_rules! code_conversions {
    ($module:path) => {
        $crate::__with_contract_codes!($crate::__code_conversions, $module);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __code_conversions {
    ($module:path; $($name:ident)*) => {
        const _: () = {
            use $module as wit;

            impl From<wit::ErrorCode> for $crate::ErrorCode {
                fn from(code: wit::ErrorCode) -> Self {
                    match code {
                        $(wit::ErrorCode::$name => Self::$name,)*
                    }
                }
            }

            impl From<$crate::ErrorCode> for wit::ErrorCode {
                fn from(code: $crate::ErrorCode) -> Self {
                    match code {
                        $($crate::ErrorCode::$name => Self::$name,)*
                        _ => Self::Other,
                    }
                }
            }
        };
    };
}

/// Implements conversions between two types of codecs: that of a module that a binding generator
/// made, and another with the same names. Takes the paths of the module and of the other type.
#[macro_export]
macro_rules! codec_conversions {
    ($module:path, $codec:path) => {
        const _: () = {
            use $codec as Codec;
            use $module as wit;

            impl From<wit::Codec> for Codec {
                fn from(codec: wit::Codec) -> Self {
                    match codec {
                        wit::Codec::Gzip => Self::Gzip,
                        wit::Codec::Zstd => Self::Zstd,
                    }
                }
            }

            impl From<Codec> for wit::Codec {
                fn from(codec: Codec) -> Self {
                    match codec {
                        Codec::Gzip => Self::Gzip,
                        Codec::Zstd => Self::Zstd,
                    }
                }
            }
        };
    };
}

/// Implements conversions between the types of this crate and those that a binding
/// generator made from the WIT interface `snapshots`, which are different types in every
/// crate: options and filters to the component, codecs and metadata from it. Takes the
/// path of the generated module. Call it once per crate.
#[macro_export]
macro_rules! conversions {
    ($snapshots:path) => {
        $crate::codec_conversions!($snapshots, $crate::Codec);

        const _: () = {
            use $crate::{Encryption, Hole, ListFilter, Precondition, SealState, SnapshotMetadata, SnapshotOptions};
            use $snapshots as wit;

            impl From<Precondition> for wit::Precondition {
                fn from(precondition: Precondition) -> Self {
                    match precondition {
                        Precondition::None => Self::None,
                        Precondition::IfAbsent => Self::IfAbsent,
                        Precondition::IfMatch(etag) => Self::IfMatch(etag),
                    }
                }
            }

            impl From<SnapshotOptions> for wit::SaveOptions {
                fn from(options: SnapshotOptions) -> Self {
                    Self {
                        agent_id: options.agent_id,
                        session_id: options.session_id,
                        snapshot_index: options.snapshot_index,
                        description: options.description,
                        labels: options.labels.into_iter().collect(),
                        content_type: options.content_type,
                        extra: options.extra,
                        codec: options.codec.map(wit::Codec::from),
                        level: options.level,
                        snapshot_id: options.snapshot_id,
                        timestamp: options.timestamp,
                        precondition: options.precondition.into(),
                        state_size_hint: options.size_hint,
                        attributes: options.attributes.into_iter().collect(),
                        host_hashes: false,
                    }
                }
            }

            impl From<wit::Metadata> for SnapshotMetadata {
                fn from(metadata: wit::Metadata) -> Self {
                    let mut all = Self::default();
                    all.key = metadata.key;
                    all.kind = metadata.kind;
                    all.snapshot_id = metadata.snapshot_id;
                    all.agent_id = metadata.agent_id;
                    all.session_id = metadata.session_id;
                    all.snapshot_index = metadata.snapshot_index;
                    all.timestamp = metadata.timestamp;
                    all.description = metadata.description;
                    all.labels = metadata.labels.into_iter().collect();
                    all.content_type = metadata.content_type;
                    all.content_hash = metadata.content_hash;
                    all.uncompressed_size = metadata.uncompressed_size;
                    all.compressed_size = metadata.compressed_size;
                    all.compression_algorithm = metadata.compression_algorithm.into();
                    all.format_version = metadata.format_version;
                    all.producer = metadata.producer;
                    all.extra = metadata.extra;
                    all.seal = match metadata.seal {
                        wit::SealState::None => SealState::None,
                        wit::SealState::Checked => SealState::Checked,
                        wit::SealState::NotChecked => SealState::NotChecked,
                        wit::SealState::Wrong => SealState::Wrong,
                    };
                    all.encryption = match metadata.encryption {
                        wit::Encryption::None => Encryption::None,
                        wit::Encryption::Age => Encryption::Age,
                    };
                    all.root = metadata.root;
                    all.digest = metadata.digest;
                    all.etag = metadata.etag;
                    all.stored_size = metadata.stored_size;
                    all
                }
            }

            impl From<wit::Hole> for Hole {
                fn from(hole: wit::Hole) -> Self {
                    Self::new(hole.state_offset, hole.length, hole.object_offset)
                }
            }

            impl From<ListFilter> for wit::ListFilter {
                fn from(filter: ListFilter) -> Self {
                    Self {
                        agent_id: filter.agent_id,
                        session_id: filter.session_id,
                        labels: filter.labels.into_iter().collect(),
                        since: filter.since,
                        until: filter.until,
                    }
                }
            }
        };
    };
}

/// Implements conversions from the types that a binding generator made from the WIT interface
/// `diffs` to those of this crate. Takes the path of the generated module. Call it once per
/// crate.
#[macro_export]
macro_rules! diff_conversions {
    ($diffs:path) => {
        const _: () = {
            use $crate::{Change, DiffKind, Excerpt, Operation};
            use $diffs as wit;

            impl From<wit::DiffKind> for DiffKind {
                fn from(kind: wit::DiffKind) -> Self {
                    match kind {
                        wit::DiffKind::Equal => Self::Equal,
                        wit::DiffKind::Json => Self::Json,
                        wit::DiffKind::Text => Self::Text,
                        wit::DiffKind::Binary => Self::Binary,
                    }
                }
            }

            impl From<wit::Excerpt> for Excerpt {
                fn from(excerpt: wit::Excerpt) -> Self {
                    let wit::Excerpt { text, is_cut, size } = excerpt;
                    Self::new(text, is_cut, size)
                }
            }

            impl From<wit::Change> for Change {
                fn from(change: wit::Change) -> Self {
                    let operation = match change.operation {
                        wit::Operation::Add => Operation::Add,
                        wit::Operation::Remove => Operation::Remove,
                        wit::Operation::Replace => Operation::Replace,
                    };
                    Self::new(operation, change.path, change.before.map(Excerpt::from), change.after.map(Excerpt::from))
                }
            }
        };
    };
}

/// Implements conversions between the types of timelines and those that a binding generator made
/// from the WIT interface `timelines`. Takes the path of the generated module, whose metadata
/// [`conversions`] converts. Call it once per crate.
#[macro_export]
macro_rules! timeline_conversions {
    ($timelines:path) => {
        const _: () = {
            use $crate::{Every, OnConflict, Outcome, Period, Policy, PruneReport, PrunedStep, SnapshotMetadata, Step, StepSelector};
            use $timelines as wit;

            impl From<OnConflict> for wit::OnConflict {
                fn from(on_conflict: OnConflict) -> Self {
                    match on_conflict {
                        OnConflict::Fail => Self::Fail,
                        OnConflict::Rebase => Self::Rebase,
                    }
                }
            }

            impl From<wit::Step> for Step {
                fn from(step: wit::Step) -> Self {
                    let mut all = Self::new(step.number, step.metadata.into());
                    all.restates = step.restates;
                    all
                }
            }

            impl From<&StepSelector> for wit::StepSelector {
                fn from(selector: &StepSelector) -> Self {
                    match selector {
                        StepSelector::Newest => Self::Newest,
                        StepSelector::Number(number) => Self::Number(*number),
                        StepSelector::FromNewest(place) => Self::FromNewest(*place),
                        StepSelector::AtTime(time) => Self::AtTime(time.clone()),
                        StepSelector::Label(name, value) => Self::Label((name.clone(), value.clone())),
                    }
                }
            }

            impl From<Period> for wit::Period {
                fn from(period: Period) -> Self {
                    let Period { years, months, days, hours, .. } = period;
                    Self { years, months, days, hours }
                }
            }

            impl From<&Policy> for wit::Policy {
                fn from(policy: &Policy) -> Self {
                    let keep = |every: Every| wit::KeepOf {
                        count: policy.newest.get(&every).copied().unwrap_or(0),
                        within: policy.newest_within.get(&every).copied().map(wit::Period::from),
                    };
                    Self {
                        last: policy.last,
                        hourly: keep(Every::Hour),
                        daily: keep(Every::Day),
                        weekly: keep(Every::Week),
                        monthly: keep(Every::Month),
                        yearly: keep(Every::Year),
                        within: policy.within.map(wit::Period::from),
                        labels: policy.labels.clone(),
                    }
                }
            }

            impl From<&SnapshotMetadata> for wit::Candidate {
                fn from(metadata: &SnapshotMetadata) -> Self {
                    Self { timestamp: metadata.timestamp.clone(), labels: metadata.labels.clone().into_iter().collect() }
                }
            }

            impl From<wit::PruneReport> for PruneReport {
                fn from(report: wit::PruneReport) -> Self {
                    let step = |step: wit::PrunedStep| {
                        let outcome = match step.outcome {
                            wit::Outcome::Kept(rules) => Outcome::Kept(rules),
                            wit::Outcome::Hidden => Outcome::Hidden,
                            wit::Outcome::Removed => Outcome::Removed,
                        };
                        PrunedStep::new(step.number, step.timestamp, step.stored_size, outcome)
                    };
                    let mut all = Self::default();
                    all.steps = report.steps.into_iter().map(step).collect();
                    all.restated_as = report.restated_as;
                    all.freed = report.freed;
                    all.left = report.left;
                    all
                }
            }
        };
    };
}
