//! `persist diff`

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::Path;

use clap::Args;
use persist_model::{Change, DiffKind, ErrorCode, Excerpt, Operation, PersistError, Result, SnapshotMetadata, View};

use crate::choices::Color;
use crate::host::{DiffSource, Differences, Host, Page};
use crate::output::{Failure, Output, counted, printable, short_bytes};
use crate::sources::{check_means_something, is_folder};
use crate::state::open_state;

/// The largest state that is read from stdin, in bytes: it is held in memory.
const MAX_STDIN: u64 = 64 << 20;

/// The most characters of a value that are shown.
const MAX_SHOWN: usize = 100;

/// Show what is different between two states.
///
/// A and B are snapshots, steps of timelines, or other files, each in any storage. JSON is
/// compared by value: each line has the path of a value that was added (+), removed (-) or
/// changed (~). Elements of arrays, such as messages, are aligned. Other text is compared by
/// line. Only the parts being compared are held in memory, so a state can be large.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  persist diff agents/support/case-4711@41 @42\n  persist diff agents/0001.json.gz state.json\n  persist diff agents/support/case-4711@41 @42 --json > patch.json"
)]
pub struct Arguments {
    /// The first state: a snapshot, a step of a timeline such as FOLDER@41, a file, or - for
    /// stdin. A timeline alone means its newest step.
    #[arg(value_name = "A")]
    before: String,
    /// The second state; @42 is another step of the timeline of A. With --json, the output is
    /// a JSON Patch (RFC 6902) that turns A into B.
    #[arg(value_name = "B")]
    after: String,
    /// When to use colours.
    #[arg(long, value_name = "WHEN", value_enum, default_value = "auto")]
    color: Color,
    /// Do not page long output (the pager is $PERSIST_PAGER, $PAGER or less).
    #[arg(long)]
    no_pager: bool,
}

/// A state to compare, and its metadata if they had to be read to find it.
type Source = (DiffSource, Option<SnapshotMetadata>);

/// Returns the state that a text names.
fn source(host: &impl Host, text: &str) -> Result<Source> {
    if text == "-" {
        let mut state = Vec::new();
        let read = open_state(Path::new("-"))?.bytes.take(MAX_STDIN + 1).read_to_end(&mut state);
        read.map_err(|error| PersistError::new(ErrorCode::Io, format!("could not read the state: {error}")).at("stdin"))?;
        if state.len() as u64 > MAX_STDIN {
            let error = PersistError::new(ErrorCode::LimitExceeded, "the state is larger than 64 MiB").at("stdin");
            return Err(error.hint("write it to a file, and give its path"));
        }
        return Ok((DiffSource::Bytes(state), None));
    }
    check_means_something(text)?;
    if let Some(step) = host.locate_step(text, None)? {
        return Ok((DiffSource::Stored(step), None));
    }
    if is_folder(host, text) {
        return match host.locate_step(text, Some("latest")) {
            Ok(Some(step)) => Ok((DiffSource::Stored(step), None)),
            Err(error) if error.code() != ErrorCode::NotFound => Err(error),
            _ => {
                let error = PersistError::new(ErrorCode::InvalidArgument, "this is a folder without a timeline").at(text.escape_debug());
                Err(error.hint("give one of the snapshots in it; 'persist list' shows them"))
            }
        };
    }
    let location = host.locate_followed(text)?;
    match host.metadata(&location) {
        Err(error) if error.code() == ErrorCode::NotASnapshot => Ok((DiffSource::Object(location), None)),
        Err(error) => Err(error),
        Ok(metadata) => Ok((DiffSource::Stored(location), Some(metadata))),
    }
}

/// Returns what is shown of two states.
fn view_of(host: &impl Host, before: &Source, after: &Source) -> Result<View> {
    let content_type = |location, metadata: &Option<SnapshotMetadata>| match metadata {
        Some(metadata) => Ok(metadata.content_type.clone()),
        None => host.metadata(location).map(|metadata| metadata.content_type),
    };
    match (before, after) {
        ((DiffSource::Stored(one), one_metadata), (DiffSource::Stored(other), other_metadata)) => {
            Ok(View::of(&content_type(one, one_metadata)?, &content_type(other, other_metadata)?))
        }
        _ => Ok(View::Whole),
    }
}

/// Returns the name of the second state: another step of the timeline of the first, if it is
/// only a step.
fn second_name(host: &impl Host, before: &str, after: &str) -> String {
    if !after.starts_with('@') || Path::new(after).exists() {
        return after.to_owned();
    }
    match before.rsplit_once('@') {
        Some((folder, step)) if !step.contains('/') && !folder.is_empty() => format!("{folder}{after}"),
        _ if is_folder(host, before) => format!("{}{after}", before.trim_end_matches('/')),
        _ => after.to_owned(),
    }
}

