//! Exports the functions of the WIT world `tool-provider`.

use crate::bindings::{generated as tools, snapshots};
use crate::{differences, snapshot, timeline};

struct Component;

crate::bindings::export!(Component with_types_in crate::bindings::generated);

type Answer<T> = Result<T, tools::Error>;

impl tools::Guest for Component {
    fn snapshot(key: String, state: String, options: Option<tools::SnapshotOptions>) -> Answer<tools::Metadata> {
        Ok(snapshot::save(&key, &state, options)?.into())
    }

    fn restore(key: String) -> Answer<String> {
        Ok(snapshots::restore_text(&key)?)
    }

    fn verify(key: String) -> Answer<tools::Metadata> {
        Ok(snapshots::verify(&key)?.into())
    }

    fn get_metadata(key: String) -> Answer<tools::Metadata> {
        Ok(snapshots::get_metadata(&key)?.into())
    }

    fn list(prefix: String, start_after: Option<String>, limit: Option<u32>, filter: Option<tools::ListFilter>) -> Answer<tools::Listing> {
        Ok(snapshot::list(&prefix, start_after.as_deref(), limit, filter)?)
    }

    fn delete(key: String) -> Answer<()> {
        Ok(snapshot::delete(&key)?)
    }

    fn append(timeline: String, state: String, options: Option<tools::AppendOptions>) -> Answer<tools::Step> {
        Ok(timeline::append(&timeline, state, options)?.into())
    }

    fn load(timeline: String, step: Option<String>) -> Answer<String> {
        timeline::load(&timeline, step.as_deref())
    }

    fn history(timeline: String, before: Option<u64>, limit: Option<u32>, filter: Option<tools::ListFilter>) -> Answer<tools::HistoryPage> {
        timeline::history(&timeline, before, limit, filter)
    }

    fn diff(before: String, after: String, max_bytes: Option<u32>) -> Answer<tools::Differences> {
        differences::diff(before, after, max_bytes)
    }
}
