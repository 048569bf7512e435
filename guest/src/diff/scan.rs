//! Reads JSON values without keeping them: where they end, and a hash of what they mean.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use crate::diff::cursor::Cursor;
use crate::error::Error;
use crate::storage::Storage;

/// How deeply values may be nested. A state that is nested more deeply is compared as text.
const MAX_NESTING: usize = 1000;

/// How many names of the objects around a value are held, to find those that occur twice. Of the
/// names after that, the order in an object is not noticed.
const MAX_NAMES: usize = 1 << 18;

/// Why a value could not be read.
pub(super) enum Fault {
    /// It is not JSON.
    NotJson,
    Failed(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Object,
    Array,
    Scalar,
}

/// A value in a state.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    /// Its first byte.
    pub(super) start: u64,
    /// The byte after its last.
    pub(super) end: u64,
    /// Equal for equal values. Others have equal ones by chance only, since the hash has a
    /// random key.
    pub(super) hash: u64,
    pub(super) shape: Shape,
}

/// Reads values. Only hashes of the same scanner can be compared.
#[derive(Default)]
pub(super) struct Scanner {
    key: RandomState,
}

/// An array or object whose end was not reached yet.
struct Open {
    is_object: bool,
    /// The hash of what was read of it.
    hash: u64,
    count: u64,
    /// The hash of the name whose value comes next.
    name: u64,
    /// The hash of what was read of an object, in its order.
    in_order: u64,
    /// How many names were held before those of this object.
    names: usize,
}

type Scanned<T> = std::result::Result<T, Fault>;

impl Scanner {
    /// Reads the value here.
    pub(super) fn value<S: Storage>(&self, cursor: &mut Cursor<S>) -> Scanned<Value> {
        let (mut open, mut names): (Vec<Open>, Vec<u64>) = (Vec::new(), Vec::new());
        let first = cursor.token()?;
        let (start, shape) = (cursor.at(), shape(first));
        loop {
            let mut hash = match cursor.token()?.ok_or(Fault::NotJson)? {
                byte @ (b'{' | b'[') => {
                    cursor.skip(1);
                    let is_object = byte == b'{';
                    let begun = Open { is_object, hash: 0, count: 0, name: 0, in_order: 0, names: names.len() };
                    if cursor.token()? == Some(if is_object { b'}' } else { b']' }) {
                        cursor.skip(1);
                        self.whole(&begun, &mut names)
                    } else if open.len() == MAX_NESTING {
                        return Err(Fault::NotJson);
                    } else {
                        open.push(begun);
                        self.name_in(&mut open, cursor)?;
                        continue;
                    }
                }
                b'"' => self.string(cursor)?,
                b'-' | b'0'..=b'9' => self.number(cursor)?,
                _ => self.literal(cursor)?,
            };
            // A value is complete, and maybe those that it ends.
            loop {
                let Some(container) = open.last_mut() else {
                    return Ok(Value { start, end: cursor.at(), hash, shape });
                };
                self.add(container, hash);
                if container.is_object && names.len() < MAX_NAMES {
                    names.push(container.name);
                }
                let is_object = container.is_object;
                match cursor.token()? {
                    Some(b',') => {
                        cursor.skip(1);
                        self.name_in(&mut open, cursor)?;
                        break;
                    }
                    Some(b'}') if is_object => {}
                    Some(b']') if !is_object => {}
                    _ => return Err(Fault::NotJson),
                }
                cursor.skip(1);
                hash = open.pop().map_or(0, |container| self.whole(&container, &mut names));
            }
        }
    }

    /// Adds the hash of a child.
    fn add(&self, container: &mut Open, hash: u64) {
        container.count += 1;
        container.hash = if container.is_object {
            // In any order.
            let member = self.mixed(container.name, hash);
            container.in_order = self.mixed(container.in_order, member);
            container.hash.wrapping_add(member)
        } else {
            self.mixed(container.hash, hash)
        };
    }

    fn mixed(&self, one: u64, other: u64) -> u64 {
        let mut hasher = self.key.build_hasher();
        hasher.write(&one.to_le_bytes());
        hasher.write(&other.to_le_bytes());
        hasher.finish()
    }

    fn whole(&self, container: &Open, names: &mut Vec<u64>) -> u64 {
        let hash = self.mixed(container.count << 1 | u64::from(container.is_object), container.hash);
        let mut own = names.split_off(container.names.min(names.len()));
        own.sort_unstable();
        // Of a name that occurs twice, the last value counts, so the order does.
        if own.windows(2).any(|pair| pair.first() == pair.last()) { self.mixed(hash, container.in_order) } else { hash }
    }