/// The text for people, which goes to a page.
struct Text {
    page: Box<dyn Page>,
    is_colored: bool,
}

#[derive(Clone, Copy)]
enum Style {
    Plain,
    Bold,
    Red,
    Green,
    Yellow,
    Cyan,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "1",
            Self::Red => "31",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Cyan => "36",
        }
    }
}

impl Text {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.page.write_all(bytes).map_err(|error| Failure::stdout(&error))
    }

    fn line(&mut self, style: Style, line: &str) -> Result<(), Failure> {
        let code = style.code();
        if self.is_colored && !code.is_empty() {
            self.write(format!("\u{1b}[{code}m{line}\u{1b}[0m\n").as_bytes())
        } else {
            self.write(format!("{line}\n").as_bytes())
        }
    }
}

/// Formats a value: its beginning, and its size if that is not all of it.
fn shown(excerpt: Option<&Excerpt>) -> String {
    let Some(Excerpt { text, is_cut, size, .. }) = excerpt else { return String::new() };
    let text = as_message(text).unwrap_or_else(|| text.clone());
    let text = printable(&text);
    let is_long = text.chars().count() > MAX_SHOWN;
    if !is_cut && !is_long {
        return text.into_owned();
    }
    let start: String = text.chars().take(MAX_SHOWN).collect();
    format!("{start}… ({})", short_bytes(*size))
}

/// Formats a message, of which the role and the content come first: `user: "Hello"`. What else it
/// has is left out. None if the value is something else, or a message without text.
fn as_message(text: &str) -> Option<String> {
    let rest = ["{\"type\":\"", "{\"role\":\""].iter().find_map(|start| text.strip_prefix(start))?;
    let (role, rest) = rest.split_once('"')?;
    let content = rest.strip_prefix(",\"content\":\"").filter(|content| !content.starts_with('"'))?;
    let is_role = !role.is_empty() && role.bytes().all(|letter| letter.is_ascii_alphanumeric() || letter == b'_');
    let mut is_escaped = false;
    let end = content.bytes().position(|letter| {
        let is_end = letter == b'"' && !is_escaped;
        is_escaped = letter == b'\\' && !is_escaped;
        is_end
    });
    let content = end.and_then(|end| content.get(..=end)).unwrap_or(content);
    is_role.then(|| format!("{role}: \"{content}"))
}

fn print_changes(diff: &mut dyn Differences, view: View, text: &mut Text) -> Result<(), Failure> {
    let mut counts = [0_u64; 3];
    while let Some(change) = diff.next_change()? {
        let Some(Change { operation, path, before, after, .. }) = view.shown(change) else { continue };
        let (before, after) = (shown(before.as_ref()), shown(after.as_ref()));
        let (sign, style, values, count) = match operation {
            Operation::Add => ('+', Style::Green, after, 0),
            Operation::Remove => ('-', Style::Red, before, 1),
            Operation::Replace => ('~', Style::Yellow, format!("{before} → {after}"), 2),
        };
        if let Some(count) = counts.get_mut(count) {
            *count += 1;
        }
        let path = if path.is_empty() { "(everything)".into() } else { printable(&path) };
        text.line(style, &format!("{sign} {path}: {values}"))?;
    }
    let [added, removed, changed] = counts;
    if counts == [0; 3] {
        let equal = match view {
            View::Whole => "the values are equal, but written differently",
            View::Channels => "the channels of the graph are equal; --json shows the rest",
        };
        return text.line(Style::Plain, equal);
    }
    let all: Vec<String> = [(added, "added"), (removed, "removed"), (changed, "changed")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", counted(count, "value")))
        .collect();
    text.line(Style::Plain, &all.join(", "))
}

/// Prints the hunks of a unified diff. On a terminal, harmful characters are escaped.
fn print_hunks(diff: &mut dyn Differences, text: &mut Text) -> Result<(), Failure> {
    if !text.is_colored && !io::stdout().is_terminal() {
        while let Some(bytes) = diff.next_bytes()? {
            text.write(&bytes)?;
        }
        return Ok(());
    }
    let mut rest = Vec::new();
    let print = |line: &[u8], text: &mut Text| {
        let style = match line.first() {
            Some(b'-') => Style::Red,
            Some(b'+') => Style::Green,
            Some(b'@') => Style::Cyan,
            _ => Style::Plain,
        };
        let line = String::from_utf8_lossy(line);
        let parts: Vec<_> = line.split('\t').map(printable).collect();
        text.line(style, &parts.join("\t"))
    };
    while let Some(bytes) = diff.next_bytes()? {
        rest.extend_from_slice(&bytes);
        let mut lines = rest.split_inclusive(|byte| *byte == b'\n').peekable();
        let mut left = 0..0;
        let mut at = 0;
        while let Some(line) = lines.next() {
            let whole = line.strip_suffix(b"\n");
            if whole.is_none() && lines.peek().is_none() {
                left = at..at + line.len();
            } else {
                print(whole.unwrap_or(line), text)?;
            }
            at += line.len();
        }
        rest = rest.get(left).unwrap_or_default().to_vec();
    }
    if rest.is_empty() { Ok(()) } else { print(&rest, text) }
}

/// Escapes the characters of JSON that change how a terminal shows it. They occur only in strings.
/// `rest` is the beginning of a character whose other bytes come next.
fn for_terminal(rest: &mut Vec<u8>, bytes: &[u8]) -> String {
    rest.extend_from_slice(bytes);
    let whole = match str::from_utf8(rest) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => rest.len(),
    };
    let left = rest.split_off(whole);
    let text = String::from_utf8_lossy(&std::mem::replace(rest, left)).into_owned();
    let is_harmful =
        |letter: char| matches!(letter, '\u{7f}'..='\u{9f}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if !text.contains(is_harmful) {
        return text;
    }
    text.chars().map(|letter| if is_harmful(letter) { format!("\\u{:04x}", u32::from(letter)) } else { letter.to_string() }).collect()
}

