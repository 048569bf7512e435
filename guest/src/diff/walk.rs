//! Walks two JSON states in parallel, and finds where they differ.

use std::collections::HashMap;
use std::vec;

use persist_model::Operation;

use crate::diff::align::hunks;
use crate::diff::children::{Child, Children, name_of};
use crate::diff::pointer::{push_index, push_name};
use crate::diff::scan::{Scanner, Shape, Value};
use crate::diff::state::Side;
use crate::error::Result;
use crate::storage::Storage;

/// The most children of a value that are compared with each other. Longer arrays are compared
/// element by element, and longer objects are replaced.
const MAX_CHILDREN: usize = 1 << 18;

/// The most differences that are known at the same time, on all levels.
const MAX_HELD: usize = 1 << 19;

/// How many levels are looked into. Below, values are replaced.
const MAX_DEPTH: usize = 128;

/// A difference.
pub(super) struct Found {
    pub(super) operation: Operation,
    /// Where the value is once all earlier differences were applied.
    pub(super) path: String,
    /// Where it is for people: if it was removed, with its position in the first state.
    pub(super) shown: String,
    pub(super) before: Option<Value>,
    pub(super) after: Option<Value>,
}

/// A difference on one level.
#[derive(Clone, Copy)]
struct Todo {
    place: Place,
    before: Option<Value>,
    after: Option<Value>,
}

/// Where a value is in its array or object.
#[derive(Clone, Copy)]
enum Place {
    /// The value is a whole state.
    Root,
    /// Where its name begins, and whether in the second state.
    Name { at: u64, in_after: bool },
    /// Its position once all earlier differences were applied, and the one for people.
    Index { now: u64, shown: u64 },
}

/// The members of an object, and the index of each by the hash of its name.
type Members = (Vec<Child>, HashMap<u64, u32>);

/// The differences of one level that were not returned yet.
struct Level<S: Storage> {
    todos: Todos<S>,
    /// The length of the path of the array or object.
    path: usize,
}

enum Todos<S: Storage> {
    Known(vec::IntoIter<Todo>),
    /// A long array, element by element.
    Long(Box<Long<S>>),
}

struct Long<S: Storage> {
    before: Children<S>,
    after: Children<S>,
    /// How many elements of each were read.
    read: (u64, u64),
}

/// Finds the differences of two states, in an order in which each can be applied.
pub(super) struct Walker<S: Storage> {
    scanner: Scanner,
    before: Side<S>,
    after: Side<S>,
    levels: Vec<Level<S>>,
    path: String,
    /// How many differences all levels have.
    held: usize,
}

impl<S: Storage> Walker<S> {
    /// Starts with the two states as values.
    pub(super) fn new(scanner: Scanner, before: Side<S>, after: Side<S>, one: Value, other: Value) -> Self {
        let root = Todo { place: Place::Root, before: Some(one), after: Some(other) };
        let todos = if one.hash == other.hash { Vec::new() } else { vec![root] };
        let levels = vec![Level { todos: Todos::Known(todos.into_iter()), path: 0 }];
        Self { scanner, before, after, levels, path: String::new(), held: 0 }
    }

