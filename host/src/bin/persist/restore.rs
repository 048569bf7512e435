//! `persist restore`

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use persist_host::{
    Engine, ErrorCode, LocalFileStorage, PersistError, Result, SnapshotReader, StorageAdapter, StorageConfig, StorageLocation,
    StorageWriter, WriteOptions,
};

use crate::output::{Failure, Output, exact_bytes, printable};
use crate::progress::Progress;

/// Restore the state of a snapshot.
///
/// Every byte is checked before it is given out. To stdout it goes as it is
/// checked, so that a damaged snapshot may give its beginning before the error;
/// a file appears whole or not at all.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The snapshot.
    src: String,
    /// Where to put the state: a file, which is replaced, or - for stdout.
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

/// Where a state goes.
enum Target {
    Stdout,
    /// A file, by the protocol that snapshots are written by.
    File(Box<dyn StorageWriter>),
    /// A device or pipe that is there: nothing can be replaced.
    Stream(File),
}

impl Target {
    fn open(path: &Path, size: u64) -> Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        if let Ok(metadata) = path.metadata()
            && !metadata.is_file()
            && !metadata.is_dir()
        {
            return File::options().write(true).open(path).map(Self::Stream).map_err(|error| stream_failed(path, &error));
        }
        let location = StorageLocation::from_path_followed(path)?;
        let StorageLocation::Local { root, key } = &location else {
            return Err(PersistError::new(ErrorCode::InvalidArgument, "the state can only go to a local file").at(location));
        };
        let options = WriteOptions { size_hint: Some(size), ..WriteOptions::default() };
        Ok(Self::File(LocalFileStorage::new(root).open_write(key, options)?))
    }

    fn write(&mut self, path: &Path, chunk: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Stdout => io::stdout().lock().write_all(chunk).map_err(|error| Failure::stdout(&error)),
            Self::File(writer) => Ok(writer.write(chunk)?),
            Self::Stream(file) => file.write_all(chunk).map_err(|error| stream_failed(path, &error).into()),
        }
    }

    fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Stdout => io::stdout().lock().flush().map_err(|error| Failure::stdout(&error)),
            Self::File(writer) => Ok(writer.commit().map(drop)?),
            Self::Stream(_) => Ok(()),
        }
    }
}

fn stream_failed(path: &Path, error: &io::Error) -> PersistError {
    PersistError::new(ErrorCode::Io, format!("could not write the state: {error}")).at(path.display())
}

fn copy(mut reader: SnapshotReader, path: &Path, output: &Output) -> Result<(), Failure> {
    let size = reader.metadata().uncompressed_size;
    // Before anything is made: the first block is where most damage shows.
    let mut next = reader.next_chunk()?;
    let mut target = Target::open(path, size)?;
    let mut progress = Progress::new(output, "restoring", Some(size));
    while let Some(chunk) = next {
        target.write(path, &chunk)?;
        progress.advance(chunk.len() as u64);
        next = reader.next_chunk()?;
    }
    target.finish()
}

pub(crate) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let config = StorageConfig::from_env()?;
    let location = config.locate_followed(&arguments.src)?;
    let engine = Engine::builder().shared_storage(config.open(&location)?).build()?;
    let reader = engine.reader(location.key())?;
    let metadata = reader.metadata().clone();
    copy(reader, &arguments.output, output)?;
    if arguments.output == Path::new("-") {
        // Stdout has the state, and nothing else.
        return Ok(());
    }
    let target = arguments.output.to_string_lossy();
    output.report(&metadata, format_args!("restored {}: {} of state", printable(&target), exact_bytes(metadata.uncompressed_size)))
}
