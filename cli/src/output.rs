//! What the command prints: results on stdout, errors and notes on stderr, for
//! people or as JSON.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, IsTerminal, Write};

use clap::Args;
use persist_model::{ErrorCode, PersistError, Result, SealState, SnapshotMetadata};
use serde::Serialize;
use serde_json::{Map, Value, json};
use unit_prefix::NumberPrefix;

/// How a command prints.
#[derive(Args)]
pub struct OutputOptions {
    /// Print results and errors as JSON, an object a line.
    #[arg(long, global = true)]
    json: bool,
    /// Print nothing but what was asked for, and errors.
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Say more of what is done, as RUST_LOG=persist_host=debug does.
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Print the help with all options, and the exit codes.
    #[arg(long, global = true)]
    help_all: bool,
}

impl OutputOptions {
    /// As JSON.
    pub fn json() -> Self {
        Self { json: true, quiet: false, verbose: false, help_all: false }
    }
}

/// Where results and errors go, and in which form.
pub struct Output {
    /// As JSON.
    pub json: bool,
    /// Nothing but what was asked for, and errors.
    pub quiet: bool,
}

/// Why the command ends early.
pub enum Failure {
    /// To be reported.
    Error(Box<PersistError>),
    /// Reported already; this is the exit code.
    Reported(u8),
    /// Whoever reads our stdout has seen enough.
    BrokenPipe,
}

/// What a shell reports of a program that SIGPIPE ended.
const BROKEN_PIPE: u8 = 141;

/// What a shell reports of a program that Ctrl-C ended.
pub const INTERRUPTED: u8 = 130;

impl From<PersistError> for Failure {
    fn from(error: PersistError) -> Self {
        Self::Error(Box::new(error))
    }
}

/// What the command exits with for an error.
fn exit_code(error: &PersistError) -> u8 {
    if error.code() == ErrorCode::Cancelled { INTERRUPTED } else { error.exit_code() }
}

impl Failure {
    /// What a failed write to stdout means.
    pub fn stdout(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => PersistError::new(ErrorCode::Io, format!("could not write to standard output: {error}")).into(),
        }
    }

    /// Reports what is still to be reported, and gives the exit code.
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
    /// Output as these options say.
    pub fn new(options: &OutputOptions) -> Self {
        Self { json: options.json, quiet: options.quiet }
    }

    /// Prints a result: the object with `--json`, else the text, which may
    /// have several lines.
    ///
    /// # Errors
    /// If stdout takes no more, or the object is no JSON.
    pub fn result(&self, object: &impl Serialize, text: impl fmt::Display) -> Result<(), Failure> {
        print_line(&self.line(object, text)?)
    }

    /// Prints what was done, for who wants to know.
    ///
    /// # Errors
    /// As [`result`](Self::result).
    pub fn report(&self, object: &impl Serialize, text: impl fmt::Display) -> Result<(), Failure> {
        if self.quiet { Ok(()) } else { self.result(object, text) }
    }

    /// Prints what was done on stderr, where stdout is taken.
    ///
    /// # Errors
    /// If the object is no JSON.
    pub fn note_or_object(&self, object: &impl Serialize, text: impl fmt::Display) -> Result<()> {
        if !self.quiet {
            eprint_line(&if self.json { to_json(object)? } else { text.to_string() });
        }
        Ok(())
    }

    /// A remark for people, on stderr.
    pub fn note(&self, text: impl fmt::Display) {
        if !self.quiet && !self.json {
            eprint_line(&text.to_string());
        }
    }

    /// An error: one line, or an object with `--json`.
    pub fn error(&self, error: &PersistError) {
        let line = if self.json { error_object(error).to_string() } else { error_line(error) };
        eprint_line(&line);
    }

    /// Whether somebody is watching who likes to see progress.
    pub fn shows_progress(&self) -> bool {
        !self.quiet && !self.json && io::stderr().is_terminal()
    }

    /// What [`result`](Self::result) prints.
    ///
    /// # Errors
    /// If the object is no JSON.
    pub fn line(&self, object: &impl Serialize, text: impl fmt::Display) -> Result<String> {
        if self.json { to_json(object) } else { Ok(text.to_string()) }
    }

    /// What [`report`](Self::report) prints, if anything.
    ///
    /// # Errors
    /// If the object is no JSON.
    pub fn report_line(&self, object: &impl Serialize, text: impl fmt::Display) -> Result<Option<String>> {
        if self.quiet { Ok(None) } else { self.line(object, text).map(Some) }
    }

    /// Prints such a line.
    ///
    /// # Errors
    /// If stdout takes no more.
    pub fn print(&self, line: &str) -> Result<(), Failure> {
        print_line(line)
    }
}

/// The worse of two exit codes. Damage is the worst, then that nobody knows what came of
/// it; that something was only not synced is the least.
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

/// A closed stderr is nobody's error.
fn eprint_line(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

fn to_json(object: &impl Serialize) -> Result<String> {
    serde_json::to_string(object).map_err(|error| PersistError::new(ErrorCode::Other, format!("no JSON could be written: {error}")))
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

/// A text from elsewhere, fit for a terminal: what would move the cursor,
/// change colours or turn the writing direction is shown as an escape.
pub fn printable(text: &str) -> Cow<'_, str> {
    let turns_direction = |character| matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let harmful = |character: char| character.is_control() || turns_direction(character);
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let show = |character: char| if harmful(character) { character.escape_unicode().to_string() } else { character.to_string() };
    Cow::Owned(text.chars().map(show).collect())
}

/// A number of bytes with all its digits: `1,234,567 bytes`.
pub fn exact_bytes(bytes: u64) -> String {
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

/// A number of bytes to read at a glance: `1.23 MB`.
pub fn short_bytes(bytes: u64) -> String {
    // Of numbers beyond 2^53 only the first digits are shown.
    #[allow(clippy::cast_precision_loss)]
    match NumberPrefix::decimal(bytes as f64) {
        NumberPrefix::Standalone(number) => format!("{number:.0} B"),
        NumberPrefix::Prefixed(prefix, number) => format!("{number:.2} {prefix}B"),
    }
}

/// What to add to a result about the snapshot's seal; nothing if it has none.
pub(crate) fn seal_note(metadata: &SnapshotMetadata) -> &'static str {
    match metadata.seal {
        SealState::None => "",
        SealState::Checked => ", sealed",
        SealState::NotChecked => ", sealed, not checked",
        SealState::Wrong => ", WRONGLY sealed",
    }
}

/// How many times smaller a snapshot is than its state.
pub fn ratio(metadata: &SnapshotMetadata) -> String {
    if metadata.uncompressed_size == 0 { "-".to_owned() } else { format!("{:.1}x", metadata.ratio()) }
}