    /// Returns the next difference; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<Found>> {
        while let Some(level) = self.levels.last_mut() {
            self.path.truncate(level.path);
            let todo = match &mut level.todos {
                Todos::Known(todos) => {
                    self.held = self.held.saturating_sub(1);
                    todos.next()
                }
                Todos::Long(long) => long.next(&self.scanner)?,
            };
            let Some(todo) = todo else {
                self.levels.pop();
                continue;
            };
            if let (Some(before), Some(after)) = (todo.before, todo.after)
                && let Some(todos) = self.inside(before, after)?
            {
                self.place(todo.place)?;
                self.levels.push(Level { todos, path: self.path.len() });
                continue;
            }
            return self.found(todo).map(Some);
        }
        Ok(None)
    }

    /// Adds the place of a value to the path. Returns the path for people, if it is another.
    fn place(&mut self, place: Place) -> Result<Option<String>> {
        match place {
            Place::Root => {}
            Place::Name { at, in_after } => {
                let name = name_of(if in_after { &self.after } else { &self.before }, at)?;
                push_name(&mut self.path, &name.unwrap_or_default());
            }
            Place::Index { now, shown } => {
                let other = (now != shown).then(|| {
                    let mut path = self.path.clone();
                    push_index(&mut path, shown);
                    path
                });
                push_index(&mut self.path, now);
                return Ok(other);
            }
        }
        Ok(None)
    }

    fn found(&mut self, todo: Todo) -> Result<Found> {
        let shown = self.place(todo.place)?;
        let operation = match (todo.before, todo.after) {
            (None, _) => Operation::Add,
            (_, None) => Operation::Remove,
            _ => Operation::Replace,
        };
        let path = self.path.clone();
        Ok(Found { operation, shown: shown.unwrap_or_else(|| path.clone()), path, before: todo.before, after: todo.after })
    }

    /// Returns the differences inside two values; `None` if one replaces the other.
    fn inside(&mut self, before: Value, after: Value) -> Result<Option<Todos<S>>> {
        if self.levels.len() > MAX_DEPTH {
            return Ok(None);
        }
        let todos = match (before.shape, after.shape) {
            (Shape::Object, Shape::Object) => self.members(before, after)?,
            (Shape::Array, Shape::Array) => match self.elements(before, after)? {
                Elements::Known(todos) => Some(todos),
                Elements::Long(long) => return Ok(Some(Todos::Long(long))),
            },
            _ => None,
        };
        Ok(todos.filter(|todos| self.held + todos.len() <= MAX_HELD).map(|todos| {
            // The end counts as well.
            self.held += todos.len() + 1;
            Todos::Known(todos.into_iter())
        }))
    }

    /// Compares the members of two objects; `None` if they have too many, or names that are
    /// not unique or can't be in a path.
    fn members(&self, before: Value, after: Value) -> Result<Option<Vec<Todo>>> {
        let read = |state: &Side<S>, value: Value| -> Result<Option<Members>> {
            let mut children = Children::new(state, value);
            let members = self.up_to(&mut children, MAX_CHILDREN)?;
            let mut names: HashMap<u64, u32> = HashMap::with_capacity(members.len());
            let are_unique = (0..).zip(&members).all(|(index, member)| names.insert(member.name, index).is_none());
            Ok((are_unique && children.next(&self.scanner)?.is_none()).then_some((members, names)))
        };
        let Some((before, mut left)) = read(&self.before, before)? else { return Ok(None) };
        let Some((after, _)) = read(&self.after, after)? else { return Ok(None) };
        let (mut changed, mut added) = (Vec::new(), Vec::new());
        for member in &after {
            let place = Place::Name { at: member.name_at, in_after: true };
            match left.remove(&member.name).and_then(|index| before.get(index as usize)).map(|member| member.value) {
                Some(value) if value.hash == member.value.hash => {}
                Some(value) => changed.push(Todo { place, before: Some(value), after: Some(member.value) }),
                None => added.push(Todo { place, before: None, after: Some(member.value) }),
            }
        }
        let removed = before.iter().filter(|member| left.contains_key(&member.name));
        let mut todos: Vec<Todo> = removed
            .map(|member| Todo { place: Place::Name { at: member.name_at, in_after: false }, before: Some(member.value), after: None })
            .collect();
        todos.append(&mut changed);
        todos.append(&mut added);
        for todo in &todos {
            if let Place::Name { at, in_after } = todo.place
                && name_of(if in_after { &self.after } else { &self.before }, at)?.is_none()
            {
                return Ok(None);
            }
        }
        Ok(Some(todos))
    }

    /// Reads at most this many children.
    fn up_to(&self, children: &mut Children<S>, most: usize) -> Result<Vec<Child>> {
        let mut read = Vec::new();
        while read.len() < most {
            let Some(child) = children.next(&self.scanner)? else { break };
            read.push(child);
        }
        Ok(read)
    }

    /// Compares the elements of two arrays.
    fn elements(&self, before: Value, after: Value) -> Result<Elements<S>> {
        let (mut one, mut other) = (Children::new(&self.before, before), Children::new(&self.after, after));
        // Usually most elements at the front are equal.
        let mut common = 0;
        let (mut from_one, mut from_other) = (one.clone(), other.clone());
        while let (Some(element), Some(its)) = (one.next(&self.scanner)?, other.next(&self.scanner)?)
            && element.value.hash == its.value.hash
        {
            common += 1;
            (from_one, from_other) = (one.clone(), other.clone());
        }
        let long = Long { before: from_one.clone(), after: from_other.clone(), read: (common, common) };
        let before = self.up_to(&mut from_one, MAX_CHILDREN)?;
        let after = self.up_to(&mut from_other, MAX_CHILDREN)?;
        if from_one.next(&self.scanner)?.is_some() || from_other.next(&self.scanner)?.is_some() {
            return Ok(Elements::Long(Box::new(long)));
        }
        Ok(Elements::Known(aligned(&before, &after, common)))
    }
}

/// The differences of two arrays.
enum Elements<S: Storage> {
    Known(Vec<Todo>),
    Long(Box<Long<S>>),
}

/// Aligns elements. Their first is at position `first` in both states.
fn aligned(before: &[Child], after: &[Child], first: u64) -> Vec<Todo> {
    let hash = |child: &Child| child.value.hash;
    let mut todos = Vec::new();
    for hunk in hunks(before.iter().map(hash), after.iter().map(hash)) {
        let place = |index: u32| first + u64::from(index);
        // Those before the hunk are as in the second state by now.
        let (mut old, mut new) = (hunk.before.clone(), hunk.after.clone());
        let of = |list: &[Child], index: Option<u32>| index.and_then(|index| list.get(index as usize)).map(|child| child.value);
        let mut now = place(hunk.after.start);
        loop {
            let (old, new) = (old.next(), new.next());
            let shown = match (old, new) {
                (None, None) => break,
                (_, Some(index)) | (Some(index), None) => place(index),
            };
            todos.push(Todo { place: Place::Index { now, shown }, before: of(before, old), after: of(after, new) });
            now += u64::from(new.is_some());
        }
    }
    todos
}

impl<S: Storage> Long<S> {
    /// Returns the next difference; none at the end.
    fn next(&mut self, scanner: &Scanner) -> Result<Option<Todo>> {
        loop {
            let before = self.before.next(scanner)?.map(|child| child.value);
            let after = self.after.next(scanner)?.map(|child| child.value);
            let (old, new) = self.read;
            self.read = (old + u64::from(before.is_some()), new + u64::from(after.is_some()));
            let shown = match (before, after) {
                (None, None) => return Ok(None),
                (Some(before), Some(after)) if before.hash == after.hash => continue,
                (_, Some(_)) => new,
                _ => old,
            };
            return Ok(Some(Todo { place: Place::Index { now: new, shown }, before, after }));
        }
    }
}
