//! Runs the example host on the files of a folder:
//!
//! ```text
//! persist-example-host COMPONENT FOLDER save STATE KEY…
//! persist-example-host COMPONENT FOLDER restore|verify|show|exists|delete KEY…
//! persist-example-host COMPONENT FOLDER list
//! ```
//!
//! It reads the files into memory, calls the component, and writes back what the
//! component changed. It prints one line for each key. A restored state goes to the file
//! `FOLDER/KEY.restored`.
//!
//! `SNAPSHOT_ID` and `TIMESTAMP` in the environment replace the random ID and the current
//! time, so that a save can be compared byte for byte.

use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use persist_example_host::{CallLimits, Core, Host, Objects, Sandbox, snapshots, storage};
use wasmtime::Store;

const USAGE: &str = "usage: persist-example-host COMPONENT FOLDER OPERATION [STATE] [KEY…]";

const RESTORED: &str = ".restored";
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
        self.write_changes(&before)?;
        Ok(answer)
    }

    fn write_changes(&self, before: &Objects) -> Result<()> {
        // Keys may contain `/`, but this host writes no subfolders. With the ending of restored
        // states, an object would not be read again.
        if let Some(key) = self.objects.keys().find(|key| key.contains('/') || key.ends_with(RESTORED)) {
            return Err(format!("'{}' can't be the name of a file here", key.escape_debug()).into());
        }
        for key in before.keys().filter(|key| !self.objects.contains_key(*key)) {
            fs::remove_file(self.path.join(key))?;
        }
        for (key, object) in self.objects.iter().filter(|(key, object)| before.get(*key) != Some(*object)) {
            let path = self.path.join(key);
            write_object(&path, object, before.contains_key(key)).map_err(|error| failed(&path, &error))?;
        }
        Ok(())
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
}

fn read_objects(folder: &Path) -> Result<Objects> {
    let mut objects = Objects::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if let Some(name) = entry.file_name().to_str().filter(|name| !name.ends_with(RESTORED))
            && entry.file_type()?.is_file()
        {
            objects.insert(name.to_owned(), fs::read(entry.path())?.into());
        }
    }
    Ok(objects)
}

fn write_object(path: &Path, object: &[u8], is_known: bool) -> io::Result<()> {
    let mut options = File::options();
    // If there is something with the name of a new object, it was not read because it is not a
    // plain file: a folder, or a symlink that may lead out of this one. It stays as it is.
    options.write(true).truncate(true).create_new(!is_known);
    options.open(path)?.write_all(object)
}

fn failed(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
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
    if operation == "list" {
        return folder.list();
    }
    let (state, keys) = match (operation.as_str(), rest) {
        ("save", [state, keys @ ..]) => (fs::read(state)?, keys),
        _ => (Vec::new(), rest),
    };
    for key in keys {
        println!("{}", folder.perform(operation, key, &state)?);
    }
    Ok(())
}