    /// Reads the name that comes next, if the innermost container is an object.
    fn name_in<S: Storage>(&self, open: &mut [Open], cursor: &mut Cursor<S>) -> Scanned<()> {
        match open.last_mut() {
            Some(container) if container.is_object => {
                container.name = self.name(cursor)?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Reads a name and the colon after it. Returns the hash of the name.
    pub(super) fn name<S: Storage>(&self, cursor: &mut Cursor<S>) -> Scanned<u64> {
        if cursor.token()? != Some(b'"') {
            return Err(Fault::NotJson);
        }
        let name = self.string(cursor)?;
        if cursor.token()? != Some(b':') {
            return Err(Fault::NotJson);
        }
        cursor.skip(1);
        Ok(name)
    }

    /// Hashes the string here by its characters, however they are escaped.
    fn string<S: Storage>(&self, cursor: &mut Cursor<S>) -> Scanned<u64> {
        let mut hasher = self.key.build_hasher();
        hasher.write(b"\"");
        characters(cursor, &mut |bytes| hasher.write(bytes))?;
        // A string is never the beginning of another.
        hasher.write(&[0xff]);
        Ok(hasher.finish())
    }

    /// Hashes the number here as it is written.
    fn number<S: Storage>(&self, cursor: &mut Cursor<S>) -> Scanned<u64> {
        let mut hasher = self.key.build_hasher();
        hasher.write(b"0");
        let mut form = NumberForm::Start;
        while let Some(byte) = cursor.peek()? {
            let Some(next) = form.after(byte) else { break };
            form = next;
            hasher.write(&[byte]);
            cursor.skip(1);
        }
        if !matches!(form, NumberForm::Zero | NumberForm::Whole | NumberForm::Fraction | NumberForm::Exponent) {
            return Err(Fault::NotJson);
        }
        Ok(hasher.finish())
    }

    fn literal<S: Storage>(&self, cursor: &mut Cursor<S>) -> Scanned<u64> {
        let literal: &[u8] = match cursor.peek()? {
            Some(b't') => b"true",
            Some(b'f') => b"false",
            Some(b'n') => b"null",
            _ => return Err(Fault::NotJson),
        };
        for byte in literal {
            if cursor.take()? != Some(*byte) {
                return Err(Fault::NotJson);
            }
        }
        let mut hasher = self.key.build_hasher();
        hasher.write(literal);
        Ok(hasher.finish())
    }
}

/// How far a number was read.
#[derive(Clone, Copy)]
enum NumberForm {
    Start,
    Minus,
    /// A zero, which no other digit follows.
    Zero,
    Whole,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
}

impl NumberForm {
    /// What it becomes with another character; `None` if that is not part of the number.
    fn after(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Start, b'-') => Self::Minus,
            (Self::Start | Self::Minus, b'0') => Self::Zero,
            (Self::Start | Self::Minus | Self::Whole, b'0'..=b'9') => Self::Whole,
            (Self::Zero | Self::Whole, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Whole | Self::Fraction, b'e' | b'E') => Self::E,
            (Self::E, b'+' | b'-') => Self::Sign,
            (Self::E | Self::Sign | Self::Exponent, b'0'..=b'9') => Self::Exponent,
            _ => return None,
        })
    }
}

fn shape(first: Option<u8>) -> Shape {
    match first {
        Some(b'{') => Shape::Object,
        Some(b'[') => Shape::Array,
        _ => Shape::Scalar,
    }
}

/// Reads the string here, and passes on its characters: UTF-8, but a surrogate that is not one
/// of a pair as the three bytes that UTF-8 would have for it.
pub(super) fn characters<S: Storage>(cursor: &mut Cursor<S>, pass: &mut dyn FnMut(&[u8])) -> Scanned<()> {
    cursor.skip(1);
    loop {
        let rest = cursor.rest()?;
        let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | ..0x20)).unwrap_or(rest.len());
        pass(rest.get(..plain).unwrap_or_default());
        let stopped = rest.get(plain).copied();
        let is_end = rest.is_empty();
        cursor.skip(plain + usize::from(stopped.is_some()));
        match stopped {
            Some(b'"') => return Ok(()),
            Some(b'\\') => escape(cursor, pass)?,
            None if !is_end => {}
            _ => return Err(Fault::NotJson),
        }
    }
}

/// Reads what comes after a backslash.
fn escape<S: Storage>(cursor: &mut Cursor<S>, pass: &mut dyn FnMut(&[u8])) -> Scanned<()> {
    let plain = match cursor.take()? {
        Some(byte @ (b'"' | b'\\' | b'/')) => byte,
        Some(b'b') => 8,
        Some(b'f') => 12,
        Some(b'n') => b'\n',
        Some(b'r') => b'\r',
        Some(b't') => b'\t',
        Some(b'u') => return unicode(cursor, pass),
        _ => return Err(Fault::NotJson),
    };
    pass(&[plain]);
    Ok(())
}

fn unicode<S: Storage>(cursor: &mut Cursor<S>, pass: &mut dyn FnMut(&[u8])) -> Scanned<()> {
    let mut unit = digits(cursor)?;
    // The second of a pair is an escape of its own. If it isn't, both are passed on.
    while (0xd800..0xdc00).contains(&unit) && cursor.peek()? == Some(b'\\') {
        let mut ahead = cursor.clone();
        ahead.skip(1);
        if ahead.take()? != Some(b'u') {
            break;
        }
        let second = digits(&mut ahead)?;
        *cursor = ahead;
        if (0xdc00..0xe000).contains(&second) {
            unit = 0x10000 + ((unit - 0xd800) << 10) + (second - 0xdc00);
        } else {
            pass(&surrogate(unit));
            unit = second;
        }
    }
    match char::from_u32(unit) {
        Some(character) => pass(character.encode_utf8(&mut [0; 4]).as_bytes()),
        None => pass(&surrogate(unit)),
    }
    Ok(())
}

/// The three bytes that UTF-8 would have for a surrogate.
fn surrogate(unit: u32) -> [u8; 3] {
    let low = |bits: u32| u8::try_from(bits & 0x3f).unwrap_or_default();
    [0xed, 0x80 | low(unit >> 6), 0x80 | low(unit)]
}

/// Reads four hexadecimal digits.
fn digits<S: Storage>(cursor: &mut Cursor<S>) -> Scanned<u32> {
    let mut unit = 0;
    for _ in 0..4 {
        let digit = cursor.take()?.and_then(|byte| char::from(byte).to_digit(16)).ok_or(Fault::NotJson)?;
        unit = unit << 4 | digit;
    }
    Ok(unit)
}
