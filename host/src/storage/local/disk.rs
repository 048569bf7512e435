//! Every file operation passes through here first, so that tests can make each of them
//! fail and can record them to replay a power cut. Outside of tests, this does nothing.

use std::io;

/// A file operation that is about to happen. Paths are relative to the root.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code, reason = "only tests read the fields"))]
pub(super) enum Operation<'a> {
    OpenRoot,
    /// Makes the root and the folders above it.
    MakeRoot,
    OpenFolder(&'a str),
    MakeFolder(&'a str),
    SyncFolder(&'a str),
    OpenFile(&'a str),
    Stat(&'a str),
    Read,
    List(&'a str),
    Create(&'a str, &'a str),
    Lock,
    Write(&'a [u8]),
    SyncFile,
    /// In a folder, from one name to another.
    Rename(&'a str, &'a str, &'a str),
    Remove(&'a str, &'a str),
}

/// Decides in a test what happens instead of an operation.
#[cfg(test)]
pub(super) trait Probe: std::fmt::Debug + Send + Sync {
    /// Returns an error to fail the operation, or, for a write, how many bytes to
    /// accept at most.
    fn before(&self, operation: &Operation<'_>) -> io::Result<usize>;
}

/// The access to the files.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    #[cfg(test)]
    pub(super) probe: Option<std::sync::Arc<dyn Probe>>,
}

impl Disk {
    /// Announces an operation.
    #[cfg_attr(not(test), allow(clippy::unused_self, reason = "in tests it holds a probe"))]
    pub(super) fn before(&self, operation: &Operation<'_>) -> io::Result<()> {
        self.take(operation).map(drop)
    }

    #[cfg(test)]
    fn take(&self, operation: &Operation<'_>) -> io::Result<usize> {
        self.probe.as_ref().map_or(Ok(usize::MAX), |probe| probe.before(operation))
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "in tests it holds a probe")]
    fn take(&self, _: &Operation<'_>) -> io::Result<usize> {
        Ok(usize::MAX)
    }

    /// Returns a file that is written and read through this disk.
    pub(super) fn file<'a, F>(&'a self, file: &'a mut F) -> OnDisk<'a, F> {
        OnDisk { disk: self, file }
    }
}

/// A file on a disk.
pub(super) struct OnDisk<'a, F> {
    disk: &'a Disk,
    file: &'a mut F,
}

impl<F: io::Write> io::Write for OnDisk<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let most = self.disk.take(&Operation::Write(bytes))?;
        self.file.write(bytes.get(..most).unwrap_or(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl<F: io::Read> io::Read for OnDisk<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.disk.before(&Operation::Read)?;
        self.file.read(buffer)
    }
}
