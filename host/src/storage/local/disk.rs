//! Every file operation passes here first, so that tests can let each of them
//! fail, and can note them down to replay a power cut. Outside of tests this is
//! nothing.

use std::io;

/// A file operation that is about to happen. Paths are below the root.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code, reason = "only tests look inside"))]
pub(super) enum Operation<'a> {
    OpenRoot,
    /// The root and what is above it; not below it.
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
    /// From one name to another, in a folder.
    Rename(&'a str, &'a str, &'a str),
    Remove(&'a str, &'a str),
}

/// What a test wants to happen instead.
#[cfg(test)]
pub(super) trait Probe: std::fmt::Debug + Send + Sync {
    /// An error that takes the operation's place, or for a write how many of
    /// the bytes are taken at most.
    fn before(&self, operation: &Operation<'_>) -> io::Result<usize>;
}

/// The way to the files.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    #[cfg(test)]
    pub(super) probe: Option<std::sync::Arc<dyn Probe>>,
}

impl Disk {
    /// Announces an operation.
    #[cfg_attr(not(test), allow(clippy::unused_self, reason = "tests have a probe in it"))]
    pub(super) fn before(&self, operation: &Operation<'_>) -> io::Result<()> {
        self.take(operation).map(drop)
    }

    #[cfg(test)]
    fn take(&self, operation: &Operation<'_>) -> io::Result<usize> {
        self.probe.as_ref().map_or(Ok(usize::MAX), |probe| probe.before(operation))
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests have a probe in it")]
    fn take(&self, _: &Operation<'_>) -> io::Result<usize> {
        Ok(usize::MAX)
    }

    /// A file to be written or read by way of this disk.
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
