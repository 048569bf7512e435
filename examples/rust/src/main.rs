//! The host on the files of a folder, which it reads into its storage and writes
//! back:
//!
//! ```text
//! persist-example-host persist.wasm FOLDER save STATE KEY
//! persist-example-host persist.wasm FOLDER restore|verify|show|exists|delete KEY…
//! persist-example-host persist.wasm FOLDER list
//! ```
//!
//! Prints one line for each key. What is restored goes to a file beside the
//! folder's, with `.restored` at its end.

use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use persist_example_host::{Core, Host, Objects, Plugin, snapshots, storage};
use wasmtime::Store;

/// Tenths of a second that a call may compute, and bytes that it may write.
const TENTHS: u64 = 300;
const BYTES: usize = 1 << 28;

const RESTORED: &str = ".restored";

fn options() -> snapshots::SaveOptions {
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

/// The files of a folder, by name, as what a plugin stores.
struct Folder {
    plugin: Plugin,
    path: PathBuf,
    objects: Objects,
}

fn read(folder: &Path) -> Result<Objects, Box<dyn Error>> {
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

impl Folder {
    /// Calls the plugin, and writes what it changed.
    fn call<T>(&mut self, call: impl FnOnce(&Core, &mut Store<Host>) -> wasmtime::Result<T>) -> Result<T, Box<dyn Error>> {
        let before = self.objects.clone();
        // With what led to it: where it was stopped alone says little.
        let found = self.plugin.call(&mut self.objects, TENTHS, BYTES, call).map_err(|error| format!("{error:#}"))?;
        // Keys may have folders in them; here they may not, nor the ending of what is no object.
        if let Some(key) = self.objects.keys().find(|key| key.contains('/') || key.ends_with(RESTORED)) {
            return Err(format!("'{}' is no name for a file here", key.escape_debug()).into());
        }
        for key in before.keys().filter(|key| !self.objects.contains_key(*key)) {
            fs::remove_file(self.path.join(key))?;
        }
        for (key, object) in self.objects.iter().filter(|(key, object)| before.get(*key) != Some(*object)) {
            // What was not read is no file: a folder, or a link to somewhere else.
            let mut options = File::options();
            options.write(true).truncate(true).create_new(!before.contains_key(key));
            let failed = |error: io::Error| format!("{}: {error}", self.path.join(key).display());
            options.open(self.path.join(key)).and_then(|mut file| file.write_all(object)).map_err(failed)?;
        }
        Ok(found)
    }
}

fn refused(error: snapshots::Error) -> Box<dyn Error> {
    format!("{:?}: {}", error.code, error.message.escape_debug()).into()
}

/// Does one thing to one key, and says what came of it.
fn work(host: &mut Folder, operation: &str, key: &str, state: &[u8]) -> Result<String, Box<dyn Error>> {
    let restored = host.path.join(format!("{key}{RESTORED}"));
    host.call(|persist, store| {
        let api = persist.persist_snapshot_snapshots();
        Ok(match operation {
            "save" => api.call_save(store, key, state, &options())?.map(|saved| Ok(saved.content_hash)),
            "restore" => api.call_restore(store, key)?.map(|state| {
                fs::write(&restored, state).map_err(|error| format!("{}: {error}", restored.display()))?;
                Ok("restored".to_owned())
            }),
            "verify" => api.call_verify(store, key)?.map(|verified| Ok(verified.content_hash)),
            "show" => api.call_get_metadata(store, key)?.map(|shown| Ok(shown.content_hash)),
            "exists" => api.call_exists(store, key)?.map(|exists| Ok(exists.to_string())),
            "delete" => api.call_delete(store, key, &storage::Precondition::None)?.map(|()| Ok("deleted".to_owned())),
            other => Ok(Err(format!("there is no operation '{other}'"))),
        })
    })?
    .map_err(refused)?
    .map_err(Into::into)
}

/// Prints the keys of all snapshots, a page at a time.
fn list(host: &mut Folder) -> Result<(), Box<dyn Error>> {
    let mut after: Option<String> = None;
    loop {
        let page = host
            .call(|persist, store| persist.persist_snapshot_snapshots().call_list_snapshots(store, "", after.as_deref(), 1000, None))?
            .map_err(refused)?;
        for entry in page.entries {
            match entry {
                snapshots::ListEntry::Snapshot(metadata) => println!("{}", metadata.key),
                snapshots::ListEntry::Unreadable(found) => println!("{} is no snapshot", found.key),
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [component, folder, operation, rest @ ..] = &arguments[..] else { return Err("COMPONENT FOLDER OPERATION KEY…".into()) };
    let path = PathBuf::from(folder);
    let mut host = Folder { plugin: Plugin::new(&fs::read(component)?)?, objects: read(&path)?, path };
    if operation == "list" {
        return list(&mut host);
    }
    let (state, keys) = match (&operation[..], rest) {
        ("save", [state, keys @ ..]) => (fs::read(state)?, keys),
        _ => (Vec::new(), rest),
    };
    for key in keys {
        println!("{}", work(&mut host, operation, key, &state)?);
    }
    Ok(())
}
