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

use std::error::Error;
use std::path::Path;
use std::{env, fs};

use persist_example_host::{LIMITS, Objects, Plugin, snapshots, storage};

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
        size_hint: None,
        attributes: Vec::new(),
    }
}

/// The objects in a folder, by the names of their files.
fn read(folder: &Path) -> Result<Objects, Box<dyn Error>> {
    let mut objects = Objects::new();
    for entry in fs::read_dir(folder)? {
        let (name, path) = (entry.as_ref().map(fs::DirEntry::file_name), entry.as_ref().map(fs::DirEntry::path));
        if let (Ok(name), Ok(path)) = (name, path)
            && let Some(name) = name.to_str().filter(|name| !name.ends_with(RESTORED))
        {
            objects.insert(name.to_owned(), fs::read(path)?.into());
        }
    }
    Ok(objects)
}

fn write(folder: &Path, before: &Objects, after: &Objects) -> Result<(), Box<dyn Error>> {
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        fs::remove_file(folder.join(key))?;
    }
    for (key, object) in after.iter().filter(|(key, object)| before.get(*key) != Some(*object)) {
        fs::write(folder.join(key), object)?;
    }
    Ok(())
}

fn refused(error: snapshots::Error) -> Box<dyn Error> {
    format!("{:?}: {}", error.code, error.message.escape_debug()).into()
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [component, folder, operation, rest @ ..] = &arguments[..] else { return Err("COMPONENT FOLDER OPERATION KEY…".into()) };
    let (plugin, folder) = (Plugin::new(&fs::read(component)?)?, Path::new(folder));
    let before = read(folder)?;
    let mut objects = before.clone();
    if operation == "list" {
        let call = |persist: &persist_example_host::Persist, store: &mut _| {
            persist.persist_snapshot_snapshots().call_list_snapshots(store, "", None, 1000)
        };
        for entry in plugin.call(&mut objects, LIMITS, call)?.map_err(refused)?.entries {
            match entry {
                snapshots::ListEntry::Snapshot(metadata) => println!("{}", metadata.key),
                snapshots::ListEntry::Unreadable(found) => println!("{} is no snapshot", found.key),
            }
        }
        return Ok(());
    }
    let (state, keys) = match (&operation[..], rest) {
        ("save", [state, keys @ ..]) => (fs::read(state)?, keys),
        _ => (Vec::new(), rest),
    };
    for key in keys {
        let says = plugin.call(&mut objects, LIMITS, |persist, store| {
            let api = persist.persist_snapshot_snapshots();
            Ok(match &operation[..] {
                "save" => api.call_save(store, key, &state, &options())?.map(|saved| saved.content_hash),
                "restore" => api.call_restore(store, key)?.map(|state| {
                    let written = fs::write(folder.join(format!("{key}{RESTORED}")), state);
                    written.map_or_else(|error| error.to_string(), |()| "restored".to_owned())
                }),
                "verify" => api.call_verify(store, key)?.map(|verified| verified.content_hash),
                "show" => api.call_get_metadata(store, key)?.map(|shown| shown.content_hash),
                "exists" => api.call_exists(store, key)?.map(|exists| exists.to_string()),
                "delete" => api.call_delete(store, key, &storage::Precondition::None)?.map(|()| "deleted".to_owned()),
                other => Ok(format!("what is '{other}'?")),
            })
        })?;
        println!("{}", says.map_err(refused)?);
    }
    write(folder, &before, &objects)
}
