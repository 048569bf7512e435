//! The program that shows long texts on a terminal, page by page.

use std::env;
use std::ffi::OsStr;
use std::io::{self, IsTerminal as _, Write};
use std::process::{Child, Command, Stdio};

use persist_model::{ErrorCode, PersistError, Result};

use crate::host::Page;

/// A pager that is running.
struct Pager {
    name: String,
    child: Child,
}

/// Starts the pager that the user has chosen. Returns none if there is none, if it is not
/// installed, or if stdout is no terminal.
pub(super) fn start() -> Option<Box<dyn Page>> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let chosen = ["PERSIST_PAGER", "PAGER"].into_iter().find_map(env::var_os);
    let pager = chosen.unwrap_or_else(|| "less".into());
    if pager.is_empty() || pager == "cat" || !is_installed(&pager) {
        return None;
    }
    // Like git, a shell runs it, since the variable may have arguments.
    let mut command = Command::new("sh");
    command.arg("-c").arg(&pager).stdin(Stdio::piped());
    if env::var_os("LESS").is_none() {
        // Ends at once if all fits on one screen, shows colours, and leaves the text there.
        command.env("LESS", "FRX");
    }
    let name = pager.to_string_lossy().into_owned();
    Some(Box::new(Pager { name, child: command.spawn().ok()? }))
}

/// Whether the shell knows the command with which a pager begins.
fn is_installed(pager: &OsStr) -> bool {
    let name = pager.to_string_lossy();
    let Some(name) = name.split_whitespace().next() else { return false };
    // Not for the shell to look up, such as `LESS=R less`.
    if name.contains(|letter: char| !(letter.is_alphanumeric() || "/.-_+".contains(letter))) {
        return true;
    }
    let mut known = Command::new("sh");
    known.args(["-c", "command -v -- \"$1\"", "sh", name]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    known.status().is_ok_and(|status| status.success())
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
    fn end(mut self: Box<Self>) -> Result<()> {
        drop(self.child.stdin.take());
        let code = self.child.wait().ok().and_then(|status| status.code());
        if code.is_none_or(|code| code == 0) {
            return Ok(());
        }
        let message = format!("the pager '{}' failed, so some of the output may not have been shown", self.name);
        let error = PersistError::new(ErrorCode::Io, message);
        Err(error.hint("use --no-pager, or set PERSIST_PAGER to another pager"))
    }
}
