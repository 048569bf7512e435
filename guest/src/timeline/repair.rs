//! Repairs a timeline: rewrites what is derived from the steps, and hides damaged steps.

use persist_model::error::HINT;

use crate::error::{Error, Result};
use crate::storage::{Precondition, Storage};
use crate::timeline::catalogue::{Row, SPAN, read_catalogue, write_catalogue};
use crate::timeline::handle::Timeline;
use crate::timeline::listing::Listing;
use crate::timeline::names::Name;
use crate::timeline::newest::{Newest, find_newest_listed, refresh_hint};
use crate::timeline::record::Record;
use crate::timeline::survey::read_steps;

impl<S: Storage> Timeline<S> {
    /// Restores what can be derived: the hint, and catalogues that are missing or damaged.
    /// With `forget`, a new step repeats the newest undamaged one if the newest is damaged, and
    /// damaged steps are hidden. Returns how many objects were written.
    pub fn repair(&mut self, forget: bool) -> Result<u64> {
        self.forget();
        let mut written = 0;
        if forget {
            written += self.forget_damaged()?;
        }
        let newest = match find_newest_listed(&self.storage, &self.folder)? {
            Newest::Damaged { error, .. } => return Err(error),
            Newest::Nothing => return Ok(written),
            newest => newest,
        };
        let newest = newest.number();
        refresh_hint(&self.storage, &self.folder)?;
        written += 1;
        let mut listing = Listing::read(&self.storage, &self.folder, 1)?;
        listing.fill(&self.storage, &self.folder, 1, newest)?;
        for last in (SPAN..=newest).step_by(usize::try_from(SPAN).unwrap_or(usize::MAX)) {
            let listed = listing.steps.range(last - SPAN + 1..=last).filter(|(number, info)| !listing.is_marker(*number, info));
            let numbers: Vec<u64> = listed.map(|(number, _)| number).collect();
            let steps = read_steps(&self.storage, &self.folder, &numbers)?;
            let rows: Vec<Row> = steps.into_iter().filter_map(|(_, step)| Some(Row::of(&step.ok()?))).collect();
            let is_right = read_catalogue(&self.storage, &self.folder, last)
                .is_ok_and(|known| rows.iter().all(|row| known.iter().any(|known| known.number == row.number && known.is_same(row))));
            if is_right || numbers.is_empty() {
                continue;
            }
            write_catalogue(&self.storage, &self.folder, last, &rows)?;
            written += 1;
        }
        Ok(written)
    }

    /// Removes labels and marks of hidden steps that are damaged, and hides damaged steps. Returns
    /// how many objects were written.
    fn forget_damaged(&mut self) -> Result<u64> {
        let mut checker = self.check(true)?;
        let (mut damaged, mut others, mut whole) = (Vec::new(), Vec::new(), None);
        loop {
            let checked = checker.next_batch()?;
            if checked.is_empty() {
                break;
            }
            for step in checked {
                match (step.number, step.error) {
                    (Some(number), None) => whole = Some(number),
                    (Some(number), Some(_)) => damaged.push(number),
                    (None, Some(_)) => others.push(step.key),
                    (None, None) => {}
                }
            }
        }
        let mut written = 0;
        // Nothing can be told from these, and the steps are not in them.
        for key in others {
            if matches!(self.folder.parse(&key), Some(Name::Label(_) | Name::Hidden(_))) {
                self.delete_object(&key)?;
                written += 1;
            }
        }
        let Some(whole) = whole else {
            if damaged.is_empty() {
                return Ok(written);
            }
            let error =
                Error::integrity("no step of the timeline can be restored").with(HINT, "append the next state, or delete the timeline");
            return Err(error.at(self.folder.prefix()));
        };
        if let Some(newest) = damaged.last().filter(|newest| **newest > whole) {
            let step = self.step(whole)?;
            self.restate_step(&step, *newest)?;
            written += 1;
        }
        for number in damaged {
            let hidden = Record::Hidden { number };
            hidden.write(&self.storage, &self.folder.hidden(number), Precondition::None)?;
            written += 1;
        }
        Ok(written)
    }
}
