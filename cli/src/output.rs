//! The command's output: results on stdout, errors and notes on stderr, as text or as
//! JSON.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, IsTerminal, Write};

use clap::Args;
use persist_model::{ErrorCode, PersistError, Result, SealState, SnapshotMetadata};
use serde::Serialize;
use serde_json::{Map, Value, json};
use unit_prefix::NumberPrefix;

/// The options for output.
#[derive(Args)]
pub struct OutputOptions {
    /// Print results and errors as JSON, one object per line.
    #[arg(long, global = true)]
    json: bool,
    /// Print only requested output and errors.
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Log each operation, as with RUST_LOG=persist_host=debug.
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Print help with all options and the exit codes.
    #[arg(long, global = true)]
    help_all: bool,
}

impl OutputOptions {
    /// Returns options for JSON output.
    pub fn json() -> Self {
        Self { json: true, quiet: false, verbose: false, help_all: false }
    }
}

/// Prints results and errors in the form that was asked for.
pub struct Output {
    /// Whether to print JSON.
    pub json: bool,
    /// Whether to print only requested output and errors.
    pub quiet: bool,
}

/// Why the command ends early.
pub enum Failure {
    /// An error that is still to be reported.
    Error(Box<PersistError>),
    /// An error that was already reported, with this exit code.
    Reported(u8),
    /// The reader of stdout closed the pipe.
    BrokenPipe,
}

/// The exit code that a shell reports for a program killed by SIGPIPE.
const BROKEN_PIPE: u8 = 141;

/// The exit code that a shell reports for a program killed by Ctrl-C.
pub(crate) const INTERRUPTED: u8 = 130;

impl From<PersistError> for Failure {
    fn from(error: PersistError) -> Self {
        Self::Error(Box::new(error))
    }
}

/// Returns the exit code for an error.
fn exit_code(error: &PersistError) -> u8 {
    if error.code() == ErrorCode::Cancelled { INTERRUPTED } else { error.exit_code() }
}

impl Failure {
    /// Returns the failure for an error of writing to stdout.
    pub fn stdout(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => PersistError::new(ErrorCode::Io, format!("could not write to standard output: {error}")).into(),
        }
    }

    /// Reports an error that was not reported yet, and returns the exit code.
    pub fn report(self, output: &Output) -> u8 {
        match self {
            Self::Error(error) => {
                output.error(&error);
                exit_code(&error)
            }
            Self::Reported(exit_code) => exit_code,
            Self::BrokenPipe => BROKEN_PIPE,
        }
    }
}

impl Output {
    /// Creates the output for these options.
    pub fn new(options: &OutputOptions) -> Self {
        Self { json: options.json, quiet: options.quiet }
    }

    /// Prints a result: the object with `--json`, otherwise the text, which may have
    /// several lines.
    ///
    /// # Errors
    /// If stdout cannot be written to, or the object cannot be serialised.
    pub fn result(&self, object: &impl Serialize, text: impl fmt::Display) -> Result<(), Failure> {
        print_line(&self.line(object, text)?)
    }

    /// Prints what was done, unless `--quiet` was given.
    ///
    /// # Errors
    /// Those of [`result`](Self::result).
    pub fn report(&self, object: &impl Serialize, text: impl fmt::Display) -> Result<(), Failure> {
        if self.quiet { Ok(()) } else { self.result(object, text) }
    }

    /// Prints what was done to stderr, for commands whose stdout carries the state.
    ///
    /// # Errors
    /// If the object cannot be serialised.
    pub fn note_or_object(&self, object: &impl Serialize, text: impl fmt::Display) -> Result<()> {
        if !self.quiet {
            eprint_line(&if self.json { to_json(object)? } else { text.to_string() });
        }
        Ok(())
    }

    /// Prints a note to stderr, unless `--quiet` or `--json` was given.
    pub fn note(&self, text: impl fmt::Display) {
        if !self.quiet && !self.json {
            eprint_line(&text.to_string());
        }
    }

    /// Prints an error to stderr: one line, or an object with `--json`.
    pub fn error(&self, error: &PersistError) {
        let line = if self.json { error_object(error).to_string() } else { error_line(error) };
        eprint_line(&line);
    }

    /// Returns whether to show progress.
    pub fn shows_progress(&self) -> bool {
        !self.quiet && !self.json && io::stderr().is_terminal()
    }

