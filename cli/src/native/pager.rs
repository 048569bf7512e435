//! The program that shows long texts on a terminal, page by page.

use std::env;
use std::io::{self, IsTerminal as _, Write};
use std::process::{Child, Command, Stdio};

use crate::host::Page;

/// A pager that is running.
struct Pager {
    child: Child,
}

/// Starts the pager that the user has chosen. Returns none if there is none, or if stdout is
/// no terminal.
pub(super) fn start() -> Option<Box<dyn Page>> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let chosen = ["PERSIST_PAGER", "PAGER"].into_iter().find_map(env::var_os);
    let pager = chosen.unwrap_or_else(|| "less".into());
    if pager.is_empty() || pager == "cat" {
        return None;
    }
    // Like git, a shell runs it, since the variable may have arguments.
    let mut command = Command::new("sh");
    command.arg("-c").arg(pager).stdin(Stdio::piped());
    if env::var_os("LESS").is_none() {
        // Ends at once if all fits on one screen, shows colours, and leaves the text there.
        command.env("LESS", "FRX");
    }
    Some(Box::new(Pager { child: command.spawn().ok()? }))
}

impl Write for Pager {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.child.stdin {
            Some(stdin) => stdin.write(bytes),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.child.stdin.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Page for Pager {
    fn end(mut self: Box<Self>) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
