//! What is known of many steps: read from catalogues, or from the steps themselves.

use persist_model::error::HINT;

use crate::error::{Error, ErrorCode, Result};
use crate::open::TAIL;
use crate::storage::{ByteRange, ObjectInfo, Storage};
use crate::timeline::catalogue::{Row, covering, read_catalogue};
use crate::timeline::chain::read_parts;
use crate::timeline::listing::Listing;
use crate::timeline::names::{Folder, Name};
use crate::timeline::numbered::Numbered;
use crate::timeline::record::{MAX_SIZE, Record};
use crate::timeline::step::Step;

/// A catalogue is read if more steps of its span are wanted than this.
const FEW: usize = 24;

/// What to do about a label that can't be read.
const LABEL_HINT: &str = "the step itself can be restored; 'persist check --repair --forget-damaged' removes the label";

/// Rows of catalogues that were read.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    rows: Numbered<Row>,
}

/// Reads steps without their data. Each may be damaged; any other error ends the reading.
pub(crate) fn read_steps<S: Storage>(storage: &S, folder: &Folder, numbers: &[u64]) -> Result<Vec<(u64, Result<Step>)>> {
    let requests: Vec<_> = numbers.iter().map(|number| (folder.step(*number), ByteRange::Suffix(TAIL))).collect();
    let parts = read_parts(storage, &requests)?;
    let parse = |(number, part): (&u64, Result<(ObjectInfo, Vec<u8>)>)| {
        let step = part.and_then(|(info, tail)| Step::parse(storage, info, tail, *number));
        match step {
            Err(error) if !error.is_damage() => Err(error),
            step => Ok((*number, step.map_err(|error| error.at(&folder.step(*number))))),
        }
    };
    numbers.iter().zip(parts).map(parse).collect()
}

impl Survey {
    /// Returns the rows of steps, with the labels that were set later. Steps that were read
    /// are added to the listing.
    pub(crate) fn read<S: Storage>(
        &mut self,
        storage: &S,
        folder: &Folder,
        listing: &mut Listing,
        numbers: &[u64],
    ) -> Result<Numbered<Result<Row>>> {
        self.read_catalogues(storage, folder, listing, numbers);
        let keys: Vec<String> = numbers.iter().filter_map(|number| listing.labels.get(*number)).flatten().cloned().collect();
        let mut labels: Numbered<Result<Vec<Record>>> = Numbered::default();
        for (number, record) in read_labels(storage, folder, &keys)? {
            let known = labels.or_insert_with(number, || Ok(Vec::new()));
            match (known.as_mut(), record) {
                (Ok(known), Ok(record)) => known.push(record),
                (Ok(_), Err(error)) => *known = Err(error),
                (Err(_), _) => {}
            }
        }
        let mut found = Numbered::default();
        let mut unknown = Vec::new();
        for number in numbers {
            match self.rows.get(*number) {
                Some(row) if listing.steps.get(*number).is_some_and(|info| info.size == row.size) => {
                    found.insert(*number, labelled(row.clone(), labels.remove(*number)));
                }
                _ => unknown.push(*number),
            }
        }
        for (number, step) in read_steps(storage, folder, &unknown)? {
            if let Ok(step) = &step {
                listing.steps.insert(number, step.info.clone());
            }
            found.insert(number, step.and_then(|step| labelled(Row::of(&step), labels.remove(number))));
        }
        Ok(found)
    }

    /// Forgets rows of steps above a number.
    pub(crate) fn forget_above(&mut self, number: u64) {
        self.rows.retain(|above| above <= number);
    }

    /// Reads the catalogues that spare more than they cost. A damaged one is as good as none.
    fn read_catalogues<S: Storage>(&mut self, storage: &S, folder: &Folder, listing: &Listing, numbers: &[u64]) {
        let mut wanted: Numbered<usize> = Numbered::default();
        for number in numbers.iter().filter(|number| !self.rows.contains(**number)) {
            *wanted.or_default(covering(*number)) += 1;
        }
        for (last, count) in wanted.iter() {
            if *count > FEW
                && listing.catalogues.contains(last)
                && let Ok(rows) = read_catalogue(storage, folder, last)
            {
                for row in rows {
                    self.rows.insert(row.number, row);
                }
            }
        }
    }
}

/// Returns a row with the labels that were set later.
fn labelled(mut row: Row, later: Option<Result<Vec<Record>>>) -> Result<Row> {
    row.relabel(later.transpose()?.unwrap_or_default());
    Ok(row)
}

/// Reads labels that were set later, each with the number of its step. A damaged one is an
/// error of that step, since a policy may depend on it.
pub(crate) fn read_labels<S: Storage>(storage: &S, folder: &Folder, keys: &[String]) -> Result<Vec<(u64, Result<Record>)>> {
    let requests: Vec<_> = keys.iter().map(|key| (key.clone(), ByteRange::Suffix(MAX_SIZE))).collect();
    let mut labels = Vec::new();
    for (key, part) in keys.iter().zip(read_parts(storage, &requests)?) {
        let record = match part {
            Ok((_, bytes)) => Record::parse(&bytes),
            Err(error) if error.code == ErrorCode::NotFound => continue,
            Err(error) => return Err(error),
        };
        let Some(Name::Label(number)) = folder.parse(key) else { continue };
        let label = record.and_then(|record| match &record {
            Record::Label { number, name, .. } if folder.label(*number, name) == *key => Ok(record),
            _ => Err(Error::integrity("the object is not the label that its name says it is")),
        });
        labels.push((number, label.map_err(|error| error.at(key).with(HINT, LABEL_HINT))));
    }
    Ok(labels)
}