    /// Returns what [`result`](Self::result) prints.
    ///
    /// # Errors
    /// If the object cannot be serialised.
    pub fn line(&self, object: &impl Serialize, text: impl fmt::Display) -> Result<String> {
        if self.json { to_json(object) } else { Ok(text.to_string()) }
    }

    /// Returns what [`report`](Self::report) prints, if anything.
    ///
    /// # Errors
    /// If the object cannot be serialised.
    pub fn report_line(&self, object: &impl Serialize, text: impl fmt::Display) -> Result<Option<String>> {
        if self.quiet { Ok(None) } else { self.line(object, text).map(Some) }
    }

    /// Prints a line to stdout.
    ///
    /// # Errors
    /// If stdout cannot be written to.
    pub fn print(&self, line: &str) -> Result<(), Failure> {
        print_line(line)
    }
}

/// Returns the worse of two exit codes: damage (5) is the worst, followed by an unknown
/// outcome (13); a missing sync (12) counts least.
pub(crate) fn worse(a: u8, b: u8) -> u8 {
    let rank = |code: u8| match code {
        0 => 0,
        12 => 1,
        13 => 254,
        5 => 255,
        code => code.saturating_add(2),
    };
    if rank(b) > rank(a) { b } else { a }
}

fn print_line(line: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(line.as_bytes())
        .and_then(|()| stdout.write_all(b"\n"))
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::stdout(&error))
}

/// Prints a line to stderr. If stderr is closed, that is not an error.
fn eprint_line(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

fn to_json(object: &impl Serialize) -> Result<String> {
    serde_json::to_string(object).map_err(|error| PersistError::new(ErrorCode::Other, format!("could not write JSON: {error}")))
}

fn error_line(error: &PersistError) -> String {
    let mut line = format!("error: {}", printable(&error.to_string()));
    if let Some(location) = error.location() {
        line.push_str(&format!(": {}", printable(location)));
    }
    if let Some(hint) = &error.detail().hint {
        line.push_str(&format!(" ({})", printable(hint)));
    }
    line
}

fn error_object(error: &PersistError) -> Value {
    let detail = error.detail();
    let facts: Map<String, Value> = detail.facts.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({
        "code": detail.code.as_str(),
        "message": error.to_string(),
        "location": detail.location,
        "retryable": detail.retryable,
        "hint": detail.hint,
        "details": facts,
        "exit_code": exit_code(error),
    })
}

/// Makes text from elsewhere safe for a terminal: characters that would move the cursor,
/// change colours or turn the writing direction become escapes.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let turns_direction = |character| matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let harmful = |character: char| character.is_control() || turns_direction(character);
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let show = |character: char| if harmful(character) { character.escape_unicode().to_string() } else { character.to_string() };
    Cow::Owned(text.chars().map(show).collect())
}

/// Formats a number of bytes with all its digits: `1,234,567 bytes`.
pub(crate) fn exact_bytes(bytes: u64) -> String {
    let digits = bytes.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in (1..=digits.len()).rev().zip(digits.chars()) {
        grouped.push(digit);
        if place > 1 && place % 3 == 1 {
            grouped.push(',');
        }
    }
    format!("{grouped} {}", if bytes == 1 { "byte" } else { "bytes" })
}

/// Formats a number of things: `1 step`, `2 steps`.
#[cfg_attr(not(feature = "native"), allow(dead_code, reason = "only native commands count"))]
pub(crate) fn counted(count: u64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// Formats a number of bytes in a short form: `1.23 MB`.
pub(crate) fn short_bytes(bytes: u64) -> String {
    // Only the first digits are shown, so the precision of 2^53 is enough.
    #[allow(clippy::cast_precision_loss)]
    match NumberPrefix::decimal(bytes as f64) {
        NumberPrefix::Standalone(number) => format!("{number:.0} B"),
        NumberPrefix::Prefixed(prefix, number) => format!("{number:.2} {prefix}B"),
    }
}

/// Returns the note on the snapshot's seal for a result line, empty if it has none.
pub(crate) fn seal_note(metadata: &SnapshotMetadata) -> &'static str {
    match metadata.seal {
        SealState::None => "",
        SealState::Checked => ", sealed",
        SealState::NotChecked => ", sealed, not checked",
        SealState::Wrong => ", seal INVALID",
    }
}

/// Formats how many times smaller a snapshot is than its state.
pub(crate) fn ratio(metadata: &SnapshotMetadata) -> String {
    if metadata.uncompressed_size == 0 { "-".to_owned() } else { format!("{:.1}x", metadata.ratio()) }
}