fn print_patch(diff: &mut dyn Differences, kind: DiffKind) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let (is_terminal, mut rest) = (stdout.is_terminal(), Vec::new());
    let mut write = |bytes: &[u8]| stdout.write_all(bytes).map_err(|error| Failure::stdout(&error));
    match kind {
        DiffKind::Equal => write(b"[]\n"),
        DiffKind::Json => {
            while let Some(bytes) = diff.next_bytes()? {
                if is_terminal {
                    write(for_terminal(&mut rest, &bytes).as_bytes())?;
                } else {
                    write(&bytes)?;
                }
            }
            Ok(())
        }
        DiffKind::Text | DiffKind::Binary => {
            let error = PersistError::new(ErrorCode::InvalidArgument, "only JSON states have a JSON Patch, and these are not both JSON");
            Err(error.hint("leave out --json").into())
        }
    }
}

pub(crate) fn run(arguments: &Arguments, host: &impl Host, output: &Output) -> Result<(), Failure> {
    let (before, after) = (&arguments.before, second_name(host, &arguments.before, &arguments.after));
    if before == "-" && after == "-" {
        return Err(PersistError::new(ErrorCode::InvalidArgument, "only one of the states can come from stdin").into());
    }
    let (one, other) = (source(host, before)?, source(host, &after)?);
    let view = if output.json { View::Whole } else { view_of(host, &one, &other)? };
    let mut diff = host.diff(one.0, other.0)?;
    let kind = diff.kind();
    if output.json {
        return print_patch(&mut *diff, kind);
    }
    if kind == DiffKind::Equal {
        output.note("the states are equal");
        return Ok(());
    }
    let mut text = Text { page: host.page(!arguments.no_pager), is_colored: arguments.color.is_on() };
    let mut print = || {
        if kind != DiffKind::Binary {
            text.line(Style::Bold, &format!("--- {}", printable(before)))?;
            text.line(Style::Bold, &format!("+++ {}", printable(&after)))?;
        }
        match kind {
            DiffKind::Json => print_changes(&mut *diff, view, &mut text),
            _ => print_hunks(&mut *diff, &mut text),
        }
    };
    let printed = print();
    text.page.end()?;
    printed
}

#[cfg(test)]
mod tests {
    use super::{as_message, for_terminal};

    #[test]
    fn messages_are_shown_by_role_and_content() {
        for (text, expected) in [
            (r#"{"role":"user","content":"Hi"}"#, Some("user: \"Hi\"")),
            (r#"{"type":"ai","content":"say \"Hi\"","id":null}"#, Some(r#"ai: "say \"Hi\"""#)),
            (r#"{"type":"ai","content":"a long te"#, Some("ai: \"a long te")),
            (r#"{"type":"ai","content":"","tool_calls":[1]}"#, None),
            (r#"{"type":"ai","content":["x"]}"#, None),
            (r#"{"type":"a b","content":"x"}"#, None),
            (r#"{"content":"x"}"#, None),
        ] {
            assert_eq!(as_message(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_patch_on_a_terminal_has_no_control_characters() {
        let text = "[{\"path\": \"/é\u{9b}31m\", \"value\": \"日\u{202e}\u{7f}\"}]";
        let expected = "[{\"path\": \"/é\\u009b31m\", \"value\": \"日\\u202e\\u007f\"}]";
        for cut in 0..=text.len() {
            let (one, other) = text.as_bytes().split_at(cut);
            let mut rest = Vec::new();
            let shown = for_terminal(&mut rest, one) + &for_terminal(&mut rest, other);
            assert_eq!((shown.as_str(), rest.as_slice()), (expected, &[][..]), "{cut}");
        }
    }
}
