//! Timelines that misbehave as their folder tells them to.

use super::Hostile;
use super::bindings::{timelines, wit};
use super::{Handle, behave, nonsense, opened, refused};

fn step(key: &str) -> timelines::Step {
    timelines::Step { number: u64::MAX, metadata: nonsense(key), restates: Some(0) }
}

impl timelines::GuestHistory for Handle {
    fn next(&self, _: u32) -> Result<Vec<timelines::HistoryEntry>, wit::Error> {
        behave(&self.key);
        Ok(vec![timelines::HistoryEntry::Step(step(&self.key)), timelines::HistoryEntry::Unreadable((0, refused()))])
    }
}

impl timelines::GuestChecker for Handle {
    fn left(&self) -> u64 {
        u64::MAX
    }

    fn next(&self) -> Result<Vec<timelines::Checked>, wit::Error> {
        behave(&self.key);
        Ok(vec![timelines::Checked { number: Some(u64::MAX), key: String::new(), error: Some(refused()) }])
    }
}

impl timelines::GuestAppender for Handle {
    fn write(&self, _: Vec<u8>) -> Result<(), wit::Error> {
        behave(&self.key);
        Ok(())
    }

    fn commit(appender: timelines::Appender, _: Option<Vec<u8>>) -> Result<timelines::Step, wit::Error> {
        Ok(step(&appender.into_inner::<Self>().key))
    }
}

impl timelines::GuestTimeline for Handle {
    fn new(folder: String) -> Self {
        opened(folder)
    }

    fn append(&self, _: Vec<u8>, _: wit::SaveOptions, _: timelines::OnConflict, _: Option<Vec<u8>>) -> Result<timelines::Step, wit::Error> {
        behave(&self.key);
        Ok(step(&self.key))
    }

    fn open_appender(&self, _: wit::SaveOptions, _: timelines::OnConflict) -> Result<timelines::Appender, wit::Error> {
        Ok(timelines::Appender::new(opened(self.key.clone())))
    }

    fn finish(&self) -> Result<(), wit::Error> {
        behave(&self.key);
        Err(refused())
    }

    fn find(&self, _: timelines::StepSelector) -> Result<timelines::Step, wit::Error> {
        behave(&self.key);
        Ok(step(&self.key))
    }

    fn open_restorer(&self, _: timelines::StepSelector, _: wit::RestoreOptions) -> Result<wit::Restorer, wit::Error> {
        Ok(wit::Restorer::new(opened(self.key.clone())))
    }

    fn open_history(&self, _: Option<wit::ListFilter>, _: u32) -> Result<timelines::History, wit::Error> {
        Ok(timelines::History::new(opened(self.key.clone())))
    }

    fn set_label(&self, _: u64, _: String, _: Option<String>) -> Result<(), wit::Error> {
        behave(&self.key);
        Ok(())
    }

    fn prune(&self, _: timelines::Policy, _: bool) -> Result<timelines::PruneReport, wit::Error> {
        behave(&self.key);
        Ok(timelines::PruneReport { steps: Vec::new(), restated_as: Some(u64::MAX), freed: u64::MAX, left: u64::MAX })
    }

    fn remove(&self, _: Vec<u64>) -> Result<u64, wit::Error> {
        behave(&self.key);
        Ok(u64::MAX)
    }

    fn open_checker(&self, _: bool) -> Result<timelines::Checker, wit::Error> {
        Ok(timelines::Checker::new(opened(self.key.clone())))
    }

    fn repair(&self, _: bool) -> Result<u64, wit::Error> {
        behave(&self.key);
        Ok(u64::MAX)
    }

    fn delete(&self) -> Result<u64, wit::Error> {
        behave(&self.key);
        Ok(u64::MAX)
    }

    fn delete_after(&self, newest: u64) -> Result<u64, wit::Error> {
        behave(&self.key);
        Ok(newest)
    }

    fn newest_hint(&self) -> Result<(u64, Vec<u8>), wit::Error> {
        behave(&self.key);
        Ok((u64::MAX, vec![0; 100]))
    }

    fn hint(&self, _: u64) -> Result<Vec<u8>, wit::Error> {
        behave(&self.key);
        Ok(vec![0; 100])
    }
}

impl timelines::Guest for Hostile {
    type History = Handle;
    type Checker = Handle;
    type Appender = Handle;
    type Timeline = Handle;

    fn apply_policy(_: timelines::Policy, _: Vec<timelines::Candidate>) -> Result<Vec<Vec<String>>, wit::Error> {
        Ok(vec![vec!["\u{1b}[2J".to_owned()]; 1000])
    }
}
