//! What the storage contract (`wit/storage.wit`) requires of every storage. Each check
//! gets its own empty storage.

/// Calls a macro with the names of all checks. The key of the first is too long for some
/// storages.
macro_rules! for_each_check {
    ($callback:ident) => {
        $callback! {
            the_longest_key_is_kept,
            what_is_written_is_read,
            content_type_and_attributes_are_kept,
            a_read_of_no_bytes_changes_nothing,
            many_ranges_are_read_in_one_call,
            a_range_is_copied_or_refused,
            many_objects_are_deleted_in_one_call,
            a_level_is_listed_without_what_is_below,
            a_range_is_cut_at_the_end,
            a_missing_object_is_not_found,
            a_dropped_writer_leaves_nothing,
            a_reader_reads_one_version,
            if_absent_is_enforced_or_refused,
            if_match_is_enforced_or_refused,
            a_deleted_object_is_gone,
            a_listing_is_paged_and_in_byte_order,
            a_hostile_key_is_refused_everywhere,
            an_unusual_key_is_kept_unchanged,
            concurrent_writers_of_one_key_leave_a_complete_object,
            the_convenience_methods_work_on_locations,
            errors_name_the_location,
        }
    };
}

mod deleting;
#[cfg(unix)]
pub(crate) mod files;
mod helpers;
mod keys;
mod listing;
mod preconditions;
mod reading;
mod writing;

pub(crate) use deleting::*;
pub(crate) use helpers::Storage;
pub(crate) use keys::*;
pub(crate) use listing::*;
pub(crate) use preconditions::*;
pub(crate) use reading::*;
pub(crate) use writing::*;
