//! Compiling components, and keeping what was compiled on disk.

use std::env;
use std::fs::{self, DirBuilder, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::component::failed;
use crate::error::Result;

/// Bytes of the SHA-256 that stands before compiled code in its file.
const HASH: usize = 32;

/// Where compiled code is kept between runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CompileCache {
    /// `$XDG_CACHE_HOME/persist`, else `~/.cache/persist`; nowhere if neither
    /// is known, or if others can write there.
    #[default]
    User,
    /// This folder, on the same condition.
    Folder(PathBuf),
    /// Nowhere: each engine compiles anew, which takes about a second.
    None,
}

impl CompileCache {
    fn folder(&self) -> Option<PathBuf> {
        match self {
            Self::None => None,
            Self::Folder(folder) => Some(folder.clone()),
            Self::User => env::var_os("XDG_CACHE_HOME")
                .map(PathBuf::from)
                .filter(|folder| folder.is_absolute())
                .or_else(|| env::home_dir().filter(|home| home.is_absolute()).map(|home| home.join(".cache")))
                .map(|folder| folder.join("persist")),
        }
    }
}

/// A component, compiled now or earlier.
pub(crate) fn compiled(engine: &Engine, wasm: &[u8], cache: &CompileCache) -> Result<Component> {
    let entry = cache.folder().map(|folder| (folder, entry_name(engine, wasm)));
    if let Some((folder, name)) = &entry {
        match read_entry(folder, name) {
            // SAFETY: the bytes are what `Component::serialize` gave. The file
            // and its folder belong to this user and only this user can write
            // them, as `read_entry` checked on the open handles; whoever runs
            // as this user can change this process anyway. The SHA-256 in
            // front shows accidents. That compiler, settings and processor fit
            // is checked by wasmtime itself.
            Ok(code) => match unsafe { Component::deserialize(engine, &code) } {
                Ok(component) => return Ok(component),
                Err(error) => tracing::debug!(%error, "compiled code does not fit, compiling anew"),
            },
            Err(error) => tracing::debug!(%error, folder = %folder.display(), "no compiled code"),
        }
    }
    let began = std::time::Instant::now();
    let component = compile(engine, wasm)?;
    tracing::debug!(ms = began.elapsed().as_millis(), "compiled the component");
    if let Some((folder, name)) = &entry {
        let code = component.serialize().map_err(|error| failed("serialised", &error))?;
        if let Err(error) = write_entry(folder, name, &code) {
            tracing::debug!(%error, folder = %folder.display(), "compiled code is not kept");
        }
    }
    Ok(component)
}

/// Compiles on as many threads as the compiler wants, or on this one where they
/// are not to be had.
fn compile(engine: &Engine, wasm: &[u8]) -> Result<Component> {
    let failed = |error| failed("compiled", &error);
    if !engine.get_parallel_compilation() || has_threads() {
        return Component::new(engine, wasm).map_err(failed);
    }
    let mut config = engine.config().clone();
    config.parallel_compilation(false);
    let code = Engine::new(&config).and_then(|alone| alone.precompile_component(wasm)).map_err(failed)?;
    // SAFETY: the bytes are what `Engine::precompile_component` gave just now.
    // That settings fit is checked by wasmtime itself.
    unsafe { Component::deserialize(engine, code) }.map_err(failed)
}

/// Starts the compiler's threads. It would panic where it can't have them.
fn has_threads() -> bool {
    static STARTED: LazyLock<bool> = LazyLock::new(|| match rayon_core::ThreadPoolBuilder::new().build_global() {
        Ok(()) => true,
        // Without a cause: they were started before.
        Err(error) if std::error::Error::source(&error).is_none() => true,
        Err(error) => {
            tracing::debug!(%error, "no threads to compile on");
            false
        }
    });
    *STARTED
}

/// A component that this process, or the one that it was forked off, has
/// compiled for another engine. Nothing is compiled: the threads for it may not
/// be there.
pub(crate) fn compiled_before(engine: &Engine, component: &Component) -> Result<Component> {
    let code = component.serialize().map_err(|error| failed("serialised", &error))?;
    // SAFETY: the bytes are what `Component::serialize` gave just now. That
    // settings fit is checked by wasmtime itself.
    unsafe { Component::deserialize(engine, code) }.map_err(|error| failed("loaded", &error))
}

/// A name for everything that the compiled code depends on.
fn entry_name(engine: &Engine, wasm: &[u8]) -> String {
    let mut settings = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut settings);
    let component: String = Sha256::digest(wasm).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{component}-{:016x}.cwasm", settings.finish())
}

/// Whether a file or folder is this user's, and nobody else can write it.
fn is_private(metadata: &fs::Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o022 == 0
}

fn refused(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, format!("the {what} belongs to somebody else, or others can write it"))
}

fn open_private_folder(folder: &Path) -> io::Result<File> {
    let handle = File::options().read(true).custom_flags((OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed()).open(folder)?;
    if is_private(&handle.metadata()?) { Ok(handle) } else { Err(refused("folder")) }
}

fn read_entry(folder: &Path, name: &str) -> io::Result<Vec<u8>> {
    let handle = open_private_folder(folder)?;
    let mut file = File::from(rustix::fs::openat(&handle, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, 0.into())?);
    let metadata = file.metadata()?;
    if !metadata.is_file() || !is_private(&metadata) {
        return Err(refused("file"));
    }
    let mut hash = [0; HASH];
    file.read_exact(&mut hash)?;
    let mut code = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    file.read_to_end(&mut code)?;
    if <[u8; HASH]>::from(Sha256::digest(&code)) != hash {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the compiled code was damaged"));
    }
    Ok(code)
}

fn write_entry(folder: &Path, name: &str, code: &[u8]) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let handle = open_private_folder(folder)?;
    let temporary = format!("{name}.{}", std::process::id());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let written = rustix::fs::openat(&handle, &temporary, flags, 0o600.into()).map_err(io::Error::from).and_then(|file| {
        let mut file = File::from(file);
        file.write_all(&Sha256::digest(code))?;
        file.write_all(code)?;
        Ok(rustix::fs::renameat(&handle, &temporary, &handle, name)?)
    });
    if written.is_err() {
        let _ = rustix::fs::unlinkat(&handle, &temporary, rustix::fs::AtFlags::empty());
    }
    written
}
