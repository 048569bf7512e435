//! Runs the example host on the files of a folder:
//!
//! ```text
//! persist-example-host COMPONENT FOLDER save STATE KEY…
//! persist-example-host COMPONENT FOLDER restore|verify|show|exists|delete KEY…
//! persist-example-host COMPONENT FOLDER list
//! persist-example-host COMPONENT FOLDER append STATE TIMELINE
//! persist-example-host COMPONENT FOLDER load TIMELINE NUMBER…
//! persist-example-host COMPONENT FOLDER history TIMELINE
//! persist-example-host COMPONENT FOLDER prune TIMELINE KEEP_LAST
//! ```
//!
//! It reads the files into memory, calls the component, and writes back what the
//! component changed. It prints one line for each key or step. A restored state goes to the
//! file `FOLDER/KEY.restored`, that of a step to `FOLDER/TIMELINE/NUMBER.restored`. A
//! timeline is a folder, and its name ends with `/`.
//!
//! `SNAPSHOT_ID` and `TIMESTAMP` in the environment replace the random ID and the current
//! time, so that a save can be compared byte for byte.

mod folder;
mod steps;

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::slice;

use persist_example_host::{CallLimits, Core, Host, Objects, Sandbox, snapshots, storage};
use wasmtime::Store;

use crate::folder::{RESTORED, failed, make_folders, read_objects, write_changes};

const USAGE: &str = "usage: persist-example-host COMPONENT FOLDER OPERATION [STATE] [KEY…]; see the beginning of src/main.rs";

const PAGE_SIZE: u32 = 1000;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn save_options() -> snapshots::SaveOptions {
    snapshots::SaveOptions {
        agent_id: "default_agent".to_owned(),
        session_id: "default_session".to_owned(),
        snapshot_index: 0,
        description: None,
        labels: Vec::new(),
        content_type: None,
        extra: None,
        codec: None,
        level: None,
        snapshot_id: env::var("SNAPSHOT_ID").ok(),
        timestamp: env::var("TIMESTAMP").ok(),
        precondition: storage::Precondition::None,
        state_size_hint: None,
        attributes: Vec::new(),
        host_hashes: false,
    }
}

/// A component, and a folder whose files are its objects.
struct Folder {
    sandbox: Sandbox,
    path: PathBuf,
    objects: Objects,
}

impl Folder {
    fn open(component: &str, path: &str) -> Result<Self> {
        let path = PathBuf::from(path);
        let objects = read_objects(&path)?;
        let sandbox = Sandbox::new(&fs::read(component)?)?;
        Ok(Self { sandbox, path, objects })
    }

    /// Calls the component, and writes to the folder what it changed.
    fn call<T>(&mut self, call: impl FnOnce(&Core, &mut Store<Host>) -> wasmtime::Result<T>) -> Result<T> {
        let before = self.objects.clone();
        let called = self.sandbox.call(&mut self.objects, CallLimits::default(), call);
        // `{:#}` includes the causes: the outermost message only says where the component was stopped.
        let answer = called.map_err(|error| format!("{error:#}"))?;
        write_changes(&self.path, &before, &self.objects)?;
        Ok(answer)
    }

    /// Performs one operation on one key. Returns the line to print.
    fn perform(&mut self, operation: &str, key: &str, state: &[u8]) -> Result<String> {
        let restored = self.path.join(format!("{key}{RESTORED}"));
        let answer = self.call(|persist, store| {
            let api = persist.persist_snapshot_snapshots();
            Ok(match operation {
                "save" => api.call_save(store, key, state, &save_options())?.map(|metadata| Ok(metadata.content_hash)),
                "restore" => api.call_restore(store, key)?.map(|state| {
                    fs::write(&restored, state).map_err(|error| failed(&restored, &error))?;
                    Ok("restored".to_owned())
                }),
                "verify" => api.call_verify(store, key)?.map(|metadata| Ok(metadata.content_hash)),
                "show" => api.call_get_metadata(store, key)?.map(|metadata| Ok(metadata.content_hash)),
                "exists" => api.call_exists(store, key)?.map(|exists| Ok(exists.to_string())),
                "delete" => api.call_delete(store, key, &storage::Precondition::None)?.map(|()| Ok("deleted".to_owned())),
                other => Ok(Err(format!("unknown operation '{other}'; {USAGE}"))),
            })
        })?;
        Ok(answer.map_err(refused)??)
    }

    /// Prints the keys of all snapshots, page by page.
    fn list(&mut self) -> Result<()> {
        let mut start_after: Option<String> = None;
        loop {
            let page = self
                .call(|persist, store| {
                    persist.persist_snapshot_snapshots().call_list_snapshots(store, "", start_after.as_deref(), PAGE_SIZE, None)
                })?
                .map_err(refused)?;
            for entry in page.entries {
                match entry {
                    snapshots::ListEntry::Snapshot(metadata) => println!("{}", metadata.key),
                    snapshots::ListEntry::Unreadable(unreadable) => println!("{} is not a snapshot", unreadable.key),
                }
            }
            start_after = page.next;
            if start_after.is_none() {
                return Ok(());
            }
        }
    }

    /// Performs one operation on a timeline, and prints a line for each step.
    fn perform_on_timeline(&mut self, operation: &str, timeline: &str, rest: &[String]) -> Result<()> {
        match (operation, rest) {
            ("append", [state]) => {
                let state = fs::read(state)?;
                let appended = self.call(|persist, store| steps::append(persist, store, timeline, &state, &save_options()))?;
                println!("{}", appended.map_err(refused)?.number);
            }
            ("load", numbers) => {
                for number in numbers {
                    let step = number.parse()?;
                    let state = self.call(|persist, store| steps::load(persist, store, timeline, step))?.map_err(refused)?;
                    let path = make_folders(&self.path, &format!("{timeline}{step}{RESTORED}"))?;
                    fs::write(&path, state).map_err(|error| failed(&path, &error))?;
                    println!("restored");
                }
            }
            ("history", []) => {
                for entry in self.call(|persist, store| steps::history(persist, store, timeline))?.map_err(refused)? {
                    println!("{}", steps::line(&entry));
                }
            }
            ("prune", [keep_last]) => {
                let keep_last = keep_last.parse()?;
                let report = self.call(|persist, store| steps::prune(persist, store, timeline, keep_last))?.map_err(refused)?;
                for step in report.steps {
                    println!("{} {}", step.number, steps::outcome(&step));
                }
            }
            _ => return Err(USAGE.into()),
        }
        Ok(())
    }
}

/// An error that the component returned. Its message is escaped: the component is not
/// trusted, and control characters would reach the terminal.
fn refused(error: snapshots::Error) -> Box<dyn Error> {
    format!("{:?}: {}", error.code, error.message.escape_debug()).into()
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [component, path, operation, rest @ ..] = &arguments[..] else { return Err(USAGE.into()) };
    let mut folder = Folder::open(component, path)?;
    let (state, keys) = match (operation.as_str(), rest) {
        ("list", _) => return folder.list(),
        ("append", [state, timeline]) => return folder.perform_on_timeline("append", timeline, slice::from_ref(state)),
        (operation @ ("load" | "history" | "prune"), [timeline, rest @ ..]) => {
            return folder.perform_on_timeline(operation, timeline, rest);
        }
        ("save", [state, keys @ ..]) => (fs::read(state)?, keys),
        _ => (Vec::new(), rest),
    };
    for key in keys {
        println!("{}", folder.perform(operation, key, &state)?);
    }
    Ok(())
}
