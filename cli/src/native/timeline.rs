//! A timeline of the engine, as the commands use it.

use persist_model::{ListFilter, OnConflict, Policy, PruneReport, Result, SnapshotOptions, Step, StepSelector};

use crate::host::{Checks, History, Timeline};

impl Timeline for persist_host::Timeline {
    fn location(&self) -> String {
        self.location()
    }

    fn append(&mut self, next: &mut dyn FnMut() -> Result<Vec<u8>>, options: &SnapshotOptions, on_conflict: OnConflict) -> Result<Step> {
        let mut writer = self.writer(options, on_conflict)?;
        loop {
            let part = next()?;
            if part.is_empty() {
                return writer.commit();
            }
            writer.write_state(&part)?;
        }
    }

    fn finish(&mut self) -> Result<()> {
        self.finish()
    }

    fn find(&self, wanted: &StepSelector) -> Result<Step> {
        self.find(wanted)
    }

    fn load(&self, number: u64) -> Result<Vec<u8>> {
        self.load(&StepSelector::Number(number))
    }

    fn history(&self, filter: ListFilter, limit: Option<u32>) -> Result<History<'_>> {
        Ok(Box::new(self.history(filter, limit)?))
    }

    fn check(&self, read_data: bool) -> Result<Checks<'_>> {
        Ok(Box::new(self.check(read_data)?))
    }

    fn repair(&mut self, forget_damaged: bool) -> Result<u64> {
        self.repair(forget_damaged)
    }

    fn prune(&mut self, policy: &Policy, dry_run: bool) -> Result<PruneReport> {
        self.prune(policy, dry_run)
    }

    fn delete(&mut self) -> Result<u64> {
        self.delete()
    }

    fn delete_after(&mut self, newest: u64) -> Result<u64> {
        self.delete_after(newest)
    }
}
